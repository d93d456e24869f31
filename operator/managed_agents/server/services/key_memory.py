"""The API keys on the server's volume: a server that starts while the kube-apiserver is away still knows them (F34)."""

import asyncio
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import structlog

from managed_agents.kube.reflector import Reflector
from managed_agents.server.services.api_keys import ApiKey, ApiKeys

WRITE_SECONDS = 1.0
"""Changes within this time are written together."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class KeyMemory:
    """Keeps what `keys` holds in a file: hashes and names, no key."""

    keys: ApiKeys
    reflector: Reflector
    path: Path

    def recall(self) -> None:
        """Take the keys of the last run, until the kube-apiserver has told of those of now."""
        try:
            stored = orjson.loads(self.path.read_bytes())
            self.keys.recall([ApiKey(**values) for values in stored])
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            _log.warning("api_keys_not_recalled", reason=str(error))  # they come from the kube-apiserver soon

    async def run(self) -> None:
        """Forget keys that are gone, once all are known; then write every change, until cancelled."""
        await self.reflector.synced.wait()
        self.keys.retain({manifest["metadata"]["uid"] for manifest in self.reflector})
        written = -1
        while True:
            if written != self.keys.changes:
                written = self.keys.changes
                try:
                    await asyncio.to_thread(self._write, [asdict(key) for key in self.keys])
                except OSError as error:
                    _log.warning("api_keys_not_kept", reason=str(error))  # the next change tries again
            await asyncio.sleep(WRITE_SECONDS)

    def _write(self, keys: list[dict[str, object]]) -> None:
        draft = self.path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(keys))
        draft.replace(self.path)
