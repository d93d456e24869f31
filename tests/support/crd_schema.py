"""Every promise of a CRD's schema as data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]
"""Steps through a schema: property names, `[]` for the items of a list, `{}` for the values of a map."""

_PLAIN = ("maxLength", "minLength", "pattern", "maximum", "minimum", "maxItems", "minItems", "maxProperties", "enum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One structural promise: `keyword` with `value` at a path."""

    path: Path
    keyword: str
    value: Any

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.keyword} {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL rule, known by where it stands and what it says."""

    path: str
    message: str


def schema_of(crd: Json) -> Json:
    """Return the schema of the only version."""
    (version,) = crd["spec"]["versions"]
    schema: Json = version["schema"]["openAPIV3Schema"]
    return schema


def has_status(crd: Json) -> bool:
    """Tell whether objects of this kind have a status."""
    (version,) = crd["spec"]["versions"]
    return "status" in version.get("subresources", {})


def nodes(schema: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """Walk a schema depth first, but for the kube-apiserver's own fields."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        if path or name not in ("apiVersion", "kind"):
            yield from nodes(child, (*path, name))
    for step, key in (("[]", "items"), ("{}", "additionalProperties")):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], (*path, step))


def rules(schema: Json) -> list[Rule]:
    """Return the CEL rules of a schema."""
    return [
        Rule(path=".".join(path), message=rule["message"])
        for path, node in nodes(schema)
        for rule in node.get("x-kubernetes-validations", [])
    ]


def constraints(schema: Json) -> list[Constraint]:
    """Return the structural promises of a schema."""
    return [constraint for path, node in nodes(schema) if path for constraint in _constraints_at(path, node)]


def _constraints_at(path: Path, node: Json) -> Iterator[Constraint]:
    for keyword in _PLAIN:
        if keyword in node:
            yield Constraint(path=path, keyword=keyword, value=node[keyword])
    if "type" in node and path[0] != "metadata":
        yield Constraint(path=path, keyword="type", value=node["type"])
    if node.get("format") == "date-time":
        yield Constraint(path=path, keyword="format", value="date-time")
    for name in node.get("required", []):
        yield Constraint(path=path, keyword="required", value=name)
    if node.get("x-kubernetes-list-type") in ("map", "set"):
        yield Constraint(path=path, keyword="unique", value=node["x-kubernetes-list-type"])


def unbounded(schema: Json) -> list[str]:
    """Name the strings, lists and maps without a bound, and the numbers without both."""
    found = [(path, keyword) for path, node in nodes(schema) for keyword in _missing_bounds(node)]
    return [f"{'.'.join(path)}: no {keyword}" for path, keyword in found if path and path != ("metadata",)]


def _missing_bounds(node: Json) -> Iterator[str]:
    is_closed = "enum" in node or node.get("format") == "date-time"
    match node.get("type"):
        case "string" if not is_closed and "maxLength" not in node:
            yield "maxLength"
        case "array" if "maxItems" not in node:
            yield "maxItems"
        case "object" if "additionalProperties" in node and "maxProperties" not in node:
            yield "maxProperties"
        case "integer" | "number" if "minimum" not in node:
            yield "minimum"
