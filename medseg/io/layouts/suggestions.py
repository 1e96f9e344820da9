"""What a user may have meant by a folder that is no data set: one inside it, scans without labels, drawings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from shlex import quote

from medseg.core.errors import DataError
from medseg.io.formats.table import is_image
from medseg.io.layouts.pairs import IMAGES
from medseg.io.layouts.published.cityscapes import IMAGES as SCENES
from medseg.io.layouts.published.dataset_json import NAME
from medseg.io.layouts.published.labelme_folders import FOLDER_END
from medseg.io.layouts.published.voc import IMAGES as VOC_IMAGES
from medseg.io.layouts.split_folders import part_of_name
from medseg.io.layouts.studies import holds_scans

_MOST_SUGGESTED = 3
_DEEPEST = 3
"""Folders further inside are not looked at."""
_MOST_FOLDERS = 200
_MOST_DRAWINGS = 5
"""So many JSON files are read before it is said that none is labelme's."""
_MOST_BYTES = 50_000_000


def what_to_do(folder: Path) -> str:
    """Return what to do with a folder that is no data set, in sentences that end with a space; "" where none is known.

    Args:
        folder: is there.
    """
    if _is_drawn(folder):
        return (
            "It seems to hold annotations drawn in labelme, which are converted first: "
            f"`medseg labelme {quote(str(folder))} DATASET`. "
        )
    if any(folder.glob("gt*/*/*/*_polygons.json")):
        return (
            "Its labels are outlines in JSON; the scripts that come with Cityscapes and IDD draw them as "
            "..._labelIds.png. "
        )
    inner = [str(path) for path in _data_sets_inside(folder)]
    if inner:
        more = " and others" if len(inner) > _MOST_SUGGESTED else ""
        return f"Perhaps {' or '.join(inner[:_MOST_SUGGESTED])}{more} was meant. "
    return _without_labels(folder)


def folders_near(folder: Path) -> str:
    """Return where a folder that is not there lies one folder deeper; for a number, nnU-Net's data set of that number.

    Args:
        folder: what the user named.
    """
    name = f"Dataset{int(folder.name):03d}_*" if folder.name.isdecimal() else escape(folder.name)
    near: list[Path] = []
    with suppress(OSError):  # folders of others are closed
        near = [path for path in sorted(folder.parent.glob(f"*/{name}")) if path.is_dir() and is_declared(path)]
    return " or ".join(map(str, near[:_MOST_SUGGESTED]))


def is_declared(folder: Path) -> bool:
    """Return whether the names in a folder say that it is a data set, without a look into any file."""
    return any((folder / name).exists() for name in (NAME, VOC_IMAGES, SCENES, *IMAGES))


def _data_sets_inside(folder: Path) -> list[Path]:
    """Return the folders inside that seem to be data sets; of nested ones, the outer one."""
    found: list[Path] = []
    looked_at = 0
    level = [folder]
    for _ in range(_DEEPEST):
        level = [inner for path in level for inner in _folders(path)]
        looked_at += len(level)
        if looked_at > _MOST_FOLDERS:
            break
        fitting = [path for path in level if is_declared(path) or _has_parts(path)]
        beside = Counter(path.parent for path in fitting)
        # several beside each other, further inside, are the folders of cases
        of_cases = {parent for parent, count in beside.items() if count > 1 and parent != folder}
        found += dict.fromkeys(path.parent if path.parent in of_cases else path for path in fitting)
        level = [path for path in level if path not in fitting]
    return found


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder; none where it is closed."""
    with suppress(OSError):
        yield from (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("."))


def _has_parts(folder: Path) -> bool:
    """Return whether a folder holds a folder for training, or several that `labelme_json_to_dataset` wrote."""
    names = [path.name for path in _folders(folder)]
    return any(part_of_name(name) == ("train", "both") for name in names) or (
        sum(name.endswith(FOLDER_END) for name in names) > 1
    )


def _is_drawn(folder: Path) -> bool:
    """Return whether a JSON file lies beside an image of its name, and holds the shapes of labelme."""
    for path in sorted(folder.glob("*.json"))[:_MOST_DRAWINGS]:
        beside = any(is_image(other) for other in folder.glob(f"{escape(path.stem)}.*"))
        if beside and path.stat().st_size <= _MOST_BYTES:
            with suppress(ValueError, OSError):
                content = json.loads(path.read_bytes())
                return isinstance(content, dict) and "shapes" in content
    return False


def _without_labels(folder: Path) -> str:
    """Return what to do with a folder of scans or DICOM studies without labels; nothing of another folder."""
    try:
        scans = any(map(is_image, folder.iterdir())) or holds_scans(folder)
    except DataError:  # a damaged zip, or pydicom is missing: what is read of it will say so
        scans = False
    if not scans:
        return ""
    return (
        "It seems to hold scans without labels. To train, add the labels in one of the ways below; to segment the "
        f"scans with a trained model: `medseg predict {quote(str(folder))} OUT`. "
    )
