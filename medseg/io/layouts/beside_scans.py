"""Name the images that lie among the scans of cases in one folder, belong to these cases, and are not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from medseg.core.wording import counted, printable
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import Why
from medseg.io.layouts.file_names.modalities import says
from medseg.io.layouts.file_names.names import images_by_stem, split_channel
from medseg.io.layouts.file_names.roles import shown_roles
from medseg.io.layouts.file_names.side_folders import shows_scans
from medseg.io.layouts.file_names.words import names_labels, remove_name, splits
from medseg.io.layouts.folder_of_scans import IMAGE_FOLDERS
from medseg.io.layouts.published.coco import unlisted_images
from medseg.io.layouts.published.listed_scans import unlisted_entry
from medseg.io.layouts.split_folders import scans_folder
from medseg.io.layouts.used_paths import absolute


def beside_scans(folder: Path, scans: Mapping[str, Sequence[Path]], named: Collection[str]) -> list[tuple[str, Why]]:
    """Return (name, why) of the images beside those of the cases that are not used, and are of no case that is named.

    A further file of a channel that is used (`p1_ct_2` beside `p1_ct`) may be a scan that is meant, and is an entry of
    its own; files of other channels share one.

    Args:
        folder: the folder that was searched.
        scans: {case: its scans}.
        named: ids of the cases that are left out.
    """
    unused = _unused(folder, scans, named)
    used = {remove_name(split_suffix(path)[0], id) for id, paths in scans.items() for path in paths}
    channels = [role for role in used if role]
    further = {path for role, path in unused if any(says(role, [channel]) for channel in channels)}
    others = [(role, path) for role, path in unused if path not in further]
    entries = [(path.name, Why(_further(path), file=absolute(path))) for path in sorted(further)]
    files = [path for paths in scans.values() for path in paths]
    images, lists = ([], []) if any(map(parse_reference, files)) else unlisted_images(folder)
    segmented = {*map(absolute, files)}
    unlisted = unlisted_entry([path.name for path in images if absolute(path) not in segmented], lists)
    return [*([(others[0][1].name, Why(_of_other_channels(others)))] if others else []), *entries, *unlisted]


def _unused(folder: Path, scans: Mapping[str, Sequence[Path]], named: Collection[str]) -> list[tuple[str, Path]]:
    """Return (role, file) of the images that are not used; the role is what a name says beyond that of its case."""
    used = {absolute(path) for paths in scans.values() for path in paths}
    above = {path.parent for path in used}
    container = next((path for path in _image_folders(folder) if absolute(path) in above), None)
    if container is None or not any(is_image(path) and absolute(path) not in used for path in container.iterdir()):
        return []  # of thousands of scans that are all used, none is asked for its kind
    stems = {stem: path for stem, path in images_by_stem(container)[0].items() if absolute(path) not in used}
    cases = {*scans, *named}
    owners = {stem: _owner(stem, cases) for stem in stems if not names_labels(stem) and not shows_scans(stem)}
    return [(role or stem, stems[stem]) for stem, (case, role) in owners.items() if case not in named]


def _owner(stem: str, cases: Collection[str]) -> tuple[str, str]:
    """Return the case that a name begins or ends with, and the rest of the name; the longest, and "" for none."""
    pairs = [pair for pair in (*splits(stem), (split_channel(stem)[0], "")) if pair[0] in cases]
    return max(pairs, key=lambda pair: len(pair[0]), default=("", ""))  # p10 and not p1 for p10_ct_2


def _image_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders in which `look_through` looks for images of many cases, in its order."""
    for name in IMAGE_FOLDERS:
        yield folder / name
    part = scans_folder(folder)
    if part is not None:
        yield from _image_folders(part)


def _further(path: Path) -> str:
    """Return why a further file of a channel of a case is not used."""
    return f"{printable(str(path))} is not used, as another file of its case is named after the channel"


def _of_other_channels(files: Sequence[tuple[str, Path]]) -> str:
    """Return why files of cases are not used that are none of their channels, from their roles and paths."""
    roles = printable(shown_roles(Counter(role for role, _ in files)))
    what = f"{counted(len(files), 'file')} beside the scans of cases {'is' if len(files) == 1 else 'are'} not used"
    return f"{what}, as the names are of no channel of the model: {roles}; the first is {printable(str(files[0][1]))}"
