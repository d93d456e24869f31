"""`python -m managed_agents.simulator`: serve the simulated model until SIGTERM."""

import argparse
import asyncio
import logging
import os
import signal
from typing import Final

import orjson
import structlog
from aiohttp import web

from managed_agents.simulator.app import app_for
from managed_agents.simulator.clock import SystemClock
from managed_agents.simulator.service import Simulator

GRACE_SECONDS: Final = 5.0
"""How long answers under way may take to end after SIGTERM. aiohttp waits that long twice: 10 s, of a Pod's 30."""
API_KEY_VARIABLE: Final = "SIMULATOR_API_KEY"


def main() -> None:
    """Read the arguments, serve, and return when told to stop."""
    parser = argparse.ArgumentParser(prog="managed_agents.simulator", description="A simulated model server.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 - a Pod serves its network
    parser.add_argument("--port", type=int, default=8500, help="port to listen on; 0 takes a free one")
    parser.add_argument(
        "--api-key",
        default=os.environ.get(API_KEY_VARIABLE) or None,
        help=f"the one key to accept (also {API_KEY_VARIABLE}); without it any key but `invalid...`",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args()
    _configure_logs(options.log_level)
    asyncio.run(serve(options.host, options.port, options.api_key))


async def serve(host: str, port: int, api_key: str | None) -> None:
    """Listen until SIGTERM or SIGINT, then let answers under way end (see `GRACE_SECONDS`)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = app_for(Simulator(clock=SystemClock(), api_key=api_key))
    # Cancelling on disconnect is what lets a hanging answer notice that nobody waits for it.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=GRACE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        structlog.get_logger("simulator").info("listening", host=host, port=runner.addresses[0][1])
        await stop.wait()
    finally:
        await runner.cleanup()


def _configure_logs(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    main()
