"""Files that belong together are of one version, whenever a command is killed."""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.core.files import remove_temporaries, write_text
from medseg.core.replacing import (
    atomic_with_parts,
    finish_replacing,
    finish_replacing_file,
    replacing_files,
    replacing_together,
)


def in_child_killed_at_rename(number: int, write: Callable[[], None]) -> bool:
    """Write in a forked process that kills itself before a rename, from 0; return whether it was killed."""
    process = os.fork()
    if process == 0:
        count = itertools.count()

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "os.rename" and next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            write()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_files_that_are_replaced_together_are_all_old_or_all_new_after_a_kill_at_any_rename(tmp_path: Path) -> None:
    names = ("a.csv", "b.json", "c.yaml")

    def write(folder: Path) -> None:
        with replacing_together(folder, "plan") as staging:
            for name in names:
                write_text(staging / name, "new")

    versions = []
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in names:
            (folder / name).write_text("old")
        killed = in_child_killed_at_rename(number, lambda folder=folder: write(folder))
        finish_replacing(folder)
        remove_temporaries(folder)
        (version,) = {(folder / name).read_text() for name in names}
        assert sorted(path.name for path in folder.iterdir()) == list(names)
        versions.append(version)
        if not killed:
            break
    # a rename a file, one that makes the new ones count, and one more a file
    assert versions == ["old"] * 4 + ["new"] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("there", [False, True])
def test_a_file_and_its_parts_are_all_old_or_all_new_for_who_reads_them_next(tmp_path: Path, there: bool) -> None:
    names = ("a.pair", "a.raw", "more/b.raw")

    def write(folder: Path) -> None:
        with atomic_with_parts(folder / "a.pair") as path:
            for name in names:
                write_text(path.parent / name, "new")

    versions = []
    for number in range(20):
        folder = tmp_path / str(number)
        for name in names if there else ():
            write_text(folder / name, "old")
        killed = in_child_killed_at_rename(number, lambda folder=folder: write(folder))
        header, data = folder / "a.pair", folder / "a.raw"
        if header.exists() and header.read_text() == "new":  # the header is moved last
            assert data.read_text() == "new"
        finish_replacing_file(header)
        remove_temporaries(folder, {"a.pair"})
        left = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
        assert sorted(left) in ([], sorted(names))
        versions.append("".join({*left.values()}))
        if not killed:
            break
        assert not [path for path in folder.glob("*") if path.name.startswith(".")]
    # a rename a file, one that makes the new ones count, and one more a file
    assert versions == ["old" * there] * 4 + ["new"] * 4


def test_who_finishes_a_replacement_leaves_files_that_another_process_stages_meanwhile(tmp_path: Path) -> None:
    (tmp_path / ".next.plan" / "inner").mkdir(parents=True)
    (tmp_path / ".next.plan" / "inner" / "a.csv").write_text("first")
    moved = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and not moved and str(arguments[1]) == str(tmp_path / "inner" / "a.csv"):
            moved.append(arguments)
            (tmp_path / ".next.plan" / "b.csv").write_text("second")

    sys.addaudithook(hook)
    finish_replacing(tmp_path)
    assert moved
    assert (tmp_path / "inner" / "a.csv").read_text() == "first"
    assert (tmp_path / ".next.plan" / "b.csv").read_text() == "second"
    finish_replacing(tmp_path)
    assert (tmp_path / "b.csv").read_text() == "second"
    assert not (tmp_path / ".next.plan").exists()


def test_an_error_in_the_block_leaves_the_old_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a.pair", "old")

    def fail(path: Path) -> None:
        path.with_suffix(".raw").write_text("new")
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space left") as caught, atomic_with_parts(tmp_path / "a.pair") as path:
        fail(path)
    assert caught.value.filename == str(tmp_path / "a.pair")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.pair": "old"}


def test_files_are_replaced_and_others_stay_and_old_ones_come_back_where_one_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "same").write_text("old")
    (tmp_path / "a" / "other").write_text("stays")
    with replacing_files(tmp_path) as new:
        (new / "a").mkdir()
        (new / "a" / "same").write_text("new")
        (new / "b").mkdir()
        (new / "b" / "more").write_text("new")
    contents = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert contents == {"a/same": "new", "a/other": "stays", "b/more": "new"}

    (tmp_path / "c").write_text("a file where a folder has to be")

    def replace_all() -> None:
        with replacing_files(tmp_path) as new:
            for name in ("a/same", "a/added", "c/impossible"):
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_text("newer")

    with pytest.raises(FileExistsError):
        replace_all()
    assert (tmp_path / "a" / "same").read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c", "more", "other", "same"]
