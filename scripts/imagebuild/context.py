"""What a build gets to see: a few files of the repository, and what it needs of this machine, as secrets."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from imagebuild.recipe import Recipe

_PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def write_context(recipe: Recipe, folder: Path) -> Path:
    """Copy what the stage reads of the repository, and nothing else, so that no build sees more."""
    for path in recipe.dockerfile.reads:
        placed = folder / path
        placed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recipe.repository / path, placed)
    return folder


def write_secrets(folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Write what a build needs of this machine; return the options that hand it in and leave no trace in the image."""
    passed = {name: environment[name] for name in (*_PASSED_ON, *_PROXIES) if environment.get(name)}
    file = folder / "build-environment"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in passed.items()))
    options = [f"--secret=id=build-environment,src={file}"]
    bundles = [environment[name] for name in _CERTIFICATES if environment.get(name)]
    bundle = next((bundle for bundle in bundles if Path(bundle).is_file()), None)
    return options if bundle is None else [*options, f"--secret=id=certificates,src={bundle}"]
