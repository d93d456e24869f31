"""Names by which a sandbox reaches the repositories that its session has a token for (docs/repositories.md). Pure.

No DNS knows them: the session's proxy answers for them, adds the token and dials the real host.
"""

from typing import Final
from urllib.parse import quote, urlsplit

GIT_HOST: Final = "git.session.internal"
"""`http://git.session.internal/HOST/PATH` stands for `https://HOST/PATH`, for git."""

API_HOST: Final = "api.session.internal"
"""`http://api.session.internal/HOST` stands for the root of the host's REST API: `https://HOST`, or GitHub's own."""

GITHUB: Final = "github.com"


def git_address(url: str) -> str:
    """Return the address that git uses in the place of a repository's `https://HOST/PATH`."""
    return f"http://{GIT_HOST}/{url.partition('://')[2]}"


def api_addresses(url: str) -> tuple[str, ...]:
    """Return where the REST API of a repository may be, by what its host turns out to be; of github.com it is known."""
    parts = urlsplit(url)
    path = parts.path.strip("/").removesuffix(".git")
    root = f"http://{API_HOST}/{parts.netloc}"
    if parts.netloc.lower() == GITHUB:
        return (f"{root}/repos/{path}",)
    return (
        f"{root}/api/v1/repos/{path}",
        f"{root}/api/v3/repos/{path}",
        f"{root}/api/v4/projects/{quote(path, safe='')}",
    )
