"""What the files of one namespace may take: bytes, those on their way in among them, and their number.

Reservations live in memory: a crash ends the uploads that they were for. Not for several threads.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from managed_agents.filestore.errors import QuotaExceededError


class Usage(Protocol):
    """What is stored."""

    def used_bytes(self, namespace: str) -> int:
        """Return what the files of a namespace take."""
        ...

    def count(self, namespace: str) -> int:
        """Return how many files a namespace has."""
        ...


@dataclass(slots=True)
class Quota:
    """The quotas of all namespaces."""

    usage: Usage
    bytes_max: int
    files_max: int
    _reserved: Counter[str] = field(default_factory=Counter)

    def reserve(self, namespace: str, size_bytes: int) -> None:
        """Set bytes aside for an upload. Raises: QuotaExceededError."""
        if self._taken(namespace) + size_bytes > self.bytes_max:
            raise self._full(namespace)
        self._reserved[namespace] += size_bytes

    def release(self, namespace: str, size_bytes: int) -> None:
        """Give back what was set aside."""
        self._reserved[namespace] -= size_bytes
        if not self._reserved[namespace]:
            del self._reserved[namespace]

    def check_begin(self, namespace: str, *, may_replace: bool) -> None:
        """Refuse an upload that cannot end well. Raises: QuotaExceededError."""
        if self._taken(namespace) >= self.bytes_max:
            raise self._full(namespace)
        if not may_replace:
            self.check_files(namespace)

    def check_files(self, namespace: str) -> None:
        """Refuse one file more than a namespace may have. Raises: QuotaExceededError."""
        if self.usage.count(namespace) >= self.files_max:
            raise QuotaExceededError(
                f"namespace {namespace} has {self.files_max} files, as many as it may (the server's FILES_MAX; uploads,"
                " sessions' copies and outputs count); delete some"
            )

    def _taken(self, namespace: str) -> int:
        return self.usage.used_bytes(namespace) + self._reserved.get(namespace, 0)

    def _full(self, namespace: str) -> QuotaExceededError:
        return QuotaExceededError(
            f"the files of namespace {namespace}, with those on their way in, take up their quota of {self.bytes_max}"
            " bytes; delete some"
        )
