"""Name what lies among the scans of a folder and looks like one, but that no reader of a layout has used or named.

Each reader looks for what it knows. This looks at the rest once more: links that lead nowhere, formats that are not
read, and folders whose scans are not those of the cases. A link to nowhere and a volume that cannot be read are lost
scans, which count as cases that are left out; of everything else a note says that it is there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.core.wording import counted, first_few, printable
from medseg.io.dicom.elements.files import SUFFIXES as DICOM_SUFFIXES
from medseg.io.dicom.elements.files import is_zip, members_of
from medseg.io.dicom.elements.paths import is_dicom_file
from medseg.io.formats.table import FORMATS, is_image, split_suffix
from medseg.io.formats.unread import is_side_file, is_unread_volume, unread_suffix
from medseg.io.layouts.dataset import Why
from medseg.io.layouts.file_names.names import split_channel
from medseg.io.layouts.file_names.side_folders import is_side_folder, shows_scans
from medseg.io.layouts.file_names.words import names_labels, words
from medseg.io.layouts.published.labelme_folders import FOLDER_END
from medseg.io.layouts.used_paths import UsedPaths, absolute

_MOST_LOOKED_AT = 1000
"""Entries of a folder that are looked at before it counts as one without scans."""
_MOST_EXPLAINED, _MOST_NAMED = 3, 20
_HELD_OUT = frozenset(("ts", "test", "testing"))
_NO_DATA, _PASSED_OVER = "no data", "ambiguous"


@dataclass(frozen=True)
class Unread:
    """What looks like a scan among the scans of a folder, and is neither used nor named.

    Attributes:
        folder: that was searched.
        lost: {name: why} of links that lead nowhere and of volumes in formats that are not read: scans that are lost.
        others: (name, why) of other entries, sorted.
    """

    folder: Path = Path()
    lost: dict[str, Why] = field(default_factory=dict)
    others: Sequence[tuple[str, Why]] = ()

    @classmethod
    def of(cls, folder: Path, entries: Mapping[str, Why]) -> Unread:
        """Return entries with lost scans told from others.

        Args:
            folder: the folder that was searched.
            entries: {name: why it is not used}.
        """
        lost = {printable(name): _writable(why) for name, why in entries.items() if _is_lost_scan(why)}
        others = [(printable(name), why) for name, why in sorted(entries.items()) if not _is_lost_scan(why)]
        return cls(folder, lost, others)

    @property
    def notes(self) -> list[str]:
        """Sentences on the entries that are not lost scans."""
        notes = [". ".join(why.splitlines()) for _, why in self.others[:_MOST_EXPLAINED]]
        if more := [name for name, _ in self.others[_MOST_EXPLAINED:]]:
            named = first_few(more, _MOST_NAMED)
            verbs = "looks like a scan and is" if len(more) == 1 else "look like scans and are"
            notes.append(f"{counted(len(more), 'more entry')} of {_shown(self.folder)} {verbs} not used: {named}")
        return notes

    @property
    def readable(self) -> list[Path]:
        """The entries that hold scans which could be read: folders, and files."""
        return [why.file for _, why in self.others if why.kind == _PASSED_OVER and why.file is not None]

    def without(self, paths: Collection[Path]) -> Unread:
        """Return this without entries that somebody else names."""
        return replace(self, others=[(name, why) for name, why in self.others if why.file not in paths])


def unread_entries(
    folder: Path,
    scans: Mapping[str, Iterable[Path]],
    beside: Iterable[Path] = (),
    named: Collection[str] = (),
    training: bool = False,
    files_only: bool = False,
) -> Unread:
    """Return what lies among scans, looks like one, and is neither used nor named yet.

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
    root = absolute(folder)
    used = UsedPaths(root, scans, beside)
    if used.at_root:
        volumes = [] if files_only else _volumes_in(root, used)
        return Unread.of(folder, {_id(path): _beside_cases(path) for path in volumes})
    result: dict[str, Why] = {}
    flat = {path for path in used.flat if not _is_own(path, used) and path.is_dir()}
    for container in sorted(flat | used.holders):
        entries = [entry for entry in _listed(container) if container / entry.name not in used.cases]
        known: set[str] | None = None
        for entry in entries:
            path, is_dir = container / entry.name, _is_folder(entry)
            if entry.name in named or (not is_dir and is_side_file(path)):
                continue
            if not is_dir and is_image(path):  # the readers know these, but one that reads folders of cases
                why = _beside_cases(path) if container not in flat and not files_only else None
                why = None if why is None or _is_other(entry, path, training, files_only) else why
            elif _is_other(entry, path, training, files_only):
                why = None
            else:
                known = _known(scans, container) if known is None else known
                why = None if not is_dir and _shows_known(path, known) else _why(path, is_dir, used, files_only)
            id = _id(path, is_dir) if why is not None else ""
            if why is not None and id not in named:
                result.setdefault(entry.name if id in scans else id, why)
    return Unread.of(folder, result)


def why_unread(path: Path) -> Why | None:
    """Return why a file that looks like a scan cannot be one of a data set; None for what can be read, or is none.

    Args:
        path: a file, or a link that leads nowhere.
    """
    if path.is_symlink() and not path.exists():
        if is_side_file(path):
            return None
        text = f"{_shown(path)} is a link to {printable(os.readlink(path))}, which is not there"
        return Why(f"{text}\nFetch what it stands for, or take the link away.", _NO_DATA, path)
    if path.exists() and not path.is_file() and not path.is_dir():
        return Why(f"{_shown(path)} is a pipe, a socket or a device, and is not opened", "unreadable", path)
    if suffix := unread_suffix(path):
        text = f"{printable(path.name)} in {_shown(path.parent)} is in no format that medseg reads ({suffix})"
        return Why(text, "unreadable", path)
    return None


def _is_lost_scan(why: Why) -> bool:
    """Return whether an entry is a scan without doubt: a link to nowhere among scans, or a volume."""
    return why.kind == _NO_DATA or (why.kind == "unreadable" and why.file is not None and is_unread_volume(why.file))


def _known(scans: Collection[str], container: Path) -> set[str]:
    """Return the names, in lower case, of the cases and of the images in a folder."""
    images = [path for entry in _listed(container) if is_image(path := container / entry.name)]
    return {id.lower() for id in scans} | {split_suffix(path)[0].lower() for path in images}


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that are not hidden, by name."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _why(path: Path, is_dir: bool, used: UsedPaths, files_only: bool) -> Why | None:
    """Return why an entry among scans is not used; None if it is no scan."""
    if (why := why_unread(path)) is not None:
        return None if path in used.parts else why
    if is_dir:
        return None if files_only else _why_folder(path, used)
    if path.suffix.lower() == ".zip":
        return _why_zip(path)
    if (not split_suffix(path)[1] and is_dicom_file(path)) or path.suffix.lower() in DICOM_SUFFIXES:
        text = f"{_shown(path)} is DICOM among scans of other formats"
        return None if files_only else Why(text, _PASSED_OVER, path)
    return None


def _why_folder(folder: Path, used: UsedPaths) -> Why | None:
    """Return why a folder with scans is not used; None if it holds none."""
    unread: Why | None = None
    for path in _below(folder):
        why = why_unread(path)
        if why is None and _is_scan(path):
            return _scans_inside(folder, path, used)
        if why is None or path in used.parts:
            continue
        if unread is None or (_is_lost_scan(why) and not _is_lost_scan(unread)):
            unread = why
    return unread


def _scans_inside(folder: Path, scan: Path, used: UsedPaths) -> Why:
    """Return why the scans in a folder are not used, after where those of the cases lie.

    Args:
        folder: the folder.
        scan: a scan in it.
        used: the paths that cases use.
    """
    example = printable(scan.relative_to(folder).as_posix())
    depth = len(scan.relative_to(folder.parent).parts)
    if depth in used.depths_below(folder.parent):
        text = f"{_shown(folder)} holds scans (such as {example}), but none that the cases have"
        return Why(f"{text}\nGive it by itself, or name its files as those of the cases.", _PASSED_OVER, folder)
    text = f"the scans in {_shown(folder)} (such as {example}) lie at another depth than those that are used"
    return Why(f"{text}\nGive it by itself, or move it to where the others are.", _PASSED_OVER, folder)


def _beside_cases(path: Path) -> Why:
    """Return why a scan that can be read is not used: the cases have folders of their own, or slices here."""
    text = f"{_shown(path)} lies beside the folders of the cases, or beside the slices of a DICOM study"
    return Why(f"{text}\nGive it by itself, or move it to where the others are.", _PASSED_OVER, path)


def _why_zip(path: Path) -> Why | None:
    """Return why a zip is not used; None if it holds no scan."""
    if not is_zip(path):
        return None
    member = next((name for name in members_of(path) if is_image(Path(name))), None)
    if member is None:
        return None
    text = f"{_shown(path)} holds {printable(member)}; zips are read if they hold DICOM\nUnpack it."
    return Why(text, "unreadable", path)


def _is_scan(path: Path) -> bool:
    """Return whether a file is a scan that could be read: an image that no name calls a label, or DICOM."""
    if is_image(path):
        return path.is_file() and not names_labels(split_suffix(path)[0])
    return not is_side_file(path) and is_dicom_file(path)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, at any depth, without those of labels and previews."""
    count = 0
    for parent, folders, names in os.walk(folder):
        visible = [name for name in folders if not name.startswith(".") and not names_labels(name)]
        folders[:] = sorted(name for name in visible if not is_side_folder(Path(parent, name)))
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted([*names, *links]):
            path = Path(parent, name)
            count += 1
            if count > _MOST_LOOKED_AT:
                return
            if not name.startswith(".") and not shows_scans(path.stem):
                yield path


def _volumes_in(study: Path, used: UsedPaths) -> list[Path]:
    """Return the scans of other formats right in the folder of a DICOM study; pictures there show slices of it."""
    files = [(entry, study / entry.name) for entry in _listed(study) if _is_plain_file(entry)]
    images = [(entry, path) for entry, path in files if is_image(path) and path not in used.cases]
    volumes = [(entry, path) for entry, path in images if FORMATS[split_suffix(path)[1]].sides_known]
    return [path for entry, path in volumes if not _is_other(entry, path)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder; a link onto itself is none."""
    with suppress(OSError):
        return entry.is_dir()
    return False


def _is_plain_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file; a link onto itself is none."""
    with suppress(OSError):
        return entry.is_file()
    return False


def _is_own(container: Path, used: UsedPaths) -> bool:
    """Return whether a folder is that of one case, among the folders of others."""
    return container != used.root and container.parent in used.holders and used.is_case_folder(container)


def _is_other(entry: os.DirEntry[str], path: Path, training: bool = False, answers: bool = False) -> bool:
    """Return whether an entry, by its name, shows, describes or holds out scans.

    Args:
        entry: the file or folder, as it was listed.
        path: its path.
        training: whether test images are left for later.
        answers: whether label files are meant.
    """
    if is_side_folder(path) if _is_folder(entry) else shows_scans(path.name):
        return True
    if names_labels(path.name) and not answers:
        return True
    return training and not _is_plain_file(entry) and not _HELD_OUT.isdisjoint(words(path.name))


def _shows_known(path: Path, known: Collection[str]) -> bool:
    """Return whether a file shows a scan beside it, as its name says: `p7.webp` beside `p7.png`."""
    suffix = unread_suffix(path)
    stem = path.name[: len(path.name) - len(suffix)].lower()
    return stem in known


def _id(path: Path, is_dir: bool = False) -> str:
    """Return the name that a case of this entry would have."""
    if is_dir:
        return path.name.removesuffix(FOLDER_END)
    suffix = unread_suffix(path) or split_suffix(path)[1]
    plain = suffix in FORMATS or suffix in (".zip", *DICOM_SUFFIXES) or unread_suffix(path)
    return split_channel(path.name[: len(path.name) - len(suffix)] if plain else path.name)[0]


def _writable(why: Why) -> Why:
    """Return a reason without the file at fault if the name of that cannot be written."""
    return why if why.file is None or _shown(why.file) == str(why.file) else Why(why, why.kind)


def _shown(path: Path) -> str:
    return printable(str(path))
