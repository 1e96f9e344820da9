"""Paths with blanks that were typed without quotation marks get a message that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.cli.parsing.blanks import unquoted_path


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["My", "Studies"], "My Studies"),
        (["My", "Studies", "out"], "My Studies"),
        (["My", "Old", "Studies", "--json"], "My Old Studies"),
        (["--model", "My", "Studies"], "My Studies"),
        (["My Studies", "out"], None),
        (["scans", "out"], None),
        (["My", "--json", "Studies"], None),
        ([], None),
        ([*"abcdefghijklmnopqrst", "out"], " ".join("abcdefghijklmnopqrst")),
        ([*"123456789012345678901"], None),  # a path of 21 pieces is not looked for
    ],
)
def test_the_longest_path_that_lies_in_pieces_is_recognized(
    words: list[str], path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "My Studies",
        "My Old Studies",
        "scans",
        " ".join("abcdefghijklmnopqrst"),
        " ".join("123456789012345678901"),
    ):
        Path(name).mkdir()
    assert unquoted_path(words) == path


def test_the_command_line_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("My Studies").mkdir()
    done = command_line("series", "My", "Studies")
    assert done.returncode == 2
    assert "A path with blanks needs quotation marks: 'My Studies'" in done.stderr
    done = command_line("series", "My Studies", "again")
    assert "Got unexpected extra argument(s) (again). A path with blanks needs quotation marks." in done.stderr
