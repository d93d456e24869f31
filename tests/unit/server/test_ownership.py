"""Who keeps a field, by managedFields as kube-apiservers record them."""

from typing import Any

import pytest

from managed_agents.contracts.errors import RejectedError
from managed_agents.server.services.ownership import require_unowned
from managed_agents.server.services.patches import merge_patch, patched_metadata

OURS = "managed-agents-api"
HEAD = {"apiVersion": "managedagents.dev/v1alpha1", "fieldsType": "FieldsV1", "time": "2026-01-02T03:04:05Z"}

ARGO_SERVER_SIDE = {
    **HEAD,
    "manager": "argocd-controller",
    "operation": "Apply",
    "fieldsV1": {
        "f:metadata": {"f:annotations": {"f:argocd.argoproj.io/tracking-id": {}}},
        "f:spec": {
            "f:mcpServers": {
                'k:{"name":"git"}': {".": {}, "f:name": {}, "f:type": {}, "f:url": {}},
            },
            "f:metadata": {"f:team_name": {}},
            "f:model": {"f:id": {}},
            "f:tools": {},
        },
    },
}
HELM = {
    **HEAD,
    "manager": "helm",
    "operation": "Update",
    "fieldsV1": {"f:spec": {".": {}, "f:model": {".": {}, "f:id": {}}, "f:system": {}}},
}
KUBECTL_SERVER_SIDE = {**HEAD, "manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:system": {}}}}
KUBECTL_CLIENT_SIDE = {
    **HEAD,
    "manager": "kubectl-client-side-apply",
    "operation": "Update",
    "fieldsV1": {"f:spec": {".": {}, "f:model": {".": {}, "f:id": {}}, "f:system": {}}},
}
OPERATOR_STATUS = {
    **HEAD,
    "manager": "managed-agents-operator",
    "operation": "Apply",
    "subresource": "status",
    "fieldsV1": {"f:spec": {"f:system": {}}, "f:status": {"f:version": {}}},
}
OURS_APPLIED = {**HEAD, "manager": OURS, "operation": "Apply", "fieldsV1": {"f:spec": {"f:system": {}}}}


def manifest(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


@pytest.mark.parametrize(
    ("entry", "spec", "field"),
    [
        (ARGO_SERVER_SIDE, {"model": {"id": "other"}}, "model.id"),
        (ARGO_SERVER_SIDE, {"model": None}, "model"),
        (ARGO_SERVER_SIDE, {"mcpServers": []}, "mcp_servers"),
        (ARGO_SERVER_SIDE, {"tools": None}, "tools"),
        (ARGO_SERVER_SIDE, {"metadata": {"team_name": None}}, "metadata.team_name"),
        (HELM, {"description": "ours", "system": "new"}, "system"),
        (KUBECTL_SERVER_SIDE, {"system": None}, "system"),
    ],
)
def test_a_field_that_another_keeps_is_refused_by_name(entry: dict[str, Any], spec: dict[str, Any], field: str) -> None:
    with pytest.raises(RejectedError) as refused:
        require_unowned(manifest(KUBECTL_CLIENT_SIDE, entry), {"spec": spec}, manager=OURS)
    assert refused.value.field == field
    assert refused.value.message.startswith(f'{field}: this field is managed by "{entry["manager"]}"')
    assert "change it in Git" in refused.value.message


@pytest.mark.parametrize(
    ("entry", "spec"),
    [
        (ARGO_SERVER_SIDE, {"model": {"effort": {"type": "low"}}}),
        (ARGO_SERVER_SIDE, {"system": "ours", "metadata": {"owner": "ours"}, "archived": True}),
        (KUBECTL_CLIENT_SIDE, {"system": "ours", "model": {"id": "other"}}),
        (OPERATOR_STATUS, {"system": "ours"}),
        (OURS_APPLIED, {"system": "ours"}),
    ],
)
def test_all_else_may_be_written(entry: dict[str, Any], spec: dict[str, Any]) -> None:
    require_unowned(manifest(entry), {"spec": spec, "metadata": {"annotations": {"a": "b"}}}, manager=OURS)


def test_merge_patches_name_what_differs_and_nothing_else() -> None:
    before = {"name": "a", "model": {"id": "m", "effort": {"type": "low"}}, "tools": [1], "system": "s"}
    after = {"name": "a", "model": {"id": "n"}, "tools": [1, 2], "archived": True}
    assert merge_patch(before, after) == {
        "system": None,
        "model": {"effort": None, "id": "n"},
        "tools": [1, 2],
        "archived": True,
    }
    assert merge_patch(before, before) == {}


def test_a_metadata_patch_sets_removes_and_keeps() -> None:
    assert patched_metadata({"a": "1", "b": "2"}, {"b": None, "c": "3", "d": None}) == {"a": "1", "c": "3"}
    assert patched_metadata({"a": "1"}, None) == {"a": "1"}
