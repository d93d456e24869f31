"""Refusals of the server that the operator tells apart."""

from managed_agents.contracts.errors import RetryableError


class VolumeFullError(RetryableError):
    """The server cannot store: the event log's volume has no space left."""
