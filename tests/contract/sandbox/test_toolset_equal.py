"""Our tools give the SDK's results, byte for byte, over a table of calls."""

import os
from pathlib import Path
from typing import Any

import pytest

from support.requirements import requirement
from support.sandbox_pair import Pair

pytestmark = pytest.mark.slow  # real shells in real processes

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


LARGE = {
    "big.txt": b"".join(b"line %d\n" % i for i in range(60_000)),
    "long-line.txt": b"x" * 300_000,
    "at-limit.png": b"y" * (5 * 1024 * 1024 // 4 * 3 + 1),
}


def _prepare(base: Path, large: str = "") -> None:
    work = base / "work"
    if large in LARGE:
        (work / large).write_bytes(LARGE[large])
        os.utime(work / large, (1_600_000_000, 1_600_000_000))
    (work / "src" / "deep").mkdir(parents=True)
    (work / ".git").mkdir()
    (work / "node_modules").mkdir()
    files: dict[str, bytes] = {
        "work/a.txt": b"one\ntwo\nthree\n",
        "work/no-newline.txt": b"one\ntwo",
        "work/crlf.txt": b"one\r\ntwo\r\n",
        "work/empty.txt": b"",
        "work/unicode.txt": "grüße\n漢字\n😀\n".encode(),
        "work/binary.bin": b"\x00\x01\xff\xfe",
        "work/latin1.txt": "grüße".encode("latin-1"),
        "work/src/main.py": b"def main():\n    return 'two'\n",
        "work/src/deep/x.py": b"two\n",
        "work/.git/config": b"two\n",
        "work/node_modules/m.js": b"two\n",
        "work/pic.png": PNG,
        "work/pic.JPEG": PNG,
        "work/doc.pdf": b"%PDF-1.4 two",
        "outputs/report.md": b"two\n",
        "uploads/given.txt": b"two\n",
        "outside/secret.txt": b"two\n",
    }
    for number, (name, content) in enumerate(files.items()):
        (base / name).write_bytes(content)
        os.utime(base / name, (1_700_000_000 + number, 1_700_000_000 + number))
    (work / "out-link").symlink_to(base / "outside")
    (work / "out-file").symlink_to(base / "outside" / "secret.txt")
    (work / "dangling-out").symlink_to(base / "outside" / "new.txt")
    (work / "dangling-in").symlink_to("new-in.txt")
    (work / "in-link").symlink_to("a.txt")
    (work / "loop-a").symlink_to("loop-b")
    (work / "loop-b").symlink_to("loop-a")
    (work / "root-link").symlink_to("/")
    os.mkfifo(work / "fifo")


CALLS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("read", {"file_path": path})
        for path in (
            "a.txt", "./src/../a.txt", "no-newline.txt", "crlf.txt", "empty.txt", "unicode.txt", "binary.bin",
            "latin1.txt", "pic.png", "pic.JPEG", "doc.pdf", "at-limit.png", "big.txt", "missing.txt", "src", ".", "",
            "a.txt/x", "fifo", "in-link", "BASE/work/a.txt", "BASE/outputs/report.md", "BASE/uploads/given.txt",
        )
    ),
    *(
        ("read", {"file_path": path})
        for path in (
            "../outside/secret.txt", "out-link/secret.txt", "out-file", "dangling-out", "loop-a",
            "root-link/etc/passwd",
            "/etc/passwd", "/proc/self/root/etc/passwd", "/proc/self/environ", "/dev/null", "/dev/stdin",
            "/proc/self/cwd/../../etc/passwd", "BASE/outside/secret.txt", "x" * 300, "a\x00b",
        )
    ),
    *(
        ("read", {"file_path": "a.txt", "view_range": view})
        for view in ([1, 2], [2, 2], [2, 0], [2, -1], [0, 1], [3, 1], [4, 9], [9, 9], [-5, 2], [], [1], [1, 2, 3])
    ),
    *(("read", {"file_path": "no-newline.txt", "view_range": view}) for view in ([1, 1], [2, 2], [1, 0], [3, 3])),
    *(
        ("read", {"file_path": "big.txt", "view_range": view})
        for view in ([1, 2], [59_999, 0], [5, 4], [1, 0], [70_000, 0])
    ),
    ("read", {"file_path": "long-line.txt", "view_range": [1, 1]}),
    ("read", {"file_path": "long-line.txt", "view_range": [1, 2]}),
    ("read", {"file_path": "pic.png", "view_range": [1, 2]}),
    ("read", {"file_path": "a.txt", "view_range": ["1", 2.0]}),
    *(
        ("write", {"file_path": path, "content": content})
        for path, content in (
            ("new.txt", "x"), ("a.txt", ""), ("d/e/f.txt", "grüße\r\n"), ("src", "x"), ("a.txt/b", "x"),
            ("BASE/outputs/o.txt", "x"), ("BASE/uploads/u.txt", "x"), ("BASE/uploads/given.txt", "x"),
            ("../outside/w.txt", "x"), ("out-link/w.txt", "x"), ("dangling-out", "x"), ("out-file", "x"),
            ("dangling-in", "x"), ("in-link", "x"), ("root-link/tmp/x", "x"), ("loop-a", "x"), ("", "x"),
            ("/dev/null", "x"), ("/proc/self/root/tmp/x", "x"), ("n" * 300, "x"),
        )
    ),
    *(
        ("edit", {"file_path": path, "old_string": old, "new_string": new, **more})
        for path, old, new, more in (
            ("a.txt", "two", "TWO", {}), ("a.txt", "o", "0", {}), ("a.txt", "o", "0", {"replace_all": True}),
            ("a.txt", "nothing", "x", {}), ("crlf.txt", "\r\n", "\n", {"replace_all": True}), ("a.txt", "", "x", {}),
            ("a.txt", "", "x", {"replace_all": True}), ("empty.txt", "", "x", {}), ("unicode.txt", "漢", "字", {}),
            ("binary.bin", "x", "y", {}), ("big.txt", "line 5\n", "x", {}), ("missing.txt", "x", "y", {}),
            ("src", "x", "y", {}), ("fifo", "x", "y", {}), ("out-file", "two", "x", {}), ("in-link", "one", "1", {}),
            ("BASE/uploads/given.txt", "two", "x", {}), ("a.txt", "two", "x", {"replace_all": "false"}),
        )
    ),
    *(
        ("glob", {"pattern": pattern, **more})
        for pattern, more in (
            ("*.txt", {}), ("**/*.py", {}), ("**/*", {"path": "src"}), ("nothing*", {}), ("/etc/*", {}), ("../*", {}),
            ("src/../../*", {}), ("out-link/*", {}), ("root-link/*", {}), ("*", {"path": "BASE/outputs"}), ("", {}),
            ("*", {"path": "/etc"}), ("*", {"path": "missing"}), ("*", {"path": "a.txt"}), ("loop*", {}), ("**", {}),
            ("[a", {}), ("*.TXT", {}), ("src/**/x.py", {}), ("*", {"path": ""}),
        )
    ),
    *(
        ("grep", {"pattern": pattern, "path": "src", **more})
        for pattern, more in (
            ("two", {}), ("^two$", {}), ("nothing", {}), ("(", {}), ("[", {}), ("two", {"path": "a.txt"}),
            ("two", {"path": "BASE/outputs"}), ("two", {"path": "/etc"}), ("two", {"path": "missing"}),
            ("two", {"path": "fifo"}), ("two", {"path": "out-link"}), ("x", {"path": "long-line.txt"}),
            ("grü", {"path": "latin1.txt"}), ("", {"path": "unicode.txt"}), ("one", {"path": "crlf.txt"}),
        )
    ),
]  # fmt: skip


@requirement("A12")
@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=lambda value: str(value)[:70])
async def test_file_tool_result_equals_the_sdks(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")  # grep without ripgrep, wherever this runs
    named = arguments.get("file_path", arguments.get("path", ""))
    pair.on_both(lambda base: _prepare(base, named))
    await pair.same(name, **arguments)


async def test_grep_skips_what_it_must_and_finds_the_rest(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    pair.on_both(_prepare)
    blocks, is_error = await pair.same("grep", pattern="two")
    found = blocks[0]["text"]
    assert not is_error
    assert "src/deep/x.py:1:two" in found
    assert not any(part in found for part in (".git/", "node_modules", "secret", "out-link"))


@pytest.mark.parametrize(("exit_code", "stdout", "stderr"), [(0, "a:1:x\n", ""), (1, "", ""), (2, "", "bad regex")])
async def test_grep_by_ripgrep_equals_the_sdks(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int, stdout: str, stderr: str
) -> None:
    rg = tmp_path / "rg"
    script = f"#!/bin/sh\nprintf '{stdout}'\nprintf '{stderr}' >&2\necho \"$ANTHROPIC_API_KEY\"\nexit {exit_code}\n"
    rg.write_text(script)
    rg.chmod(0o755)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    blocks, _ = await pair.same("grep", pattern="x")
    assert "canary" not in blocks[0]["text"]


async def test_a_ripgrep_that_the_tools_could_have_written_is_not_run(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plant(base: Path) -> None:
        (base / "work" / "rg").write_text("#!/bin/sh\necho owned\n")
        (base / "work" / "rg").chmod(0o755)

    pair.on_both(plant)
    monkeypatch.setenv("PATH", f"{pair.ours.base}/work")
    ours, is_error = await pair.ours.call("grep", {"pattern": "nothing-like-this"})
    assert (ours[0]["text"], is_error) == ("no matches", False)


SHELL_SESSION = [
    "echo hi",
    "true",
    "false",
    "echo out; echo err >&2; exit_code() { return 7; }; exit_code",
    "cd / && pwd",
    'pwd; export KEPT=1; f() { echo "f $1"; }',
    "f x; echo $KEPT",
    "nosuchcommand",
    "echo one\nnosuchcommand\necho three",
    "for i in 1 2; do\n  nosuch$i\ndone",
    "cat <<'END'\nit's $HOME\nEND",
    "printf 'no newline'",
    "printf '\\n\\nlines\\n\\n'",
    "printf '\\033[31mred\\033[0m'",
    "printf 'a\\377b'",
    "echo 'grüße 漢字 😀'",
    "cat; echo after",
    "read x; echo $?",
    "echo $LINENO",
    "echo 'back\\slash' \"and $((1+1))\" `echo tick` $'x\\ty'",
    "return 3; echo not a function",
    "(exit 9)",
    "echo __ANT_CMD_ _DONE__0",
    "seq 1 20000 | tail -c 100000 | head -c 99000",
    "sleep 300 & echo started",
    "kill %1; wait 2>/dev/null; echo ended",
    'echo "$-" "$0" "$#" $SHLVL $PS1 $PS2 $TERM',
    "set -o pipefail; false | true; echo $?",
    "shopt -s extglob",
    "echo /usr/@(bin)",
    "echo a # comment",
    "echo a; # comment",
    "{ echo group; }",
    "exec 3>&1; echo three >&3",
    "alias x=y; trap 'echo trapped' USR1; kill -USR1 $$; echo after",
    "case x in x) echo matched;; esac",
    "! true",
    "[[ a == b ]]",
    "echo '!history'",
    "\n\necho blank lines before\n\n",
    "ANTHROPIC_X=1 env | grep -c ANTHROPIC_",
]


async def test_a_shell_session_equals_the_sdks(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    for command in SHELL_SESSION:
        await pair.same("bash", command=command)


@pytest.mark.parametrize("arguments", [{}, {"command": ""}, {"command": None}, {"restart": False}])
async def test_bash_without_a_command_equals_the_sdks(pair: Pair, arguments: dict[str, Any]) -> None:
    assert (await pair.same("bash", **arguments))[1]


async def test_a_restarted_shell_equals_the_sdks(pair: Pair) -> None:
    await pair.same("bash", command="cd /; KEPT=1")
    assert (await pair.same("bash", restart=True))[0][0]["text"] == "bash session restarted"
    await pair.same("bash", command="pwd; echo [$KEPT]")


async def test_a_shell_that_exits_gives_the_sdks_result(pair: Pair) -> None:
    await pair.same("bash", command="echo last; exit 3")
