"""Label selectors as the API defines them."""

from typing import Any

import pytest

from cluster.netpol.selectors import selects

LABELS = {"app": "web", "tier": "front"}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "back"}}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}, False),
        ({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["front"]}]}, True),
        ({"matchExpressions": [{"key": "absent", "operator": "In", "values": ["front"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "gone", "operator": "Exists"}]}, False),
        ({"matchLabels": None, "matchExpressions": None}, True),
    ],
)
def test_selector_decides_by_labels_and_expressions(selector: dict[str, Any], expected: bool) -> None:
    assert selects(selector, LABELS) is expected


def test_unknown_operator_is_an_error() -> None:
    with pytest.raises(ValueError, match="Near"):
        selects({"matchExpressions": [{"key": "app", "operator": "Near"}]}, LABELS)
