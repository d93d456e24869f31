"""The file tools equal the SDK's on generated files, patterns and ranges."""

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from managed_agents.sandbox.runner.tools.arguments import parse_arguments
from managed_agents.sandbox.runner.tools.errors import ToolError
from managed_agents.sandbox.runner.tools.paths import Roots
from managed_agents.sandbox.runner.toolset import FILE_TOOLS, result_of
from support.sandbox_pair import Result, SdkToolset, normalised, tree

pytestmark = pytest.mark.slow  # real shells in real processes

TEXT = st.text(alphabet="ab\n\r\t é漢😀.x", max_size=40)
SMALL = st.text(alphabet="ab\nx", max_size=3)
LINE = st.integers(min_value=-3, max_value=12)
NAME = st.sampled_from(["a", "b", "a.py", "b.txt", ".hidden", "dir", "ü"])
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
PATTERN = st.lists(st.sampled_from(["*", "**", "a", "?", "[ab]*", "*.py", ".*", "dir", ".."]), max_size=3).map("/".join)
# A repeated group may backtrack until the 30 s limit, in both toolsets.
EXPRESSION = st.text(alphabet="ab.x*+?()[]^$|\\d", max_size=6).filter(lambda text: not re.search(r"\)[*+?]", text))
EXAMPLES = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Both:
    """Both toolsets without the forked processes of ours, which the table of calls covers."""

    def __init__(self, sdk: Path, ours: Path) -> None:
        self.bases = (sdk, ours)
        self._roots = Roots(ours / "work", (ours / "outputs", ours / "uploads"), (ours / "uploads",))

    def write(self, files: dict[str, str]) -> None:
        for base in self.bases:
            for number, (name, text) in enumerate(files.items()):
                path = base / "work" / name
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(text.encode())
                    os.utime(path, (number, number))
                except OSError:  # a generated file stands where a folder should
                    continue

    def same(self, name: str, **arguments: Any) -> None:
        sdk = asyncio.run(SdkToolset(self.bases[0]).call(name, arguments))
        assert self._ours(name, arguments) == sdk
        assert tree(self.bases[1]) == tree(self.bases[0])

    def _ours(self, name: str, arguments: dict[str, Any]) -> Result:
        try:
            result = result_of(FILE_TOOLS[name](self._roots, **parse_arguments(name, arguments)))
        except ToolError as error:
            result = result_of(str(error), is_error=True)
        return normalised(result["content"], self.bases[1]), result["is_error"]


@pytest.fixture
def folders() -> Iterator[Any]:
    """A maker of fresh pairs of folders: one test function runs many examples."""
    kept: list[tempfile.TemporaryDirectory[str]] = []

    def fresh() -> Both:
        pair = [tempfile.TemporaryDirectory(prefix="ma-") for _ in range(2)]
        kept.extend(pair)
        for folder in pair:
            for name in ("work", "outputs", "uploads"):
                (Path(folder.name) / name).mkdir()
        return Both(Path(pair[0].name), Path(pair[1].name))

    yield fresh
    for folder in kept:
        folder.cleanup()


@EXAMPLES
@given(text=TEXT, view=st.lists(LINE, max_size=3))
def test_read_range_equals_the_sdks(folders: Any, text: str, view: list[int]) -> None:
    both = folders()
    both.write({"f.txt": text})
    both.same("read", file_path="f.txt", view_range=view)


@EXAMPLES
@given(text=TEXT, old=SMALL, new=SMALL, replace_all=st.sampled_from([None, True, False]))
def test_edit_equals_the_sdks(folders: Any, text: str, old: str, new: str, replace_all: bool | None) -> None:
    both = folders()
    both.write({"f.txt": text})
    both.same("edit", file_path="f.txt", old_string=old, new_string=new, replace_all=replace_all)


@EXAMPLES
@given(path=PATH, text=TEXT, before=st.dictionaries(PATH, TEXT, max_size=3))
def test_write_equals_the_sdks(folders: Any, path: str, text: str, before: dict[str, str]) -> None:
    both = folders()
    both.write(before)
    both.same("write", file_path=path, content=text)


@EXAMPLES
@given(files=st.dictionaries(PATH, st.just("x"), max_size=5), pattern=PATTERN)
def test_glob_equals_the_sdks(folders: Any, files: dict[str, str], pattern: str) -> None:
    both = folders()
    both.write(files)
    for base in both.bases:  # folders get their time from the clock; newest-first would differ
        for path in base.rglob("*"):
            if path.is_dir():
                os.utime(path, (0, 0))
    both.same("glob", pattern=pattern)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # re's on doubtful sets, which generated expressions have
@EXAMPLES
@given(files=st.dictionaries(PATH, TEXT, max_size=4), expression=EXPRESSION)
def test_grep_equals_the_sdks(folders: Any, files: dict[str, str], expression: str) -> None:
    both = folders()
    both.write(files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        both.same("grep", pattern=expression)
