"""Know which paths the cases of a folder use, and the folders above them, so that the rest can be looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from medseg.io.annotations.coco import split_reference
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.formats.table import FORMATS, split_suffix
from medseg.io.several_files import files_of, masks_in_each, united_files


class UsedPaths:
    """The paths that cases use.

    Attributes:
        root: the folder that was searched, absolute.
        cases: each used path, and each folder above it, with the ids of the cases whose files lie there.
        flat: folders with scans right in them.
        at_root: whether the folder itself is a scan: its files are slices.
    """

    def __init__(self, root: Path, scans: Mapping[str, Iterable[Path]], beside: Iterable[Path]) -> None:
        """Collect the paths.

        Args:
            root: the folder that was searched, absolute.
            scans: {case: its scans}.
            beside: other files of the cases: labels, maps of weights.
        """
        self.root = root
        self.cases: dict[Path, set[str]] = {}
        self.flat: set[Path] = set()
        self.at_root = False
        self._folders: set[Path] = set()
        self._depths: dict[Path, set[int]] = {}
        self._scans: list[tuple[Path, bool]] = []  # and whether it is a folder of slices
        self._paths = [(id, path, True) for id, paths in scans.items() for path in paths]
        self._paths += [("", path, False) for path in beside]
        above_of: dict[Path, list[Path]] = {}
        for id, path, is_scan in self._paths:
            reference = parse_reference(path)
            for file in _files(path):
                self.cases.setdefault(file, set()).add(id)
                folder = file.parent
                if folder not in above_of:
                    above_of[folder] = [parent for parent in file.parents if parent == root or root in parent.parents]
                    self._folders.update(above_of[folder])
                for parent in above_of[folder]:
                    self.cases.setdefault(parent, set()).add(id)
                if not is_scan:
                    continue
                self.at_root |= file == root
                is_folder = reference is not None and file.is_dir()
                if is_folder:
                    self._folders.add(file)
                self._scans.append((file, is_folder))
                if above_of[folder]:
                    self.flat.add(folder)

    def is_case_folder(self, folder: Path) -> bool:
        """Return whether this is the own folder of one case, by its name."""
        ids = self.cases.get(folder, set()) - {""}
        id = next(iter(ids)) if len(ids) == 1 else None
        return id is not None and folder in self._folders and (folder.name in id or id in folder.name)

    @cached_property
    def holders(self) -> set[Path]:
        """Folders that hold the folders of cases."""
        return {path.parent for path in self._folders if path != self.root and self.is_case_folder(path)}

    @cached_property
    def parts(self) -> set[Path]:
        """The files that the headers of the cases' files name: their voxels, or the spacing beside them."""
        return header_parts(path for _, path, _ in self._paths)

    def depths_below(self, folder: Path) -> set[int]:
        """Return how many names lead from a folder to the scans of the cases below it."""
        if folder not in self._depths:
            own = len(folder.parts)
            below = [(path, is_folder) for path, is_folder in self._scans if folder in path.parents]
            self._depths[folder] = {len(path.parts) - own + is_folder for path, is_folder in below}
        return self._depths[folder]


def header_parts(paths: Iterable[Path]) -> set[Path]:
    """Return files with all that their headers name, absolute; only headers of formats with parts are read."""
    rows = ((path, FORMATS.get(split_suffix(path)[1])) for path in paths)
    return {absolute(part) for path, row in rows if row is not None and row.parts for part in files_of(path)}


def _files(path: Path) -> Sequence[Path]:
    """Return the absolute files or folders that a path of a case stands for, without the parts that a header names."""
    if (reference := parse_reference(path)) is not None:
        return [absolute(reference.container)]
    if annotated := split_reference(path):
        return [absolute(annotated[0])]
    masks = united_files(path) or [mask for _, mask in masks_in_each(path)]
    return [absolute(file) for file in masks or [path]]


def absolute(path: Path) -> Path:
    """Return a path absolute, links kept."""
    return Path(os.path.abspath(path))
