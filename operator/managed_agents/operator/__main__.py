"""`python -m managed_agents.operator`: the operator's process."""

import asyncio
import logging
import sys
from functools import partial

import structlog

from managed_agents.kube.access import KubeAccess
from managed_agents.operator.adapters.kopf_app import run_kopf
from managed_agents.operator.factory import run
from managed_agents.operator.settings import Settings, parse


def configure_logging() -> None:
    """Write JSON lines to stdout, our own and those of the libraries."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(), foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared]
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


async def serve(settings: Settings) -> bool:
    """Run until a signal ends it."""
    access = KubeAccess.find()
    return await run(settings, access, partial(run_kopf, access=access))


def main() -> int:
    """Parse settings, run, and say by the exit status whether leadership was lost."""
    settings = parse()
    configure_logging()
    return 0 if asyncio.run(serve(settings)) else 1


if __name__ == "__main__":
    sys.exit(main())
