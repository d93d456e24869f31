"""What a tool is told that cannot go on, wherever its connection or its request was judged."""


class EgressRefusedError(Exception):
    """The tool's answer: status, the reason for the audit log, and a text for its user."""

    def __init__(self, *, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def body(self) -> bytes:
        """The answer's body, on one line of ASCII."""
        return f"sandbox network: {self.message}\n".encode("ascii", "replace")
