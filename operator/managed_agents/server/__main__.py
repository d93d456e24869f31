"""`python -m managed_agents.server`: run until SIGTERM, exit non-zero when the log can no longer store."""

import asyncio
import os
import signal
import sys

import structlog

from managed_agents.server.factory import running_server
from managed_agents.server.settings import Settings, parse_settings

EXIT_IO_ERROR = 74
"""As sysexits' EX_IOERR: the log could not be written; the next process reopens and looks (F4)."""

SWITCH_SECONDS = 0.001
"""How long one thread may keep the interpreter: the database thread waits less for it after an fsync."""


def main() -> int:
    """Run the server."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=True,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(_serve(parse_settings(sys.argv[1:])))
    return 0


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    async with running_server(settings, on_fatal=_die):
        await stopping.wait()


def _die(error: BaseException) -> None:
    """End at once: what is not acknowledged by now never will be."""
    structlog.get_logger(__name__).critical("event_log_failed", error=repr(error))
    sys.stdout.flush()
    os._exit(EXIT_IO_ERROR)


if __name__ == "__main__":
    sys.exit(main())
