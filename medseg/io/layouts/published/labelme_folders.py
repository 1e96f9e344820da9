"""Read what `labelme_json_to_dataset` writes: `CASE_json/img.png` with `label.png` and `label_names.txt`."""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.layouts.dataset import DataSet, Why, pair_up, sentences
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.io.values.named_values import LABEL_NAME, LIST, named_values

_IMAGE_NAME = "img"
FOLDER_END = "_json"


def read_labelme_folders(folder: Path) -> DataSet | None:
    """Read a folder of labelme's exported folders; None where it is not one.

    The ids of cases are the names of their folders without `_json`.

    Args:
        folder: the data set.

    Returns:
        The data set.
    """
    folders, exported = _folders(folder)
    if not exported:
        return None
    images: dict[str, tuple[Path, ...]] = {}
    labels: dict[str, Path] = {}
    problems: dict[str, str] = {}
    for path in folders:
        files, _ = images_by_stem(path)
        id = path.name.removesuffix(FOLDER_END)
        absent = [name for name in (_IMAGE_NAME, LABEL_NAME) if name not in files]
        if not files and path not in exported:
            continue  # a folder of something else
        if absent:
            kind = "missing image" if _IMAGE_NAME in absent else "missing label"
            problems[id] = Why(f"there is no {' and no '.join(absent)} in {path}", kind, path)
        elif path not in exported:
            problems[id] = Why(f"there is no {LIST} in {path}, so that its values have no names", "missing label", path)
        elif why := _problem_of_list(files[LABEL_NAME]):
            problems[id] = why
        else:
            images[id], labels[id] = (files[_IMAGE_NAME],), files[LABEL_NAME]
    cases = pair_up(images, labels, (folder, folder), problems)
    return DataSet(folder, "labelme", ("image",), None, cases, sentences(problems))


def _problem_of_list(label: Path) -> str | None:
    """Return what is wrong with the list of names beside a label file; None if nothing is."""
    try:
        named_values(label)
    except DataError as error:
        return str(error)
    return None


def _folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders in a folder, and those of them with a list of names; none where these are the fewer."""
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    exported = [path for path in folders if (path / LIST).is_file()]
    return folders, exported if 2 * len(exported) >= len(folders) else []


def scans_of_labelme_folders(folder: Path) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """Return the images of such a folder by case, with or without labels, and {case: why it is left out}.

    Args:
        folder: the data set.

    Returns:
        Both empty where it is not one.
    """
    scans: dict[str, tuple[Path, ...]] = {}
    problems: dict[str, str] = {}
    folders, exported = _folders(folder)
    for path in folders if exported else ():
        id = path.name.removesuffix(FOLDER_END)
        files, doubtful = images_by_stem(path)
        if _IMAGE_NAME in files:
            scans[id] = (files[_IMAGE_NAME],)
        elif path in exported or (path.name.endswith(FOLDER_END) and (files or doubtful)):
            problems[id] = doubtful.get(_IMAGE_NAME) or Why(f"there is no {_IMAGE_NAME} in {path}", "missing image")
    return scans, problems
