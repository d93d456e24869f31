"""Which ModelProvider serves a model: parsing of `providers.json` and the choice, without I/O.

The operator writes the file from the namespace's ModelProviders:
`{"providers": [{"name", "endpoint", "api_key", "default": bool, "models": ["id", …]}]}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from yarl import URL

from managed_agents.proxy.errors import RefusedError

Providers = tuple["Provider", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One endpoint that speaks the Messages API. `api_key` is empty where its Secret holds no usable one."""

    name: str
    endpoint: URL
    api_key: str = field(repr=False)
    default: bool
    models: frozenset[str]

    def url_for(self, raw_path: str) -> URL:
        """Return the endpoint's URL of an API path with its query, below the endpoint's own path where it has one."""
        return URL(f"{str(self.endpoint).rstrip('/')}{raw_path}", encoded=True)


def parse_providers(content: bytes) -> Providers:
    """Parse the file. Raises: ValueError naming the field at fault, never a value (it may be a key)."""
    document = orjson.loads(content) if content.strip() else {"providers": []}
    entries = document.get("providers") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("providers: a list is required")
    return tuple(_provider_from(entry, f"providers[{index}]") for index, entry in enumerate(entries))


def _provider_from(entry: object, path: str) -> Provider:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: an object is required")
    name, endpoint = entry.get("name"), entry.get("endpoint")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{path}.name: a text is required")
    models = entry.get("models") or []
    if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
        raise ValueError(f"{path}.models: a list of texts is required")
    return Provider(
        name=name,
        endpoint=_endpoint_from(endpoint, f"{path}.endpoint"),
        api_key=_key_from(entry.get("api_key")),
        default=entry.get("default") is True,
        models=frozenset(models),
    )


def _endpoint_from(value: object, path: str) -> URL:
    try:
        url = URL(value) if isinstance(value, str) else URL()
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host or url.query_string or url.fragment or url.user:
        raise ValueError(f"{path}: an http or https URL without user, query and fragment is required")
    return url


def _key_from(value: object) -> str:
    """Return the key without the line end that `kubectl create secret --from-file` likes to leave; empty for none.

    A key that an HTTP header cannot carry counts as none, so that it stops its own provider and no other.
    """
    key = value.strip() if isinstance(value, str) else ""
    return key if key.isascii() and key.isprintable() else ""


def provider_for(providers: Sequence[Provider], model: str) -> Provider:
    """Choose the provider that lists the model, else the default one.

    Raises: RefusedError, 404, when there is none or more than one: a guess could spend the wrong key.
    """
    listed = [provider for provider in providers if model in provider.models]
    return _only(listed or [provider for provider in providers if provider.default], f'model "{model}"')


def provider_without_model(providers: Sequence[Provider]) -> Provider:
    """Choose the provider of a request without model: the default, else the only one. Raises: RefusedError, 404."""
    return _only([provider for provider in providers if provider.default] or providers, "a request without model")


def _only(candidates: Sequence[Provider], subject: str) -> Provider:
    match candidates:
        case [provider]:
            return provider
        case []:
            advice = "create one whose spec.models lists it, or one with spec.default: true"
            raise RefusedError(
                404, "not_found_error", f"{subject}: no ModelProvider of this namespace serves it; {advice}"
            )
        case _:
            names = ", ".join(f'"{provider.name}"' for provider in candidates)
            advice = "let one list the model, and one be the default"
            raise RefusedError(404, "not_found_error", f"{subject}: ModelProviders {names} all claim it; {advice}")


def key_of(provider: Provider) -> str:
    """Return the provider's key. Raises: RefusedError, 401, when there is none."""
    if provider.api_key:
        return provider.api_key
    message = (
        f'ModelProvider "{provider.name}": no usable API key; put one into the Secret key that its '
        "spec.apiKey.secretKeyRef names"
    )
    raise RefusedError(401, "authentication_error", message)
