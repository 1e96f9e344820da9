"""Read one folder per case: `CASE/CASE_flair.nii.gz` beside `CASE/CASE_seg.nii.gz`, or `CASE/imaging.nii.gz`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DataSet, Naming, sentences
from medseg.io.layouts.roles import Files, cases_of, left_aside, settle_roles
from medseg.io.layouts.words import chunks, common_start, names_labels, remove_name

_MOST_SHOWN = 6
_FEWEST_NESTED = 2
"""A single folder of folders with an image each is more likely something else than a case."""


def read_case_folders(folder: Path, naming: Naming) -> DataSet | None:
    """Read a folder of case folders; None where it is not one.

    Args:
        folder: the data set.
        naming: what the user says about which files are meant.

    Raises:
        DataError: the names do not say which file of a case is its label.
    """
    files, problems = files_of_folders(folder)
    if (
        files
        and naming.labels is None
        and not any(names_labels(role) for by_role in files.values() for role in by_role)
    ):
        _refuse_masks_in_folders(folder, files)
    roles = settle_roles(files, naming, folder) if files else None
    if roles is None:
        return None
    cases, incomplete = cases_of(files, roles)
    notes = [*sentences(problems | incomplete), *left_aside(files, roles)]
    return DataSet(folder, "folders", roles.channel_names, None, cases, notes)


def files_of_folders(folder: Path) -> tuple[Files, dict[str, str]]:
    """Return the images of each case folder by their role, and {case: why it is left out}.

    The role of a file is what its name says beyond the name of its folder, or beyond what all names in the folder have
    in common. Images one level deeper count where a case folder has none itself and each of its folders has one. Where
    fewer than half of the folders hold images, they are not cases, and both are empty.
    """
    direct: Files = {}
    nested: Files = {}
    problems: dict[str, str] = {}
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for inner in folders:
        images = _images(inner)
        if images:
            roles, clashing = _roles([split_suffix(path)[0] for path in images], inner.name, images)
            if clashing:
                problems[inner.name] = f"{' and '.join(clashing)} of {inner} have the same role; keep one of them"
            else:
                direct[inner.name] = roles
            continue
        below = {path.name: _images(path) for path in sorted(inner.iterdir()) if path.is_dir()}
        if below and all(len(images) == 1 for images in below.values()):
            nested[inner.name] = {name: images[0] for name, images in below.items()}
    files = direct or (nested if len(nested) >= _FEWEST_NESTED else {})
    if 2 * (len(files) + len(problems)) < len(folders):
        return {}, {}
    return files, problems


def _refuse_masks_in_folders(folder: Path, files: Files) -> None:
    """Refuse cases whose masks lie in a folder of their own, a file for each structure, as TotalSegmentator has them.

    Raises:
        DataError: there are such folders.
    """
    for case, by_role in files.items():
        for inner in sorted(path for path in (folder / case).iterdir() if path.is_dir() and names_labels(path.name)):
            masks = _images(inner)
            if masks:
                names = ", ".join(split_suffix(path)[0] for path in masks[:_MOST_SHOWN])
                more = f" and {len(masks) - _MOST_SHOWN} more" * (len(masks) > _MOST_SHOWN)
                image = next(iter(by_role.values())).name
                raise DataError(
                    f"{inner} holds {len(masks)} label files of the case {case} ({names}{more}): "
                    "one mask for each structure.",
                    "Merge them into one label file beside the scan, in which each structure has a value; or plan one "
                    f"structure: --images '*/{image}' --labels '*/{inner.name}/{masks[0].name}'.",
                )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_image(path) and not path.is_dir())


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
