"""scripts/api-key in front of a kubectl that writes down what it is given."""

import hashlib
import json
import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "api-key"
KUBECTL = """#!/bin/sh
echo "$@" >>"$CALLS"
case "$*" in
  *-f*-*) cat >"$GIVEN"; echo applied ;;
  *jsonpath*) printf %s "$HELD" ;;
esac
[ -z "$FAIL" ] || { echo "$FAIL" >&2; exit 3; }
"""


class Keys:
    """Runs the script; `calls` are kubectl's arguments, `given` the object it got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kubectl = folder / "kubectl"
        kubectl.write_text(KUBECTL)
        kubectl.chmod(0o755)

    def run(self, *arguments: str, held: str = "", fail: str = "") -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CALLS": str(self.folder / "calls"),
            "GIVEN": str(self.folder / "given"),
            "HELD": held,
            "FAIL": fail,
        }
        return subprocess.run(
            [SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=10, check=False
        )

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def spec(self) -> dict[str, object]:
        spec: dict[str, object] = json.loads((self.folder / "given").read_text())["spec"]
        return spec


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_a_new_key_is_shown_once_and_only_its_hash_is_stored(keys: Keys) -> None:
    done = keys.run("create", "ci", "-n", "team-a", "--read-only", "--expires", "30d", "--description", "CI")
    key = done.stdout.strip()
    assert key.startswith("sk-ma-")
    assert len(key) == len("sk-ma-") + 43
    assert key not in done.stderr
    assert keys.calls == ["create -n team-a -f -"]
    expires = datetime.fromisoformat(str(keys.spec["expiresAt"]))
    assert abs(expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert keys.spec == {
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "readOnly": True,
        "expiresAt": keys.spec["expiresAt"],
        "description": "CI",
    }


def test_a_key_in_a_file_is_used_again_and_replaces_another_of_its_name(keys: Keys, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert keys.run("create", "dev", "--key-file", str(file)).stdout == ""
    key = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keys.run("create", "dev", "--key-file", str(file), held="another")
    assert file.read_text() == key
    assert keys.calls[-2:] == ["delete apikey dev", "apply -f -"]


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["revoke", "ci", "-n", "team-a"], "delete apikey ci -n team-a"),
        (["list", "-A"], "get apikeys -A"),
        (["list"], "get apikeys"),
    ],
)
def test_revoke_and_list_are_kubectls(keys: Keys, arguments: list[str], call: str) -> None:
    assert keys.run(*arguments).returncode == 0
    assert keys.calls == [call]


def test_what_kubectl_refuses_is_said_and_no_key_is_shown(keys: Keys) -> None:
    done = keys.run("create", "ci", fail="apikeys is forbidden")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "apikeys is forbidden\n")


def test_a_wrong_expiry_is_refused(keys: Keys) -> None:
    done = keys.run("create", "ci", "--expires", "soon")
    assert done.returncode == 2
    assert "'soon' is no time" in done.stderr
