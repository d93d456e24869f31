"""What is in which image, and when it gets another tag."""

import shutil
from pathlib import Path, PurePosixPath

import pytest

from imagebuild.context import write_context, write_secrets
from imagebuild.dockerfile import Copy, parse_dockerfile
from imagebuild.recipe import NAMES, REPOSITORY, Recipe, code_files, recipe_for

SITE = "opt/venv/lib/python3.11/site-packages/managed_agents"


def _packages_in(name: str) -> set[str]:
    files = code_files(recipe_for(name).dockerfile.code, REPOSITORY)
    assert all(file.startswith(f"{SITE}/") for file in files)
    return {file.removeprefix(f"{SITE}/").split("/")[0] for file in files}


def test_each_image_holds_its_own_processes_and_no_other() -> None:
    control_plane = {"contracts", "eventlog", "filestore", "kube", "operator", "server", "simulator"}
    assert _packages_in("control-plane") == control_plane
    assert _packages_in("harness") == {"contracts", "harness", "proxy", "sandbox"}
    assert _packages_in("sandbox") == set()


def test_the_namespace_package_stays_one() -> None:
    for name in ("control-plane", "harness"):
        assert f"{SITE}/__init__.py" not in code_files(recipe_for(name).dockerfile.code, REPOSITORY)


@pytest.mark.parametrize("name", NAMES)
def test_every_image_runs_as_an_ordinary_user(name: str) -> None:
    text = recipe_for(name).file.read_text()
    users = [line for line in text.splitlines() if line.startswith("USER ")]
    assert users[-1] == "USER 1000:1000"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_slow_part_reads_exists(name: str, tmp_path: Path) -> None:
    recipe = recipe_for(name)
    context = write_context(recipe, tmp_path / "context")
    copied = {str(file.relative_to(context)) for file in context.rglob("*") if file.is_file()}
    assert copied == {str(path) for path in recipe.dockerfile.reads}
    assert "images/install-wheels" in copied


def _repository(folder: Path) -> Path:
    """Copy the part of the repository that the harness image is made of."""
    for path in ("images", "locks", "operator/managed_agents/contracts", "harness_image"):
        shutil.copytree(REPOSITORY / path, folder / path)
    return folder


def _keys(repository: Path) -> tuple[str, str]:
    recipe = recipe_for("harness", repository)
    return recipe.dependencies_key("self-made"), recipe.tag("self-made")


def test_a_code_change_gives_another_tag_on_the_same_packages(tmp_path: Path) -> None:
    repository = _repository(tmp_path)
    dependencies, tag = _keys(repository)
    (repository / "harness_image/managed_agents/proxy/new.py").write_text("X = 1\n")
    changed = _keys(repository)
    assert changed[0] == dependencies
    assert changed[1] != tag
    assert len(tag) == 12


@pytest.mark.parametrize("path", ["locks/harness.txt", "images/install-wheels", "images/harness/Dockerfile"])
def test_a_changed_lock_or_recipe_gives_other_packages(tmp_path: Path, path: str) -> None:
    repository = _repository(tmp_path)
    dependencies, _ = _keys(repository)
    text = (repository / path).read_text()
    (repository / path).write_text(f"# changed\n{text}")
    assert _keys(repository)[0] != dependencies


@pytest.mark.parametrize("path", ["proxy/__pycache__/app.cpython-311.pyc", "proxy/.app.py.swp", "proxy/old.pyc"])
def test_by_products_change_nothing(tmp_path: Path, path: str) -> None:
    repository = _repository(tmp_path)
    before = _keys(repository)
    file = repository / "harness_image/managed_agents" / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")
    assert _keys(repository) == before


def test_the_two_ways_are_kept_apart() -> None:
    recipe = recipe_for("harness")
    assert recipe.tag("pulled") != recipe.tag("self-made")


def test_a_dockerfile_is_cut_after_its_dependencies() -> None:
    parsed = parse_dockerfile(
        "ARG BASE=x\nFROM ${BASE} AS dependencies\nCOPY locks/a.txt \\\n  images/b /tmp/\nCOPY --from=x /a /b\n"
        "FROM dependencies\nCOPY operator/managed_agents /opt/m\n"
    )
    assert parsed.reads == (PurePosixPath("locks/a.txt"), PurePosixPath("images/b"))
    assert parsed.code == (Copy(source=PurePosixPath("operator/managed_agents"), target=PurePosixPath("/opt/m")),)
    assert "operator" not in parsed.slow_part


@pytest.mark.parametrize("text", ["FROM x\n", "FROM x AS dependencies\nFROM y AS dependencies\n"])
def test_a_dockerfile_without_the_one_stage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one stage"):
        parse_dockerfile(text)


def test_secrets_of_the_build_are_quoted_private_and_outside_the_context(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    environment = {
        "PIP_INDEX_URL": "https://user:pa$s'word@index.example",
        "HOME": "/root",
        "PIP_CERT": "/nowhere",
        "SSL_CERT_FILE": str(bundle),
    }
    options = write_secrets(tmp_path, environment)
    file = tmp_path / "build-environment"
    assert options == [f"--secret=id=build-environment,src={file}", f"--secret=id=certificates,src={bundle}"]
    assert file.read_text() == "PIP_INDEX_URL='https://user:pa$s'\"'\"'word@index.example'\n"
    assert file.stat().st_mode & 0o077 == 0


def test_a_recipe_knows_its_file() -> None:
    recipe: Recipe = recipe_for("sandbox")
    assert recipe.file == REPOSITORY / "images/sandbox/Dockerfile"
