"""The threat model names every attack case once, and tests that exist."""

import re

from support.requirements import REPOSITORY, proofs, requirements
from support.tally import THREAT_MODEL, residuals

TEXT = THREAT_MODEL.read_text()
TESTS = {proof.test.rpartition("::")[2]: proof.ids for proof in proofs(REPOSITORY / "tests")}
ROWS = {row[1]: row[0] for row in re.finditer(r"^\| (A\d+) \|.*$", TEXT, re.MULTILINE)}


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 40
    assert named - TESTS.keys() == set()


def test_every_attack_case_has_its_row() -> None:
    cases = {name for name in requirements() if re.fullmatch(r"A\d+", name)}
    assert cases == {f"A{number}" for number in range(1, 37)} == ROWS.keys()


def test_a_row_without_a_test_is_a_gap_and_one_with_a_test_is_none() -> None:
    for case, row in ROWS.items():
        is_told_open = "none: " in row
        assert is_told_open == (requirements()[case].gap is not None), case
        assert is_told_open or re.search(r"`test_\w+`", row), case


def test_residual_risks_are_told_at_the_end_of_a_run() -> None:
    assert len(residuals()) >= 10
    assert all(len(head) < 120 for head in residuals())
