"""Files that matter are whole or as they were before."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from medseg.core import files
from medseg.core.errors import DataError, MedsegError
from medseg.core.files import (
    atomic,
    atomic_folder,
    check_folder,
    content_hash,
    remove_temporaries,
    saving,
    scratch_folder,
    write_json,
    write_text,
)


def test_a_folder_that_is_there_or_can_be_made_is_let_pass(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for place in ("folder", "folder/new/deep", "link", "link/new", "new"):
        check_folder(tmp_path / place)
    (tmp_path / "file").touch()
    for place in ("file", "file/new/deep"):
        with pytest.raises(DataError, match=r"file(, which)? is a file; expected a folder"):
            check_folder(tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link"], "nothing is made"


class Killed(BaseException):
    """Ends a block the way an interrupt does: not as an Exception."""


def test_a_block_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "plan.yaml"
    for text in ("old", "new"):
        with atomic(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.endswith("plan.yaml")
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Killed])
def test_a_block_that_is_cut_short_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "weights"
    path.write_text("old")

    def write_half() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_is_cut_short_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="disk"), atomic(tmp_path / "new"):
        raise ValueError("disk")
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "case.safetensors"
    with atomic(path) as first, atomic(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last
    assert list(tmp_path.iterdir()) == [path]


def test_text_and_json_are_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Ödem\n")
    write_json(tmp_path / "a.json", {"structure": "Ödem", "volume": 1.5})
    assert (tmp_path / "a.txt").read_bytes() == "Ödem\n".encode()
    assert "Ödem" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"structure": "Ödem", "volume": 1.5}


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    for name, content in (("a", b"scan"), ("b", b"scan"), ("c", b"scam")):
        (tmp_path / name).write_bytes(content)
    first, second, third = (content_hash(tmp_path / name) for name in "abc")
    assert first == second != third
    assert first == "59ad1b2fc74287ded1bba7af67765d23ad4a49f1ae51902cc2ed3f8ebee96cfa", "as sha256sum says"


WRITER = """
import os, signal, sys
from pathlib import Path
from medseg.core.files import atomic, atomic_folder, scratch_folder
make, path = sys.argv[1:]
with {"file": lambda: atomic(Path(path)), "folder": lambda: atomic_folder(Path(path)),
      "scratch": lambda: scratch_folder("model")}[make]() as temporary:
    (temporary if make == "file" else temporary / "inner").write_text("half")
    print(temporary, flush=True)
    if sys.stdin.readline() == "die\\n":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def start_writer(make: str, path: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that writes half of a file or folder; it dies, or goes on, when told so."""
    command = [sys.executable, "-c", WRITER, make, str(path)]
    environment = {**os.environ, "TMPDIR": str(path.parent)}
    process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("make", ["file", "folder", "scratch"])
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: str
) -> None:
    target = tmp_path / "target"
    process, temporary = start_writer(make, target)
    process.communicate("die\n")
    assert process.returncode == -signal.SIGKILL
    assert temporary.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(files, "_leftovers", {})  # as in a new process
    again = {"file": atomic(target), "folder": atomic_folder(target), "scratch": scratch_folder("model")}[make]
    with again as new:
        assert not temporary.exists()
        if make == "file":
            new.write_text("new")
    assert [path for path in tmp_path.iterdir() if path != target] == []


@pytest.mark.parametrize("make", ["file", "folder"])
def test_what_a_living_process_writes_is_left_alone(tmp_path: Path, make: str) -> None:
    process, temporary = start_writer(make, tmp_path / "target")
    remove_temporaries(tmp_path)
    with atomic(tmp_path / "target") as mine:  # the same target
        assert temporary.exists()
        mine.write_text("mine")
    (tmp_path / "target").unlink()
    process.communicate("go on\n")
    assert process.returncode == 0
    written = tmp_path / "target" if make == "file" else tmp_path / "target" / "inner"
    assert written.read_text() == "half"


CLEARER = """
import sys
from pathlib import Path
from medseg.core.files import remove_temporaries
print("clearing", flush=True)
while True:
    remove_temporaries(Path(sys.argv[1]))
"""


def test_what_was_just_made_is_not_taken_for_abandoned(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CLEARER, str(tmp_path)], stdout=-1, text=True) as clearer:
        assert clearer.stdout is not None
        assert clearer.stdout.readline() == "clearing\n"
        try:
            for number in range(1000):
                with saving(tmp_path / "case.safetensors", own_folder=True) as temporary:
                    temporary.write_text(str(number))
                write_text(tmp_path / "log.txt", str(number))
        finally:
            clearer.kill()
    assert (tmp_path / "case.safetensors").read_text() == (tmp_path / "log.txt").read_text() == "999"
    assert len([*tmp_path.iterdir()]) == 2


def test_folders_of_medsegs_own_are_cleared_of_temporary_files_and_of_nothing_else(tmp_path: Path) -> None:
    for name in (".0a1b2c3d.checkpoint.pt", ".ffffffff.weights.safetensors", ".hidden", ".notes.md", "checkpoint.pt"):
        (tmp_path / name).touch()
    (tmp_path / ".0a1b2c3d.3d_fullres" / "fold_0").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".0a1b2c3d.link").symlink_to(tmp_path / "elsewhere")
    remove_temporaries(tmp_path, {"checkpoint.pt"})
    assert (tmp_path / ".ffffffff.weights.safetensors").exists()
    assert not (tmp_path / ".0a1b2c3d.checkpoint.pt").exists()
    remove_temporaries(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".0a1b2c3d.link", ".hidden", ".notes.md", "checkpoint.pt", "elsewhere"]
    remove_temporaries(tmp_path / "no such folder")


def test_where_there_are_no_locks_only_old_files_are_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    for name, age in ((".0a1b2c3d.a", 3600), (".0a1b2c3d.b", 48 * 3600)):
        (tmp_path / name).touch()
        seconds = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (seconds, seconds))
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".0a1b2c3d.a"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "run"

    def cut_short() -> None:
        with atomic_folder(path) as temporary:
            (temporary / "fold_0").mkdir()
            raise Killed

    with pytest.raises(Killed):
        cut_short()
    assert list(path.parent.iterdir()) == []
    path.mkdir()  # an empty one may be there
    with atomic_folder(path) as temporary:
        (temporary / "fold_0").mkdir()
        assert list(path.iterdir()) == []
    assert [inner.name for inner in path.iterdir()] == ["fold_0"]
    shutil.rmtree(path.parent)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    with pytest.raises(OSError, match=r"No space left on device.*plan\.yaml") as caught, atomic(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)
    with pytest.raises(MedsegError, match=r"plan\.yaml could not be written"), saving(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_the_current_folder_is_filled_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.chdir(target)
    with atomic_folder(Path()) as temporary:
        (temporary / "a").write_text("content")
    assert Path("a").read_text() == "content"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def fail(folder: Path, error: Exception) -> None:
    """Fail while a folder is made."""
    with atomic_folder(folder) as temporary:
        if isinstance(error, OSError):
            error.filename = str(temporary / "a")
            raise error
        raise DataError(f"{temporary / 'a'} is bad")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DataError("bad")])
def test_errors_name_the_folder_and_not_the_temporary_one(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "target"
    with pytest.raises(type(error)) as raised:
        fail(target, error)
    name = raised.value.filename if isinstance(raised.value, OSError) else str(raised.value)
    assert name.startswith(str(target / "a"))
    assert not [*tmp_path.iterdir()]


def test_what_a_library_leaves_beside_its_file_goes_with_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with saving(path, own_folder=True) as temporary:
        assert temporary.name == path.name, "the suffix decides the format"
        (temporary.parent / ".tmpAbCdEf").write_bytes(b"half")
        temporary.write_bytes(b"whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"whole"
    with pytest.raises(MedsegError, match="could not be written"), saving(path, own_folder=True) as temporary:
        raise RuntimeError("no space")
    assert path.read_bytes() == b"whole"
