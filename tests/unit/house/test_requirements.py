"""The requirement manifest and the tests hold each other."""

import re

import pytest

from support.requirements import REPOSITORY, proofs, requirement, requirements

REQUIREMENTS = requirements()
PROOFS = list(proofs(REPOSITORY / "tests"))
CITED = {name for proof in PROOFS for name in proof.ids}


def test_every_promise_has_a_test_or_says_why_not() -> None:
    without = {name for name, promise in REQUIREMENTS.items() if promise.gap is None and name not in CITED}
    assert without == set()


def test_no_gap_is_told_of_what_a_test_proves() -> None:
    closed = {name for name, promise in REQUIREMENTS.items() if promise.gap is not None and name in CITED}
    assert closed == set()


def test_every_id_that_a_test_cites_is_a_promise() -> None:
    unknown = {proof.test: proof.ids for proof in PROOFS if not set(proof.ids) <= REQUIREMENTS.keys()}
    assert unknown == {}


def test_every_end_to_end_test_cites_a_promise() -> None:
    silent = [proof.test for proof in PROOFS if proof.test.startswith("tests/e2e/") and not proof.ids]
    assert silent == []


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_a_promise_is_a_sentence_told_in_a_file_that_exists(name: str) -> None:
    promise = REQUIREMENTS[name]
    assert re.fullmatch(r"[IFA][1-9]\d*|[a-z]+(-[a-z]+)*", name)
    assert len(promise.promise.split()) >= 4
    assert (REPOSITORY / promise.source).is_file()


def test_a_mark_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        requirement()
