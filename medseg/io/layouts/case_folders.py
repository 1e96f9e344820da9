"""One folder per case: `CASE/CASE_flair.nii.gz` beside `CASE/CASE_seg.nii.gz`, or `CASE/imaging.nii.gz`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DataSet, Naming, sentences
from medseg.io.layouts.roles import Files, cases_of, left_aside, settle_roles
from medseg.io.layouts.words import chunks, remove_name

_FEWEST_NESTED = 2


def read_case_folders(folder: Path, naming: Naming) -> DataSet | None:
    """Read a folder of case folders; None where it is none.

    Raises:
        DataError: it is open which file of a case is its label.
    """
    files, problems = files_of_folders(folder)
    roles = settle_roles(files, naming, folder) if files else None
    if roles is None:
        return None
    cases, incomplete = cases_of(files, roles)
    notes = [*sentences(problems | incomplete), *left_aside(files, roles)]
    return DataSet(folder, "folders", roles.channel_names, None, cases, notes)


def files_of_folders(folder: Path) -> tuple[Files, dict[str, str]]:
    """The images of each case folder by their role, and why others are left out.

    The role of a file is what its name says beyond that of its folder, or beyond what all names in the folder have in
    common. Images one level deeper count where a case folder has none itself and each of its folders has one. At least
    half of the folders have to be such.
    """
    direct: Files = {}
    nested: Files = {}
    problems: dict[str, str] = {}
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for inner in folders:
        images = _images(inner)
        if images:
            roles, twice = _roles([split_suffix(path)[0] for path in images], inner.name, images)
            direct[inner.name] = roles
            if twice:
                problems[inner.name] = f"{' and '.join(twice)} of {inner} would be one thing; keep one of them"
                del direct[inner.name]
            continue
        below = {path.name: _images(path) for path in sorted(inner.iterdir()) if path.is_dir()}
        if below and all(len(found) == 1 for found in below.values()):
            nested[inner.name] = {name: found[0] for name, found in below.items()}
    found = direct or (nested if len(nested) >= _FEWEST_NESTED else {})
    if 2 * (len(found) + len(problems)) < len(folders):
        return {}, {}  # a few folders with images among others are no cases
    return found, problems


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_image(path) and path.is_file())


def _roles(stems: list[str], case: str, images: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """{role: file}, and the names of files that share a role."""
    roles = [remove_name(stem, case) for stem in stems]
    if len(stems) > 1 and all(role is None for role in roles):
        start = _common_start(stems)
        roles = ["_".join(chunks(stem)[start:]) for stem in stems]
    named = [stem if role is None else role for stem, role in zip(stems, roles, strict=True)]
    counts = Counter(named)
    twice = [path.name for path, role in zip(images, named, strict=True) if counts[role] > 1]
    return dict(zip(named, images, strict=True)), twice


def _common_start(stems: list[str]) -> int:
    """How many parts all names begin with."""
    columns = zip(*(chunks(stem) for stem in stems), strict=False)
    return next((number for number, column in enumerate(columns) if len(set(column)) > 1), 0)
