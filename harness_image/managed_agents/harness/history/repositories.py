"""What the model is told of a repository that the session has a token for. Pure."""

from managed_agents.contracts.repositories import api_addresses
from managed_agents.harness.tools.repositories import Repository


def repository_hint(repository: Repository) -> str:
    """Return a paragraph for the system prompt; empty where git works as everywhere."""
    if repository.remote is None:
        return ""
    path = repository.path if repository.path.startswith("/") else f"/workspace/{repository.path}"
    return " ".join(
        (
            f"{path} is a clone of {repository.url}. Plain git fetches and pushes there: credentials are added outside "
            "the sandbox, so never look for or ask for a token.",
            _pushes(repository.push_refs),
            f"Its REST API is reached the same way, without any token: {_api(repository.url)}, with curl, for example "
            "to open a pull request. The API's other paths are closed.",
        )
    )


def _pushes(refs: tuple[str, ...] | None) -> str:
    if refs is None:
        return "What may be pushed is up to its host."
    return f"Only these refs may be pushed: {', '.join(refs)}." if refs else "Nothing may be pushed there."


def _api(url: str) -> str:
    known = api_addresses(url)
    if len(known) == 1:
        return known[0]
    return "{} (Gitea, Forgejo), {} (GitHub Enterprise) or {} (GitLab)".format(*known)
