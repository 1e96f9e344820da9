"""Read one folder per case: `CASE/CASE_flair.nii.gz` beside `CASE/CASE_seg.nii.gz`, or `CASE/imaging.nii.gz`.

A folder in it with a mask for each structure (`CASE/segmentations/liver.nii.gz`) is the label of the case.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medseg.io.formats.table import split_suffix
from medseg.io.layouts.dataset import DataSet, Naming, sentences
from medseg.io.layouts.file_names.roles import Files, cases_of, left_aside, settle_roles
from medseg.io.layouts.file_names.side_folders import is_side_folder
from medseg.io.layouts.file_names.words import chunks, common_start, names_labels, remove_name
from medseg.io.several_files import images_in

_FEWEST_NESTED = 2
"""A single folder of folders with an image each is more likely something else than a case."""


def read_case_folders(folder: Path, naming: Naming) -> DataSet | None:
    """Read a folder of case folders; None where it is not one.

    Args:
        folder: the data set.
        naming: what the user says about which files are meant.

    Returns:
        The data set.

    Raises:
        DataError: the names do not say which file of a case is its label.
    """
    files, problems = files_of_folders(folder)
    if not any(role == naming.labels or names_labels(role) for by_role in files.values() for role in by_role):
        files = {case: by_role | _mask_folders(folder / case, naming.labels) for case, by_role in files.items()}
    roles = settle_roles(files, naming, folder) if files else None
    if roles is None:
        return None
    cases, incomplete = cases_of(files, roles)
    notes = [*sentences(problems | incomplete), *left_aside(files, roles)]
    return DataSet(folder, "folders", roles.channel_names, None, cases, notes)


def files_of_folders(folder: Path) -> tuple[Files, dict[str, str]]:
    """Return the images of each case folder by their role, and {case: why it is left out}.

    The role of a file is what its name says beyond the name of its folder, or beyond what all names in the folder have
    in common. Images one level deeper count where a case folder has none itself and each of its folders has one; a
    folder of masks (`CASE/masks/`) may have several, and is then the label itself. Where fewer than half of the folders
    hold images, they are not cases, and both are empty.
    """
    direct: Files = {}
    nested: Files = {}
    problems: dict[str, str] = {}
    folders_of_masks: set[str] = set()
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders = [path for path in inside if not is_side_folder(path)]
    for inner in folders:
        images = images_in(inner)
        if images:
            roles, clashing = _roles([split_suffix(path)[0] for path in images], inner.name, images)
            if clashing:
                problems[inner.name] = f"{' and '.join(clashing)} of {inner} have the same role; keep one of them"
            else:
                direct[inner.name] = roles
            continue
        below = {path.name: images_in(path) for path in sorted(inner.iterdir()) if path.is_dir()}
        if below and all(len(images) == 1 or (images and names_labels(name)) for name, images in below.items()):
            nested[inner.name] = {name: images[0] for name, images in below.items()}
            folders_of_masks |= {name for name, images in below.items() if len(images) > 1}
    for case, by_role in nested.items():  # where a case has several masks, the folder is the label in all of them
        nested[case] = {name: folder / case / name if name in folders_of_masks else by_role[name] for name in by_role}
    files = direct or (nested if len(nested) >= _FEWEST_NESTED else {})
    if 2 * (len(files) + len(problems)) < len(folders):
        return {}, {}
    return files, problems


def _mask_folders(case_folder: Path, wanted: str | None) -> dict[str, Path]:
    """Return {name: folder} of the folders of a case that hold a mask for each structure, as TotalSegmentator has them.

    Args:
        case_folder: the folder of the case.
        wanted: the name that the user gives; None for any with a word for labels.
    """
    folders = sorted(path for path in case_folder.iterdir() if path.is_dir())
    fitting = [path for path in folders if (names_labels(path.name) if wanted is None else path.name == wanted)]
    return {path.name: path for path in fitting if images_in(path)}


def _roles(stems: list[str], case: str, images: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """Return {role: file}, and the names of files that share a role."""
    after_case = [remove_name(stem, case) for stem in stems]
    if len(stems) > 1 and all(role is None for role in after_case):
        parts = [chunks(stem) for stem in stems]
        start = common_start(parts)
        after_case = ["_".join(names[start:]) for names in parts]
    roles = [stem if role is None else role for stem, role in zip(stems, after_case, strict=True)]
    counts = Counter(roles)
    clashing = [path.name for path, role in zip(images, roles, strict=True) if counts[role] > 1]
    return dict(zip(roles, images, strict=True)), clashing
