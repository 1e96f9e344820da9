"""Say which files the path of a scan or a label stands for, where it is not one file.

A label may be several masks of one image (`p4.png` with `p4_1.png`), or one mask for each structure: a folder of them
(`labels/s01/liver.nii.gz`), or a file of the same name in the folder of each structure (`labels/liver/s01.nii.gz`).
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

from medseg.io.annotations.coco import split_reference
from medseg.io.formats.table import FORMATS, is_dicom, is_image, split_suffix
from medseg.io.layouts.file_names.side_folders import shows_scans
from medseg.io.layouts.file_names.words import further_mask, remove_name

_UNITED = "#united"
_EACH = "*"
"""Stands for the folder of each structure in the path of a label."""
_UNSETTLED_NS = 2_000_000_000
"""Age of a folder's last change below which another one might leave its time as it is, in nanoseconds."""


def files_of(path: Path) -> list[Path]:
    """Return a file and the others that its image depends on: the data of a header, the spacing beside a TIFF.

    Of a DICOM series they are its instances, of a mask for each structure the masks, of COCO's annotations the JSON
    file. A file that cannot be read stands for itself alone.
    """
    file_format = FORMATS.get(split_suffix(path)[1])
    try:
        if reference := split_reference(path):
            return [reference[0]]
        if masks := united_files(path):
            return masks
        if is_dicom(path):
            from medseg.io.dicom.listing.locate import instance_files  # loaded only for DICOM

            return instance_files(path)
        if is_by_structure(path):
            return [file for _, file in structure_masks(path)]
        parts = file_format.parts(path) if file_format is not None and file_format.parts is not None else []
        return [path, *(part for part in parts if part != path)]
    except Exception:  # a damaged header: reading the file says what is wrong
        return [path]


def united_path(path: Path) -> Path:
    """Return the path that stands for a mask file together with the further masks beside it.

    >>> united_path(Path("masks/p4.png")).name
    'p4#united.png'
    """
    stem, suffix = split_suffix(path)
    return path.with_name(f"{stem}{_UNITED}{suffix}")


def united_files(path: Path) -> list[Path]:
    """Return the mask files that such a path stands for: `p4.png`, `p4_1.png`, ...; [] for any other path."""
    base, united, _ = path.name.rpartition(_UNITED)
    if not united or not path.parent.is_dir() or path.exists():
        return []
    named = {file: split_suffix(file)[0] for file in sorted(path.parent.iterdir()) if is_image(file)}
    masks = [file for file, stem in named.items() if stem == base or further_mask(stem, base)]
    return sorted(masks, key=lambda file: (named[file] != base, len(file.name), file.name))


def path_in_each(folder: Path, name: str) -> Path:
    """Return the path that stands for the mask of an image in the folder of each structure.

    Args:
        folder: holds a folder for each structure.
        name: of the mask file.

    >>> path_in_each(Path("masks"), "p4.png").as_posix()
    'masks/*/p4.png'
    """
    return folder / _EACH / name


def is_by_structure(path: Path) -> bool:
    """Return whether a path stands for a mask for each structure, rather than for a file."""
    return path.is_dir() or (path.parent.name == _EACH and not path.exists())


def structure_masks(path: Path) -> list[tuple[str, Path]]:
    """Return (structure, mask file) of a path that stands for a mask for each structure; [] for any other path."""
    if path.is_dir():
        return [(split_suffix(file)[0], file) for file in images_in(path)]
    return masks_in_each(path)


def masks_in_each(path: Path) -> list[tuple[str, Path]]:
    """Return (structure, mask file) of a path `masks/*/p4.png`, where folders are named after structures; else [].

    In each folder the mask is the file `p4` in any format, or the only one that adds words without a number to this
    name: `masks/cup/p4_cup.png`.
    """
    if path.parent.name != _EACH or path.exists():
        return []
    masks = [(folder.name, _mask_in(folder, path.name)) for folder in structure_folders(path.parent.parent)]
    return [(name, mask) for name, mask in masks if mask is not None]


def images_in(folder: Path) -> list[Path]:
    """Return the image files in a folder, sorted by name; [] for a path that is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_image(path) and not path.is_dir())


def structure_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, without hidden ones and those of previews; [] for no folder."""
    if not folder.is_dir():
        return []
    visible = [path for path in folder.iterdir() if not path.name.startswith(".") and not shows_scans(path.name)]
    return sorted(path for path in visible if path.is_dir())


def _mask_in(folder: Path, name: str) -> Path | None:
    """Return the mask of an image in the folder of a structure; None where there is not exactly one."""
    if (folder / name).is_file():
        return folder / name
    stem = split_suffix(Path(name))[0]
    near = _images_by_digits(folder).get(_digits(stem), {})
    equal = [file for file, other in near.items() if other == stem]
    longer = [file for file, other in near.items() if _only_adds_words(other, stem)]
    masks = equal or longer
    return folder / masks[0] if len(masks) == 1 else None


def _digits(stem: str) -> str:
    """Return the digits of a name, which words around it leave as they are."""
    return "".join(letter for letter in stem if letter.isdigit())


def _images_by_digits(folder: Path) -> dict[str, dict[str, str]]:
    """Return the digits of a name -> {image file in a folder: its name without suffix}.

    A listing is kept while the folder's time stays, if that lies long enough back that a change would show.
    """
    changed_ns = folder.stat().st_mtime_ns
    if time.time_ns() - changed_ns < _UNSETTLED_NS:
        return _list_images(folder)
    return _kept_listing(folder, changed_ns)


@lru_cache(maxsize=32)
def _kept_listing(folder: Path, changed_ns: int) -> dict[str, dict[str, str]]:
    return _list_images(folder)


def _list_images(folder: Path) -> dict[str, dict[str, str]]:
    listing: dict[str, dict[str, str]] = {}
    for path in sorted(folder.iterdir()):
        if is_image(path):
            stem = split_suffix(path)[0]
            listing.setdefault(_digits(stem), {})[path.name] = stem
    return listing


def _only_adds_words(name: str, stem: str) -> bool:
    """Return whether a name is another one with words before or behind it that have no digit.

    >>> _only_adds_words("p4_cup", "p4"), _only_adds_words("p4_1_cup", "p4"), _only_adds_words("p41", "p4")
    (True, False, False)
    """
    rest = remove_name(name, stem)
    return bool(rest) and not any(letter.isdigit() for letter in rest or "")
