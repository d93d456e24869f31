"""Who wrote which entry of spec.events, read from managedFields as a kube-apiserver 1.34 recorded them."""

from managed_agents.operator.field_managers import event_managers

RECORDED = [
    {
        "apiVersion": "managedagents.dev/v1alpha1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {"f:annotations": {".": {}, "f:a": {}}},
            "f:spec": {
                ".": {},
                "f:agentRef": {},
                "f:events": {".": {}, 'k:{"name":"first"}': {".": {}, "f:name": {}, "f:type": {}}},
            },
        },
        "manager": "argocd-controller",
        "operation": "Apply",
        "time": "2026-11-23T17:00:00Z",
    },
    {
        "fieldsV1": {"f:spec": {"f:events": {'k:{"name":"second"}': {}, 'k:{"name":"first"}': {}}}},
        "manager": "kubectl-edit",
        "operation": "Update",
    },
    {"fieldsV1": {"f:status": {"f:phase": {}}}, "manager": "managed-agents-operator", "operation": "Apply"},
]


def test_each_entry_has_the_manager_that_wrote_it_first() -> None:
    assert event_managers(RECORDED) == {"first": "argocd-controller", "second": "kubectl-edit"}


def test_nothing_recorded_names_nobody() -> None:
    assert event_managers([]) == {}
    assert event_managers([{"manager": "x", "fieldsV1": {"f:spec": {"f:events": {"v:1": {}}}}}, {}]) == {}
