from managed_agents.contracts import names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.causes import ALL, reason_for

UID = "0b5e6f3a-2f4e-4d5c-9a41-7c1f0e8f4b11"


def test_derived_names_are_deterministic_distinct_reserved_and_fit_a_label() -> None:
    longest = "s" * names.NAME_LENGTH_MAX
    made = [
        names.harness_deployment_name_for(longest, UID),
        names.workspace_claim_name_for(longest, UID),
        *(names.sandbox_pod_name_for(longest, UID, generation) for generation in range(50)),
    ]
    assert len(set(made)) == len(made)
    assert all(name.startswith(names.PREFIX) and len(name) <= 63 for name in made)
    assert made[0] == names.harness_deployment_name_for(longest, UID)


def test_every_cause_has_a_pascal_case_reason_and_its_type_finds_one() -> None:
    for cause in ALL:
        assert cause.reason[0].isupper()
        assert cause.reason.isalnum()
        assert reason_for(cause.error_type)
    assert reason_for("model_overloaded_error") == "ModelOverloaded"
    assert reason_for("model_overloaded_error", "ModelNotServed") == "ModelNotServed"


def test_each_stop_reason_has_a_condition_reason() -> None:
    assert set(conditions.IDLE_REASONS) == {
        "end_turn", "requires_action", "retries_exhausted", "budget_reached", "refusal",
    }  # fmt: skip
