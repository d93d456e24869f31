"""Installs the packages of one manager into a prefix. Runs in the sandbox image as `python3 -IS -c SOURCE JSON`.

Standard library only, Python 3.9. JSON: `{"manager", "packages", "prefix"}`. What a manager prints goes to standard
output; of a failure the end goes to the termination message too, from where a user reads it in a condition.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path

Variables = dict[str, str]

TERMINATION_LOG = "/dev/termination-log"
TAIL_LINES = 20
TAIL_CHARS = 2500  # the kubelet keeps 4096 bytes


class InstallError(Exception):
    """Installing failed; the message is for the Environment's author."""


def install(manager: str, packages: list[str], prefix: str, scratch: Path) -> None:
    """Install packages below `prefix/manager`. Raises InstallError."""
    target = Path(prefix, manager)
    target.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, HOME=str(scratch), TMPDIR=str(scratch), LC_ALL="C.UTF-8")
    INSTALLERS[manager](packages, target, Path(scratch), environment)
    for path in target.rglob("*"):  # another user reads them in the sandbox
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o777 | (0o555 if path.is_dir() else 0o444))


def install_pip(packages: list[str], target: Path, _: Path, environment: Variables) -> None:
    """Install into a folder of PYTHONPATH, whichever minor version of Python the image has."""
    options = ("--disable-pip-version-check", "--no-input", "--no-cache-dir", "--no-warn-script-location")
    python = need("python3", "Python packages")
    run([python, "-m", "pip", "install", *options, "--target", str(target), "--", *packages], environment)


def install_npm(packages: list[str], target: Path, scratch: Path, environment: Variables) -> None:
    """Install globally below a prefix: `bin` and `lib/node_modules`."""
    options = ("--no-fund", "--no-audit", "--no-update-notifier", "--loglevel=error")
    cache = f"--cache={scratch / 'npm'}"
    npm = need("npm", "npm packages")
    run([npm, "install", "--global", "--prefix", str(target), cache, *options, *packages], environment)


def install_cargo(packages: list[str], target: Path, scratch: Path, environment: Variables) -> None:
    """Build programs: `bin`."""
    environment = dict(environment, CARGO_HOME=str(scratch / "cargo"), CARGO_TARGET_DIR=str(scratch / "target"))
    environment.setdefault("RUSTUP_HOME", str(Path.home() / ".rustup"))
    run([need("cargo", "Rust programs"), "install", "--quiet", "--root", str(target), "--", *packages], environment)


def install_gem(packages: list[str], target: Path, _: Path, environment: Variables) -> None:
    """Install gems and their programs: `bin` beside them. `NAME:VERSION` pins a version."""
    options = ("--no-document", "--install-dir", str(target), "--bindir", str(target / "bin"))
    run([need("gem", "Ruby gems"), "install", *options, *packages], environment)


def install_go(packages: list[str], target: Path, scratch: Path, environment: Variables) -> None:
    """Build programs: `bin`. Without a version the latest is taken."""
    environment = dict(
        environment, GOPATH=str(scratch / "gopath"), GOCACHE=str(scratch / "gocache"), GOBIN=str(target / "bin")
    )
    environment.setdefault("GOFLAGS", "-modcacherw")
    for package in packages:  # one after the other: go refuses several modules at once
        run([need("go", "Go programs"), "install", package if "@" in package else package + "@latest"], environment)


def install_apt(packages: list[str], target: Path, scratch: Path, environment: Variables) -> None:
    """Download packages with what they depend on and is not in the image, and unpack them. No script of theirs runs."""
    apt_get, dpkg_deb = need("apt-get", "Debian packages"), need("dpkg-deb", "Debian packages")
    state, cache = scratch / "apt-state", scratch / "apt-cache"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    options = (
        *("-o", f"Dir::State={state}", "-o", f"Dir::Cache={cache}", "-o", "Dir::State::status=/var/lib/dpkg/status"),
        *("-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=", "-q", "-y"),
    )
    run([apt_get, *options, "update"], environment)
    run([apt_get, *options, "install", "--download-only", "--no-install-recommends", "--", *packages], environment)
    archives = sorted((cache / "archives").glob("*.deb"))
    if not archives:
        say("all of these are in the image already")
    for archive in archives:
        run([dpkg_deb, "--extract", str(archive), str(target)], environment)


INSTALLERS = {
    "apt": install_apt,
    "cargo": install_cargo,
    "gem": install_gem,
    "go": install_go,
    "npm": install_npm,
    "pip": install_pip,
}


def need(program: str, what: str) -> str:
    """Return a program's path. Raises InstallError where the image has none."""
    found = shutil.which(program)
    if found is None:
        raise InstallError(f"the sandbox image has no {program}, which installs {what}; use an image that has it")
    return found


def run(command: list[str], environment: Variables) -> None:
    """Run a command, its output passed on. Raises InstallError with its last lines."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    for line in process.stdout:
        text = re.sub(r"[^\x20-\x7e\t]", "?", line.decode("utf-8", "replace").rstrip())
        tail.append(text)
        say(text)
    process.stdout.close()
    if process.wait() != 0:
        raise InstallError("\n".join(tail)[-TAIL_CHARS:] or f"{command[0]} ended with status {process.returncode}")


def say(text: str) -> None:
    """Print a line of the log."""
    print(text, flush=True)  # noqa: T201 - the Job's log


def main(arguments: list[str]) -> int:
    """Install; returns the exit status."""
    asked = json.loads(arguments[0])
    scratch = Path(asked.get("scratch", "/tmp/install"))  # noqa: S108 - a volume of this Pod's own
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        install(asked["manager"], asked["packages"], asked["prefix"], scratch)
    except (InstallError, OSError) as error:
        say(str(error))
        try:
            Path(asked.get("termination_log", TERMINATION_LOG)).write_text(str(error)[-TAIL_CHARS:])
        except OSError:
            say("the termination message cannot be written")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
