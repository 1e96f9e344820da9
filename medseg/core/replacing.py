"""Replace several files that belong together, so that a kill leaves all of them old, or lets all become new.

New files are made whole in a folder beside the old ones, which then gets a name that starts with `NEXT` in one rename.
From there on they count: whoever reads or writes the files next moves those that a killed command had yet to move.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.core.errors import MedsegError
from medseg.core.files import NEXT, atomic_folder, naming, temporary_folder


@contextmanager
def atomic_with_parts(path: Path) -> Iterator[Path]:
    """Write as with `atomic`, by functions that may write further files beside the one that they are given.

    The path that is given has the name of the file, in a temporary folder of its own, so that a header names the files
    of its data as they will be called. All of them replace old ones as with `replacing_together`, the file itself last;
    readers call `finish_replacing_file` first.

    Yields:
        A path that does not exist yet. Errors that the block raises name `path` instead.
    """
    path = Path(path)
    finish_replacing_file(path)
    with atomic_folder(_staging(path.parent, path.name)) as folder, naming(folder, path.parent, path):
        yield folder / path.name
        (folder / path.name).stat()  # before anything is moved: a function that wrote another name has failed
    finish_replacing_file(path)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Give a temporary folder whose files, once the block ends without an error, replace those of the same paths.

    All else in `folder` stays. Where a file cannot be replaced, the old ones come back. A kill between two of the
    renames leaves new files beside old ones.

    Args:
        folder: an existing folder.

    Yields:
        A path within `folder`, so that files are renamed and not copied. It may hold folders.
    """
    with temporary_folder(folder / "new") as new, temporary_folder(folder / "old") as old:
        yield new
        replaced: list[Path] = []
        try:
            for path in sorted(path.relative_to(new) for path in new.rglob("*") if path.is_file()):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                if (folder / path).exists():
                    (old / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(folder / path, old / path)
                os.replace(new / path, folder / path)
                replaced.append(path)
        except OSError:
            for path in replaced:
                if (old / path).exists():
                    os.replace(old / path, folder / path)
                else:
                    (folder / path).unlink()
            raise


@contextmanager
def replacing_together(folder: Path, name: str) -> Iterator[Path]:
    """Give a temporary folder for files that replace those of the same names in `folder`, all of them or none.

    The temporary folder becomes `.next.NAME` in one rename, and its files are then moved into place. A kill before that
    rename leaves the old files, and after it the moves are finished by `finish_replacing`, which every reader of the
    files calls first.

    Args:
        folder: where the files lie; it is made if it is missing.
        name: what the files belong to.

    Yields:
        The temporary folder.
    """
    finish_replacing(folder)
    with atomic_folder(_staging(folder, name)) as staging:
        yield staging
    finish_replacing(folder)


def is_being_replaced(folder: Path, name: str) -> bool:
    """Return whether a killed command left files of `name` that are whole and yet to be moved into a folder."""
    return _staging(folder, name).is_dir()


def _staging(folder: Path, name: str) -> Path:
    return folder / f"{NEXT}{name}"


def finish_replacing(folder: Path) -> None:
    """Move the files into place that a killed command had yet to move. Several processes may do so at once.

    Args:
        folder: where the files are to lie.

    Raises:
        MedsegError: a file cannot be moved: those in the folder may not be of one version.
    """
    for staging in sorted(folder.glob(f"{NEXT}*")):
        _move_into_place(staging)


def finish_replacing_file(path: Path) -> None:
    """Do the same for a file that is written by `atomic_with_parts`, and for its parts."""
    _move_into_place(_staging(path.parent, path.name))


def _move_into_place(staging: Path) -> None:
    """Move files, which may lie in folders, out of a folder into that around it; the file of its name comes last."""
    folder, last = staging.parent, staging / staging.name.removeprefix(NEXT)
    paths = [Path(parent, name) for parent, _, names in os.walk(staging) for name in names]
    try:
        for path in sorted(paths, key=lambda path: (path == last, path)):
            target = folder / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process has moved it
                os.replace(path, target)
    except OSError as error:
        raise MedsegError(
            f"A command that was killed left files in {staging} that belong into {folder}, and they cannot be moved "
            f"there: {error.strerror}.",
            f"Move them by hand, or give this command where {folder} can be written.",
        ) from None
    _remove_folders(staging)


def _remove_folders(staging: Path) -> None:
    """Remove a folder and those in it, unless files are there: those that another process has meanwhile staged."""
    for parent, _, _ in os.walk(staging, topdown=False):
        with suppress(OSError):
            os.rmdir(parent)
