"""Name what lies among the scans of a folder and looks like one, but that no reader of a layout has used or named.

Each reader looks for what it knows. This looks at the rest once more: links that lead nowhere, formats that are not
read, and folders with scans at another depth than those that are used.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.io.annotations.coco import split_reference
from medseg.io.dicom.elements.files import SUFFIXES as DICOM_SUFFIXES
from medseg.io.dicom.elements.files import is_zip, members_of
from medseg.io.dicom.elements.paths import is_dicom_file, parse_reference
from medseg.io.formats.table import FORMATS, is_image, split_suffix, united_files
from medseg.io.formats.unread import is_side_file, unread_suffix
from medseg.io.layouts.dataset import Why
from medseg.io.layouts.file_names.names import split_channel
from medseg.io.layouts.file_names.side_folders import is_side_folder, shows_scans
from medseg.io.layouts.file_names.words import names_labels, words
from medseg.io.layouts.published.labelme_folders import FOLDER_END

_MOST_LOOKED_AT = 1000
"""Entries of a folder that are looked at before it counts as one without scans."""
_HELD_OUT = frozenset(("ts", "test", "testing"))


@dataclass(frozen=True)
class _Used:
    """The paths that cases use.

    Attributes:
        cases: each used path, and each folder above it, with the ids of the cases whose files lie there.
        flat: folders with scans right in them.
    """

    cases: dict[Path, set[str]]
    flat: set[Path]

    @classmethod
    def of(cls, root: Path, scans: Mapping[str, Iterable[Path]], beside: Iterable[Path]) -> _Used:
        """Return the paths below a folder.

        Args:
            root: the folder.
            scans: {case: its scans}.
            beside: other files of the cases: labels, maps of weights.
        """
        cases: dict[Path, set[str]] = {}
        flat: set[Path] = set()
        owners = [(id, path, True) for id, paths in scans.items() for path in paths]
        for id, path, is_scan in [*owners, *(("", path, False) for path in beside)]:
            for file in _files(path):
                cases.setdefault(file, set()).add(id)
                above = [parent for parent in file.parents if parent == root or root in parent.parents]
                for parent in above:
                    cases.setdefault(parent, set()).add(id)
                if is_scan and above:
                    flat.add(above[0])
        return cls(cases, flat)

    def case_of_folder(self, folder: Path) -> str | None:
        """Return the case whose own folder this is, by its name; None for other folders."""
        ids = self.cases.get(folder, set()) - {""}
        id = next(iter(ids)) if len(ids) == 1 else None
        return id if id is not None and folder.is_dir() and (folder.name in id or id in folder.name) else None


def unread_entries(
    folder: Path,
    scans: Mapping[str, Iterable[Path]],
    beside: Iterable[Path] = (),
    named: Collection[str] = (),
    training: bool = False,
    files_only: bool = False,
) -> dict[str, Why]:
    """Return {name: why} of what lies among scans, looks like one, and is neither used nor named yet.

    Looked at are the folders with scans right in them, and those that hold the folders of the cases. What lies in the
    folder of a case that is used is chosen there by its name, and not looked at.

    Args:
        folder: the folder that was searched for cases.
        scans: {case: its scans}.
        beside: other files that are used: labels.
        named: ids of the cases that are named already, with why they are left out.
        training: whether folders of test images are left for later.
        files_only: whether folders do not count, as beside answers, which have folders of their own.
    """
    root = _absolute(folder)
    used = _Used.of(root, scans, beside)
    holders = {path.parent for path in used.cases if path != root and used.case_of_folder(path) is not None}
    flat = {path for path in used.flat if path.is_dir() and not _is_own(path, root, holders, used)}
    result: dict[str, Why] = {}
    if any(root in _files(path) for paths in scans.values() for path in paths):  # slices right in the folder
        return {} if files_only else {_id(path): _another_depth(path) for path in _volumes_in(root, used)}
    for container in sorted(flat | holders):
        entries = sorted(path for path in container.iterdir() if not path.name.startswith("."))
        known = {id.lower() for id in scans} | {split_suffix(path)[0].lower() for path in entries if is_image(path)}
        for path in entries:
            id = _id(path)
            if path in used.cases or id in named or path.name in named or _is_other(path, training, files_only):
                continue
            if is_image(path) and not path.is_dir():  # the readers know these, but one that reads folders of cases
                why = _another_depth(path) if container not in flat and not files_only else None
            else:
                why = None if not path.is_dir() and _shows_known(path, known) else _why(path, files_only)
            if why is not None:
                result.setdefault(path.name if id in scans else id, why)
    return result


def why_unread(path: Path) -> Why | None:
    """Return why a file that looks like a scan cannot be one of a data set; None for what can be read, or is none.

    Args:
        path: a file, or a link that leads nowhere.
    """
    if path.is_symlink() and not path.exists():
        if is_side_file(path):
            return None
        text = f"{path} is a link to {os.readlink(path)}, which is not there"
        return Why(f"{text}\nFetch what it stands for, or take the link away.", "no data", path)
    if suffix := unread_suffix(path):
        return Why(f"{path.name} in {path.parent} is in no format that medseg reads ({suffix})", "unreadable", path)
    return None


def _why(path: Path, files_only: bool) -> Why | None:
    """Return why an entry among scans is not used; None if it is no scan."""
    if (why := why_unread(path)) is not None:
        return why
    if path.is_dir():
        return None if files_only else _why_folder(path)
    if path.suffix.lower() == ".zip":
        return _why_zip(path)
    if (not split_suffix(path)[1] and is_dicom_file(path)) or path.suffix.lower() in DICOM_SUFFIXES:
        return None if files_only else Why(f"{path} is DICOM among scans of other formats", "ambiguous", path)
    return None


def _why_folder(folder: Path) -> Why | None:
    """Return why a folder with scans is not used; None if it holds none."""
    unread = None
    for path in _below(folder):
        why = why_unread(path)
        if why is None and _is_scan(path):
            inside = path.relative_to(folder).as_posix()
            return _another_depth(folder, inside)
        unread = unread or why
    return unread


def _another_depth(path: Path, inside: str = "") -> Why:
    """Return why a scan that can be read is not used: others lie in folders of their own, or right in the folder.

    Args:
        path: the scan, or the folder that holds it.
        inside: the scan in the folder.
    """
    if inside:
        text = f"the scans in {path} (such as {inside}) lie at another depth than those that are used"
    else:
        text = f"{path} lies beside the folders of the cases, or beside the slices of a DICOM study"
    return Why(f"{text}\nGive it by itself, or move it to where the others are.", "ambiguous", path)


def _why_zip(path: Path) -> Why | None:
    """Return why a zip is not used; None if it holds no scan."""
    if not is_zip(path):
        return None
    member = next((name for name in members_of(path) if is_image(Path(name))), None)
    if member is None:
        return None
    return Why(f"{path} holds {member}; zips are read if they hold DICOM\nUnpack it.", "unreadable", path)


def _is_scan(path: Path) -> bool:
    """Return whether a file is a scan that could be read: an image that no name calls a label, or DICOM."""
    if is_image(path):
        return path.is_file() and not names_labels(split_suffix(path)[0])
    return not is_side_file(path) and path.is_file() and is_dicom_file(path)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, at any depth, without those of labels and previews."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_other(Path(name)))
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted([*names, *links]):
            path = Path(parent, name)
            count += 1
            if count > _MOST_LOOKED_AT:
                return
            if not name.startswith(".") and not shows_scans(path.stem):
                yield path


def _volumes_in(study: Path, used: _Used) -> list[Path]:
    """Return the scans of other formats right in the folder of a DICOM study; pictures there show slices of it."""
    files = [path for path in sorted(study.iterdir()) if is_image(path) and path not in used.cases]
    volumes = [path for path in files if FORMATS[split_suffix(path)[1]].sides_known]
    return [path for path in volumes if path.is_file() and not _is_other(path)]


def _is_own(container: Path, root: Path, holders: Collection[Path], used: _Used) -> bool:
    """Return whether a folder is that of one case, among the folders of others."""
    return container != root and container.parent in holders and used.case_of_folder(container) is not None


def _is_other(path: Path, training: bool = False, answers: bool = False) -> bool:
    """Return whether a name is that of what shows, describes or holds out scans.

    Args:
        path: the file or folder.
        training: whether test images are left for later.
        answers: whether label files are meant.
    """
    if is_side_folder(path) or shows_scans(path.name) or (names_labels(path.name) and not answers):
        return True
    return training and not _HELD_OUT.isdisjoint(words(path.name)) and not path.is_file()


def _shows_known(path: Path, known: Collection[str]) -> bool:
    """Return whether a file shows a scan beside it, as its name says: `p7.webp` beside `p7.png`."""
    suffix = unread_suffix(path)
    stem = path.name[: len(path.name) - len(suffix)].lower()
    return stem in known


def _id(path: Path) -> str:
    """Return the name that a case of this entry would have."""
    if path.is_dir():
        return path.name.removesuffix(FOLDER_END)
    suffix = unread_suffix(path) or split_suffix(path)[1]
    plain = suffix in FORMATS or suffix in (".zip", *DICOM_SUFFIXES) or unread_suffix(path)
    return split_channel(path.name[: len(path.name) - len(suffix)] if plain else path.name)[0]


def _files(path: Path) -> list[Path]:
    """Return the absolute files or folders that a path of a case stands for."""
    if (reference := parse_reference(path)) is not None:
        return [_absolute(reference.container)]
    if annotated := split_reference(path):
        return [_absolute(annotated[0])]
    return [_absolute(file) for file in united_files(path) or [path]]


def _absolute(path: Path) -> Path:
    """Return a path absolute, links kept."""
    return Path(os.path.abspath(path))
