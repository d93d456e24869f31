"""The binding and the epoch, durable before they count."""

from __future__ import annotations

import asyncio

from managed_agents.sandbox.supervisor.binding import (
    Binding,
    BindRequest,
    check_bearer,
    decide_bind,
    matches,
)
from managed_agents.sandbox.supervisor.errors import ContractError, permission, stale_epoch
from managed_agents.sandbox.supervisor.logs import log
from managed_agents.sandbox.supervisor.store import Store


class Fence:
    """Lets in the bound session's newest harness and nobody else."""

    def __init__(self, store: Store, token_sha256: str) -> None:
        self._store = store
        self._token_sha256 = token_sha256
        self._lock = asyncio.Lock()
        self._highest = store.epoch
        bound = store.bound
        self._binding = (
            None
            if bound is None
            else Binding(session=bound["session"], name=bound["name"], secret_sha256=bound["secret_sha256"])
        )

    @property
    def bound(self) -> bool:
        """Whether a session has this sandbox."""
        return self._binding is not None

    def check_binder(self, bearer: str) -> None:
        """Admit a caller of `/bind`, before its body is read. Raises 403."""
        check_bearer(bearer, self._token_sha256, self._binding)

    def is_blank_for(self, bearer: str) -> bool:
        """Tell whether the bearer is the one-time token of a sandbox that no session has: it may bring packages."""
        return self._binding is None and matches(bearer, self._token_sha256)

    async def bind(self, request: BindRequest) -> None:
        """Bind, or confirm the binding. Raises 409, 507."""
        async with self._lock:
            wanted = decide_bind(request, self._binding, self._highest)
            if self._binding is None:
                fields = {"session": wanted.session, "name": wanted.name, "secret_sha256": wanted.secret_sha256}
                await self._store.append({"op": "bound", **fields, "epoch": request.epoch})
                self._binding, self._highest = wanted, request.epoch
                log("info", "bound", session=wanted.session, name=wanted.name, epoch=request.epoch)
        await self.enter(request.epoch)

    def check_secret(self, bearer: str) -> None:
        """Admit a caller of the calls. Raises 403, and 409 before a bind."""
        if self._binding is None:
            raise ContractError(409, "not_bound", "this sandbox is not bound yet; nothing executes before POST /bind")
        if not matches(bearer, self._binding.secret_sha256):
            raise permission("the bearer is not this binding's secret")

    async def enter(self, epoch: int) -> None:
        """Raise the epoch, durably, or refuse a lower one. Raises 409, 507."""
        self.check_epoch(epoch)
        self._highest = epoch  # at once: from here on its predecessors are refused
        if epoch <= self._store.epoch:
            return
        async with self._lock:
            if epoch > self._store.epoch:
                await self._store.append({"op": "epoch", "epoch": epoch})
        self.check_epoch(epoch)

    def check_epoch(self, epoch: int) -> None:
        """Refuse an epoch lower than the highest seen. Raises 409."""
        if epoch < self._highest:
            raise stale_epoch(epoch, self._highest)
