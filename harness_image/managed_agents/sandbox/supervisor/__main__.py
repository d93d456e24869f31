"""Starts the supervisor: installs the runner, opens the journal, listens until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys

from managed_agents.sandbox.supervisor.calls import Calls
from managed_agents.sandbox.supervisor.environment import KeptEnvironment
from managed_agents.sandbox.supervisor.fence import Fence
from managed_agents.sandbox.supervisor.file_routes import FileRoutes
from managed_agents.sandbox.supervisor.file_thread import FileThread
from managed_agents.sandbox.supervisor.http import HttpServer
from managed_agents.sandbox.supervisor.install import install_runner
from managed_agents.sandbox.supervisor.journal import Journal
from managed_agents.sandbox.supervisor.link import RunnerLink
from managed_agents.sandbox.supervisor.logs import log
from managed_agents.sandbox.supervisor.outputs import Outputs
from managed_agents.sandbox.supervisor.packages import Packages
from managed_agents.sandbox.supervisor.relay import Relay
from managed_agents.sandbox.supervisor.routes import Routes
from managed_agents.sandbox.supervisor.settings import Settings, parse_settings
from managed_agents.sandbox.supervisor.store import Store
from managed_agents.sandbox.supervisor.uploads import Uploads


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `OSError` where a folder or the port cannot be used."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    install_runner(settings.runner_file)
    store = Store(Journal.open(settings.journal))
    thread = FileThread()
    environment = KeptEnvironment(settings.journal / "environment.json", thread)
    link = RunnerLink(settings.socket, environment.greeting)
    calls = Calls(store, link, settings.runner_wait_seconds)
    relay = Relay()
    uploads = Uploads(settings.uploads, settings.journal / "uploads.json", thread, settings.uploads_bytes_max)
    files = FileRoutes(uploads, Outputs(settings.outputs, thread), settings.file_bytes_max)
    packages = Packages(settings.packages, settings.packages_digest, thread)
    routes = Routes(Fence(store, settings.token_sha256), calls, link, relay, files, packages, environment)
    server = HttpServer(routes.admit, settings.body_bytes_max)
    try:
        await link.start(calls)
        relay_port = await relay.start(settings.relay_host, settings.relay_port)
        port = await server.start(settings.host, settings.port)
        log("info", "listening", port=port, relay_port=relay_port)
        await stopped.wait()
    finally:
        await server.close()
        await relay.close()
        await link.close()
        await calls.close()
        thread.close()
        store.close()


def main() -> int:
    """Run the command line."""
    settings = parse_settings()
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        log("error", "cannot start", reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
