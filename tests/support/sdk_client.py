"""The official SDK against a server under test."""

import anthropic

from support.server import USER_TOKEN, TestServer


def client_of(server: TestServer, namespace: str = "team-a", *, strict: bool = True) -> anthropic.AsyncAnthropic:
    """Return a client that repeats nothing by itself and, when strict, refuses answers of a wrong shape."""
    return anthropic.AsyncAnthropic(
        base_url=server.public_url,
        api_key=USER_TOKEN,
        default_headers={"anthropic-workspace-id": namespace},
        _strict_response_validation=strict,
        max_retries=0,
    )
