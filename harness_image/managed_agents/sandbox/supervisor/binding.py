"""Whose sandbox this is, and which harness may use it: decisions only, no I/O."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from managed_agents.sandbox.supervisor.environment import ToolsEnvironment, parse_environment
from managed_agents.sandbox.supervisor.errors import ContractError, invalid, permission, stale_epoch

NAME_CHARS_MAX = 256
SECRET_CHARS = (16, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest:
    """A checked body of `/bind`."""

    session: str
    name: str
    secret_sha256: str
    epoch: int
    environment: ToolsEnvironment | None = None
    """Null: the tools keep the one they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The session that owns the sandbox for the Pod's life."""

    session: str
    name: str
    secret_sha256: str


def parse_bind(body: Any) -> BindRequest:
    """Return the request. Raises 400, naming the field."""
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    secret = _text(body, "secret", *SECRET_CHARS)
    if not isinstance(body.get("resources", {}), dict):
        raise invalid("resources: must be an object")
    epoch = body.get("epoch")
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 1:
        raise invalid("epoch: must be an integer of at least 1")
    return BindRequest(
        session=_text(body, "session", 1, NAME_CHARS_MAX),
        name=_text(body, "name", 1, NAME_CHARS_MAX),
        secret_sha256=sha256(secret),
        epoch=epoch,
        environment=parse_environment(body["environment"]) if "environment" in body else None,
    )


def _text(body: dict[str, Any], field: str, least: int, most: int) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise invalid(f"{field}: must be a string of {least} to {most} characters")
    return value


def sha256(text: str) -> str:
    """Return the SHA-256 of a token or secret in hex."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def matches(text: str, expected_sha256: str) -> bool:
    """Whether a token or secret has this hash, in constant time."""
    return hmac.compare_digest(sha256(text), expected_sha256)


def check_bearer(bearer: str, token_sha256: str, binding: Binding | None) -> None:
    """Admit a caller of `/bind` before its body is read: by the token, or by the secret once bound. Raises 403."""
    by_secret = binding is not None and matches(bearer, binding.secret_sha256)
    if not matches(bearer, token_sha256) and not by_secret:
        raise permission("the bearer is neither the one-time token of this sandbox nor its binding's secret")


def decide_bind(request: BindRequest, binding: Binding | None, epoch: int) -> Binding:
    """Return the binding after an admitted request. Raises 409 where another has the sandbox, or a newer harness."""
    wanted = Binding(session=request.session, name=request.name, secret_sha256=request.secret_sha256)
    if binding is not None and binding != wanted:
        raise ContractError(409, "already_bound", "this sandbox is bound to another session, name or secret")
    if request.epoch < epoch:
        raise stale_epoch(request.epoch, epoch)
    return wanted
