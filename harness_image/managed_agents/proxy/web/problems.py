"""How a web tool says that it cannot: codes of the hosted API's web tools, each with a text for the model."""

from typing import Final, Literal

Code = Literal[
    "invalid_tool_input",
    "query_too_long",
    "url_too_long",
    "url_not_allowed",
    "url_not_accessible",
    "unsupported_content_type",
    "too_many_requests",
    "unavailable",
]

UNKNOWN_TOOL: Final = "no web tool has this name; there are web_fetch and web_search"


class WebProblemError(Exception):
    """A call ends with an error result. The text is for the model, and so never holds a key or an internal address."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
