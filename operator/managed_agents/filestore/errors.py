"""Failures of the file store that its callers tell apart."""

from managed_agents.contracts.errors import ManagedAgentsError, NotFoundError, RejectedError, RetryableError


class FileExpiredError(NotFoundError):
    """The file's time is over and its content is gone for ever."""

    error_code = "file_expired"


class FileTooLargeError(ManagedAgentsError):
    """One file has more bytes than a file may have."""


class QuotaExceededError(RejectedError):
    """The namespace's files would exceed what they may take together."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="StorageQuotaExceeded", error_code="storage_quota_exceeded")


class FileVolumeFullError(RetryableError):
    """The volume has no room for a file beside what the event log needs."""
