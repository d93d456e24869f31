"""Which repositories were asked for without their token: told once a lease, and anew once it had been there again."""

from dataclasses import dataclass

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.repositories.addresses import ApiCall, GitCall
from managed_agents.proxy.repositories.calls import require_token


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingToken:
    """A repository without its token, and what is amiss; the harness makes a `session.error` of it."""

    url: str
    message: str


class MissingTokens:
    """What is to be told."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._news: list[MissingToken] = []

    def leased(self) -> None:
        """Begin anew: another harness has woken."""
        self._told.clear()
        self._news.clear()

    def require(self, call: GitCall | ApiCall) -> None:
        """Require a token before the host is asked, and note where there is none. Raises: RefusedError."""
        url = str(call.grant.url)
        try:
            require_token(call)
        except RefusedError as refusal:
            if url not in self._told:
                self._told.add(url)
                self._news.append(MissingToken(url=url, message=refusal.message))
            raise
        self._told.discard(url)

    def news(self) -> list[MissingToken]:
        """Return what was not told yet; it counts as told."""
        news, self._news = self._news, []
        return news
