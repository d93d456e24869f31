"""What a caller is told where the server may not write a Secret."""

from collections.abc import Iterator
from contextlib import contextmanager

from managed_agents.kube import errors as kube_errors
from managed_agents.server.services.errors import ForbiddenError
from managed_agents.server.services.refusals import shown


@contextmanager
def said(namespace: str) -> Iterator[None]:
    """Say of a right that the server lacks who gives it. Raises: ForbiddenError."""
    try:
        yield
    except kube_errors.ForbiddenError as refusal:
        if refusal.is_quota:
            raise ForbiddenError(shown(refusal.message)) from refusal
        text = f"the server may not write Secrets in namespace {namespace}; an administrator applies manifests/tenant"
        raise ForbiddenError(text) from refusal
