"""What the kube-apiserver refuses, in the words of the public API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from managed_agents.contracts.errors import ManagedAgentsError, RejectedError
from managed_agents.kube import errors as kube_errors
from managed_agents.server.services.errors import ForbiddenError

_CALL = re.compile(r"^[A-Z]+ /\S+: ")
_RBAC = re.compile(r'User "[^"]*" cannot ')


@contextmanager
def translated() -> Iterator[None]:
    """Turn a refusal into the API's: 403 for a quota, 400 for admission and schemas, with the kube-apiserver's words.

    What may succeed later (RetryableError, ConflictError) passes as it is. Raises: ManagedAgentsError, for 500, where
    this server's own ServiceAccount lacks a right: no caller can mend that.
    """
    try:
        yield
    except kube_errors.ForbiddenError as refusal:
        raise _of_forbidden(refusal) from refusal
    except RejectedError as refusal:
        raise RejectedError(shown(refusal.message), reason=refusal.reason) from refusal


def shown(message: str) -> str:
    """Return a kube-apiserver's message without the call that it answers."""
    return _CALL.sub("", message)


def _of_forbidden(refusal: kube_errors.ForbiddenError) -> ManagedAgentsError:
    message = shown(refusal.message)
    if refusal.is_quota:
        return ForbiddenError(message)
    if _RBAC.search(message):
        text = "the server's ServiceAccount lacks a right; an administrator applies manifests/install"
        return ManagedAgentsError(f"{text}: {message}")
    return RejectedError(message, reason=refusal.reason)
