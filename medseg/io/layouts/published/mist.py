"""Read data sets that MIST's JSON file describes: a folder for each case, whose files are told apart by their names.

Source: MIST (Medical Imaging Segmentation Toolkit), documentation, "Dataset JSON": `{"task": "brats", "modality": "mr",
"train-data": "/path/train", "mask": ["seg.nii.gz"], "images": {"t1": ["t1.nii.gz"]}, "labels": [0, 1, 2, 4],
"final_classes": {"WT": [1, 2, 4]}}`; a file is meant if its name contains one of the words that are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.core.names import declared_path
from medseg.io.formats.table import is_image
from medseg.io.layouts.dataset import DataSet, Why, sentences
from medseg.io.layouts.published.descriptions import ListedScans, descriptions

_CT = "ct"


def read_mist(folder: Path) -> DataSet | None:
    """Read a folder with a JSON file of MIST's; None where there is none.

    Args:
        folder: the folder of the JSON file, to which `train-data` is relative if it is not absolute.

    Returns:
        The data set.

    Raises:
        DataError: there are several such files, or what it declares is not valid.
    """
    description = _description(folder)
    if description is None:
        return None
    path, content = description
    mask = _words(content["mask"], "mask", path)
    chosen, problems = _files(_root(path, content, "train-data"), {**_images(path, content), "mask": mask})
    cases = [Case(id, id, files[:-1], files[-1]) for id, files in chosen.items()]
    labels, notes = _labels(content, path)
    channels = tuple(content["images"])
    if content.get("modality") == _CT and len(channels) == 1:
        channels = (_CT,)  # the name decides how intensities are normalized
    return DataSet(folder, "mist", channels, labels, cases, [f"read from {path.name}", *notes, *sentences(problems)])


def scans_of_mist(folder: Path) -> ListedScans | None:
    """Return the scans of such a folder to segment: those of `test-data` where it is named, else of `train-data`.

    Args:
        folder: the folder of the JSON file.

    Raises:
        DataError: there are several such files, or what it declares is not valid.
    """
    if (described := _description(folder)) is None:
        return None
    path, content = described
    root = _root(path, content, "test-data" if content.get("test-data") else "train-data")
    files, problems = _files(root, _images(path, content))
    of_cases = {id: why for id, why in problems.items() if any(map(is_image, (root / id).iterdir()))}
    return ListedScans(path, tuple(content["images"]), files, of_cases)


def _description(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return MIST's JSON file in a folder, and its content; None where there is none."""
    return descriptions(folder, _is_mist, "MIST data set", "Take the others away.")


def _root(path: Path, content: Mapping[str, Any], key: str) -> Path:
    """Return the folder of the cases that a key names.

    Raises:
        DataError: there is no such folder.
    """
    root = declared_path(str(content[key]), path.parent)
    if not root.is_dir():
        raise DataError(
            f"{path}: {key} is {content[key]!r}, and there is no folder {root}.",
            f"Expected the folder of the cases, absolute or relative to {path.parent}.",
        )
    return root


def _images(path: Path, content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the words in the names of the files of each channel."""
    return {str(name): _words(words, f"images.{name}", path) for name, words in content["images"].items()}


def _files(root: Path, kinds: Mapping[str, Sequence[str]]) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """Return the files of each case in the order of their kinds, and {case: why it is left out}.

    Args:
        root: the folder of the cases.
        kinds: {kind of file: words, one of which its name contains}.
    """
    chosen: dict[str, tuple[Path, ...]] = {}
    problems: dict[str, str] = {}
    for case_folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = sorted(entry for entry in case_folder.iterdir() if is_image(entry))
        matches = {
            name: [file for file in files if any(word in file.name for word in words)] for name, words in kinds.items()
        }
        missing = [name for name, matching in matches.items() if not matching]
        several = [name for name, matching in matches.items() if len(matching) > 1]
        if missing:
            kind = "missing label" if missing == ["mask"] else "missing channel"
            text = f"there is no {' and no '.join(missing)} in {case_folder}"
            problems[case_folder.name] = Why(text, kind, case_folder)
        elif several:
            names = " and ".join(file.name for file in matches[several[0]])
            problems[case_folder.name] = f"{names} may each be {several[0]}"
        elif len({matching[0] for matching in matches.values()}) < len(matches):
            problems[case_folder.name] = f"one file of {case_folder} is meant by two of {', '.join(matches)}"
        else:
            chosen[case_folder.name] = tuple(matching[0] for matching in matches.values())
    return chosen, problems


def _is_mist(content: Mapping[str, Any]) -> bool:
    return {"train-data", "mask", "images"} <= content.keys() and isinstance(content["images"], dict)


def _words(value: object, key: str, path: Path) -> list[str]:
    """Return the words that name a kind of file.

    Raises:
        DataError: they are not a word or a list of words.
    """
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise DataError(f"{path}: {key} is {value!r}.", 'Expected parts of file names: ["mask.nii.gz"].')
    return words


def _labels(content: Mapping[str, Any], path: Path) -> tuple[Labels, list[str]]:
    """Return the structures, named by the final classes of one value, and a note on the other final classes.

    Raises:
        DataError: `labels` or `final_classes` is not valid.
    """
    values, classes = content.get("labels"), content.get("final_classes") or {}
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values) or set(values) <= {0}:
        raise DataError(f"{path}: labels is {values!r}.", "Expected the values in the masks: [0, 1, 2].")
    if not isinstance(classes, dict) or not all(_is_class(members, values) for members in classes.values()):
        raise DataError(f"{path}: final_classes is {classes!r}.", 'Expected names and values: {"tumour": [1, 2]}.')
    names = {members[0]: str(name) for name, members in classes.items() if len(members) == 1 and members[0]}
    structures = {names.get(value, f"label_{value}"): value for value in sorted(set(values) - {0})}
    unions = [f"{name} ({', '.join(map(str, members))})" for name, members in classes.items() if len(members) > 1]
    note = f"final classes of several values are no structures of the plan: {', '.join(unions)}"
    return Labels(structures=structures), [note] if unions else []


def _is_class(members: object, values: Sequence[int]) -> bool:
    return isinstance(members, list) and bool(members) and set(members) <= set(values)
