"""What a renewed OAuth grant leaves behind, as server and operator share it (API reference §11). Pure.

A grant is kept beside the other secrets of its credential, with a version that each write changes: the condition of a
write-back (design §8). What went wrong with a grant stands in an annotation of its Vault, for that version alone, so a
mended grant needs nobody to take the word back.
"""

import json
from collections.abc import Mapping
from typing import Any

from managed_agents.contracts import names

VERSION_KEY = "version"
"""Key of a credential's Secret: a random word, because the server cannot read the last one to count on from it."""

EXPIRY_KEY = "expires-at"
"""Key of a credential's Secret: when its access token ends, RFC 3339; empty for a token that does not end."""

ANNOTATION_PROBLEMS = f"{names.GROUP}/credential-problems"
"""On a Vault, JSON: by a credential's name `{"version", "message", "kind", "at"}`, why its grant was not renewed."""

REFUSED, UNREACHABLE = "failed", "connect_error"
"""Kinds of a problem, in the API's words: the token endpoint refuses the grant, or gave no answer."""

MESSAGE_LENGTH_MAX = 500

Problem = Mapping[str, str]


def grant_keys(name: str) -> tuple[str, str]:
    """Return the keys of a credential's version and expiry in the Secret that holds it."""
    return f"{name}.{VERSION_KEY}", f"{name}.{EXPIRY_KEY}"


def problems_of(vault: Mapping[str, Any]) -> dict[str, Problem]:
    """Return what is wrong with the grants of a Vault, by the credential's name."""
    noted = (vault["metadata"].get("annotations") or {}).get(ANNOTATION_PROBLEMS)
    try:
        found = json.loads(noted or "{}")
    except ValueError:  # somebody edited it
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: problem for name, problem in found.items() if _is_problem(problem)}


def problem_of(vault: Mapping[str, Any], name: str, version: str) -> str | None:
    """Return why a grant of this version could not be renewed."""
    problem = problems_of(vault).get(name)
    return problem["message"] if problem is not None and problem["version"] == version else None


def with_problem(vault: Mapping[str, Any], name: str, problem: Problem | None) -> dict[str, str | None]:
    """Return the annotation after a problem is set or, with null, gone; of credentials that are gone nothing stays."""
    left = {entry["name"] for entry in vault["spec"].get("credentials") or ()}
    problems = {key: value for key, value in problems_of(vault).items() if key in left and key != name}
    if problem is not None:
        problems[name] = problem
    return {ANNOTATION_PROBLEMS: json.dumps(problems, sort_keys=True) if problems else None}


def _is_problem(problem: object) -> bool:
    return isinstance(problem, dict) and all(
        isinstance(problem.get(key), str) for key in ("version", "message", "kind", "at")
    )
