"""Every CEL rule of our CRDs, broken one at a time before a real kube-apiserver."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.apiserver import ControlPlane
from support.crd_schema import Rule, has_status, rules, schema_of
from support.edits import edited
from support.kubeclient import KubeError
from support.manifests import crds, read

Json = dict[str, Any]
HERE = Path(__file__).parent
CRDS = crds()


def _plural(kind: str) -> str:
    plural: str = CRDS[kind]["spec"]["names"]["plural"]
    return plural


def _fixtures(kind: str) -> list[Json]:
    fixtures: list[Json] = yaml.safe_load((HERE / "refused" / f"{_plural(kind)}.yaml").read_text())
    return fixtures


def _cases() -> Iterator[Any]:
    for kind in CRDS:
        for number, fixture in enumerate(_fixtures(kind)):
            yield pytest.param(kind, number, fixture, id=f"{kind}-{number}-{fixture['path']}")


@pytest.mark.parametrize("kind", CRDS)
def test_every_rule_has_a_fixture_and_every_fixture_a_rule(kind: str) -> None:
    written = {Rule(path=fixture["at"], message=fixture["message"]) for fixture in _fixtures(kind)}
    assert written == set(rules(schema_of(CRDS[kind])))


@pytest.mark.apiserver
@pytest.mark.parametrize(("kind", "number", "fixture"), list(_cases()))
def test_a_broken_rule_is_refused_with_path_and_message(
    plane: ControlPlane, kind: str, number: int, fixture: Json
) -> None:
    valid = {item["metadata"]["name"]: item for item in read(HERE / "valid" / f"{_plural(kind)}.yaml")}
    base = valid[fixture.get("base", "everything")]
    base["metadata"] = {"name": f"rule-{number}", "namespace": plane.namespace}
    write = _update if "stored" in fixture else _create
    with pytest.raises(KubeError) as refusal:
        write(plane, base, fixture)
    assert refusal.value.status == 422
    assert [cause for cause in refusal.value.causes if fixture["message"] in cause[1]] != []
    assert {field for field, text in refusal.value.causes if fixture["message"] in text} == {fixture["path"]}


def _create(plane: ControlPlane, base: Json, fixture: Json) -> None:
    plane.client.create(edited(base, fixture["change"]), dry_run=True)


def _update(plane: ControlPlane, base: Json, fixture: Json) -> None:
    """Store an object with its status, show that it can be written again as it is, then write the change."""
    before = edited(base, fixture["stored"])
    stored = plane.client.create(before)
    if has_status(CRDS[base["kind"]]):
        stored = plane.client.replace({**stored, "status": before.get("status", {})}, subresource="status")
    plane.client.replace(stored)
    plane.client.replace(edited(stored, fixture["change"]))
