"""Runs one of the two: `python -m managed_agents.proxy.package_job network|upload …`."""

import asyncio
import json
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from yarl import URL

from managed_agents.contracts import ports
from managed_agents.contracts.egress import RELAY_PORT, EgressRules, parse_rules
from managed_agents.proxy.audit import configure_logging
from managed_agents.proxy.hardening import forbid_dumps
from managed_agents.proxy.package_job.network import serve
from managed_agents.proxy.package_job.upload import Upload, UploadError, upload


def parser() -> ArgumentParser:
    """Return the command line's parser."""
    made = ArgumentParser(prog="python -m managed_agents.proxy.package_job", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    network = commands.add_parser("network", help="serve an HTTP proxy on loopback")
    network.add_argument("--networking", type=_object, required=True, help="the Environment's networking as JSON")
    network.add_argument("--egress-rules", type=_rules, default=EgressRules(), help="the administrator's rules as JSON")
    network.add_argument("--port", type=int, default=RELAY_PORT)
    bring = commands.add_parser("upload", help="bring a folder to the server as an archive")
    bring.add_argument("--server-url", type=URL, required=True)
    bring.add_argument("--token-file", type=Path, default=Path(ports.SERVER_TOKEN_PATH))
    bring.add_argument("--namespace", required=True)
    bring.add_argument("--digest", required=True)
    bring.add_argument("--folder", type=Path, required=True)
    return made


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as problem:
        raise ArgumentTypeError(f"not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise ArgumentTypeError("a JSON object is required")
    return value


def _rules(text: str) -> EgressRules:
    try:
        return parse_rules(text)
    except (TypeError, ValueError) as problem:
        raise ArgumentTypeError(str(problem)) from None


async def run(options: Namespace) -> int:
    """Run a command until it is done; the network until SIGTERM, which ends an upload as it is."""
    if options.command == "network":
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with serve(options.networking, options.egress_rules, port=options.port):
            await stop.wait()
        return 0
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sys.exit, 143)
    wanted = Upload(
        server_url=options.server_url,
        token_file=options.token_file,
        namespace=options.namespace,
        digest=options.digest,
        folder=options.folder,
    )
    try:
        await upload(wanted)
    except UploadError as failure:
        sys.stdout.write(f"{failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    forbid_dumps()
    configure_logging()
    sys.exit(asyncio.run(run(parser().parse_args())))
