"""Runs the proxy: `python -m managed_agents.proxy --server-url URL`."""

import asyncio
import signal
import sys

from managed_agents.proxy.hardening import forbid_dumps


async def serve(arguments: list[str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    # Imported after the process was hardened: aiohttp costs most of the start.
    import structlog

    from managed_agents.proxy.app import running
    from managed_agents.proxy.audit import configure_logging
    from managed_agents.proxy.settings import settings_from

    settings = settings_from(arguments)
    configure_logging()
    log = structlog.get_logger()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings) as ports:
        log.info(
            "serving", health=ports.health, session=ports.session, hand=ports.hand, model=ports.model, mcp=ports.mcp
        )
        await stop.wait()
        log.info("stopping")


if __name__ == "__main__":
    forbid_dumps()
    asyncio.run(serve(sys.argv[1:]))
