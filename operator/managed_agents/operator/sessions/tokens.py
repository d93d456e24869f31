"""Whether the tokens of a session's repositories are there, told as the condition `CredentialsReady`.

The operator reads Secrets for sessions that have a harness; what it found last is said of one that has none.
"""

from collections.abc import Callable, Mapping, Sequence

from managed_agents.contracts.api import conditions as words
from managed_agents.kube.resources import Manifest
from managed_agents.operator.conditions import Condition
from managed_agents.operator.sessions.model import Observed, TokenFinding, condition_of


class TokenFindings:
    """What was found last of the sessions that have a harness. `changed` is told the place of one that differs."""

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self._changed = changed
        self._found: dict[str, Mapping[str, TokenFinding]] = {}
        """By namespace, then by the Session's UID."""

    def note(self, namespace: str, found: Sequence[tuple[Manifest, TokenFinding]]) -> None:
        """Take in what was found in a namespace, in the place of what was known."""
        before = self._found.pop(namespace, {})
        if found:
            self._found[namespace] = {session["metadata"]["uid"]: finding for session, finding in found}
        for session, finding in found:
            if before.get(session["metadata"]["uid"]) != finding:
                self._changed(namespace, session["metadata"]["name"])

    def of(self, namespace: str, uid: str) -> TokenFinding | None:
        """Return what was found for a Session; null where nobody looks."""
        return self._found.get(namespace, {}).get(uid)


def credentials_for(observed: Observed) -> Condition | None:
    """Return the condition of a Session that names tokens; null for any other, and until somebody has looked. Pure."""
    if not any(entry.get("authorizationToken") for entry in observed.session["spec"].get("resources") or ()):
        return None
    finding = observed.tokens
    if finding is None:
        written = condition_of(observed.session, words.CREDENTIALS_READY)
        if written is None:
            return None
        return _condition(written["status"] == "True", str(written["reason"]), str(written.get("message") or ""))
    if finding.reason is None:
        return _condition(True, words.VALID, "the tokens of all repositories are there")
    return _condition(False, finding.reason, finding.message)


def _condition(is_true: bool, reason: str, message: str) -> Condition:
    return Condition(kind=words.CREDENTIALS_READY, is_true=is_true, reason=reason, message=message)
