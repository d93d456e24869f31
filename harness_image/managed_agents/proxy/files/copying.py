"""One look into a sandbox: copies to the server what is new or changed there since it was last copied.

Nothing is remembered that a new proxy needs: the server knows which version of each path it has.
"""

import asyncio
from collections.abc import Sequence

import structlog

from managed_agents.proxy.bindings import Binding, MalformedError
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.files.plan import Output
from managed_agents.proxy.files.transfers import Transfers
from managed_agents.proxy.forward import UnreachableError

_log = structlog.get_logger(__name__)


class OutputCopier:
    """Copies outputs, one look at a time."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self._session: str | None = None
        self._stored: dict[str, str] | None = None
        self._refused: set[Output] = set()
        self._looking = asyncio.Lock()

    def retry_refused(self) -> None:
        """Try again what had no room."""
        self._refused.clear()

    async def look(self, binding: Binding, *, bytes_max: int | None = None) -> bool:
        """Copy what is new, of files up to a size if one is given. Returns whether sandbox and server answered."""
        async with self._looking:
            if binding.session != self._session:
                self._session, self._stored = binding.session, None
            try:
                listed = await self._transfers.outputs(binding)
                if listed and self._stored is None:
                    self._stored = await self._transfers.stored(binding.session)
            except (RefusedError, UnreachableError, MalformedError) as problem:
                _log.info("outputs_unknown", session=binding.session, reason=str(problem))
                return False
            for output in self._new(listed):
                if bytes_max is None or output.size <= bytes_max:
                    await self._store(binding, output)
            return True

    def _new(self, listed: Sequence[Output]) -> list[Output]:
        stored = self._stored or {}
        return [
            output for output in listed if stored.get(output.path) != output.version and output not in self._refused
        ]

    async def _store(self, binding: Binding, output: Output) -> None:
        try:
            await self._transfers.store(binding, output)
        except RefusedError as refusal:
            if refusal.status < 500:
                self._refused.add(output)
            _log.warning("output_not_stored", session=binding.session, size=output.size, reason=refusal.message)
        except (UnreachableError, MalformedError) as problem:
            _log.warning("output_not_stored", session=binding.session, size=output.size, reason=str(problem))
        else:
            if self._stored is not None:
                self._stored[output.path] = output.version
            _log.info("output_stored", session=binding.session, size=output.size)
