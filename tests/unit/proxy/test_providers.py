"""Which ModelProvider serves a model, and what a broken providers.json says."""

import orjson
import pytest

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.providers import (
    Provider,
    key_of,
    parse_providers,
    provider_for,
    provider_without_model,
)


def _file(*entries: dict[str, object]) -> bytes:
    return orjson.dumps({"providers": entries})


def _entry(name: str, **changes: object) -> dict[str, object]:
    return {"name": name, "endpoint": f"https://{name}.example", "api_key": f"key-{name}", "models": [], **changes}


def _parsed(*entries: dict[str, object]) -> tuple[Provider, ...]:
    return parse_providers(_file(*entries))


def test_a_listed_model_beats_the_default() -> None:
    providers = _parsed(_entry("a", default=True), _entry("b", models=["m"]))
    assert provider_for(providers, "m").name == "b"
    assert provider_for(providers, "other").name == "a"


def test_no_provider_is_not_found_and_says_what_to_create() -> None:
    with pytest.raises(RefusedError, match=r'model "m": no ModelProvider .* spec\.default: true') as refused:
        provider_for(_parsed(_entry("a", models=["x"])), "m")
    assert (refused.value.status, refused.value.kind) == (404, "not_found_error")


@pytest.mark.parametrize("claim", [{"models": ["m"]}, {"default": True}])
def test_two_claims_are_refused_by_name_rather_than_guessed(claim: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match=r'"a", "b" all claim it') as refused:
        provider_for(_parsed(_entry("a", **claim), _entry("b", **claim)), "m")
    assert refused.value.status == 404


def test_a_request_without_model_goes_to_the_default_else_the_only_one() -> None:
    assert provider_without_model(_parsed(_entry("a"), _entry("b", default=True))).name == "b"
    assert provider_without_model(_parsed(_entry("a"))).name == "a"
    with pytest.raises(RefusedError):
        provider_without_model(_parsed(_entry("a"), _entry("b")))


@pytest.mark.parametrize("key", ["", "  \n", None, "canary\r\nX: y", "schlüssel"])
def test_a_missing_key_names_provider_and_field(key: object) -> None:
    (provider,) = _parsed(_entry("a", api_key=key))
    with pytest.raises(RefusedError, match=r'ModelProvider "a": .*spec\.apiKey\.secretKeyRef') as refused:
        key_of(provider)
    assert (refused.value.status, refused.value.kind) == (401, "authentication_error")
    assert "canary" not in refused.value.message


def test_the_line_end_of_a_secret_made_from_a_file_is_dropped() -> None:
    (provider,) = _parsed(_entry("a", api_key="k\n"))
    assert key_of(provider) == "k"
    assert "api_key" not in repr(provider)


def test_an_endpoint_keeps_its_own_path_and_the_query() -> None:
    (provider,) = _parsed(_entry("a", endpoint="http://gateway:8080/anthropic/"))
    assert str(provider.url_for("/v1/messages?beta=true")) == "http://gateway:8080/anthropic/v1/messages?beta=true"


def test_an_empty_file_holds_no_providers() -> None:
    assert parse_providers(b"") == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "providers: a list"),
        (_file(_entry("a", endpoint="ftp://x")), r"providers\[0\]\.endpoint: an http or https URL"),
        (_file(_entry("a", endpoint="https://user:pw@x")), r"providers\[0\]\.endpoint"),
        (_file(_entry("a", endpoint="https://x:notaport")), r"providers\[0\]\.endpoint"),
        (_file(_entry("a"), {"endpoint": "https://x"}), r"providers\[1\]\.name: a text"),
        (_file(_entry("a", models="m")), r"providers\[0\]\.models: a list of texts"),
        (b'{"providers": [7]}', r"providers\[0\]: an object"),
    ],
)
def test_a_broken_file_names_the_field_and_no_value(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as broken:
        parse_providers(content)
    assert "pw" not in str(broken.value)
