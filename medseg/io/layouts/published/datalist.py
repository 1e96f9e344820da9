"""Read MONAI's and Auto3DSeg's datalists: a JSON file with lists of cases, each with its image, label and fold.

Source: MONAI, `load_decathlon_datalist` (`monai/data/decathlon_datalist.py`) and `datafold_read`
(`monai/apps/auto3dseg/utils.py`): `{"training": [{"image": "a.nii.gz", "label": "b.nii.gz", "fold": 0}],
"testing": [{"image": "c.nii.gz"}]}`. The case of fold k validates the model of fold k.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.names import expanded_path
from medseg.core.wording import counted
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.case_weights import stated_weights
from medseg.io.layouts.crossed_pairs import listed_again
from medseg.io.layouts.dataset import DataSet, Why, sentences
from medseg.io.layouts.file_names.names import channel_numbers
from medseg.io.layouts.published.dataset_json import declared_channels, declared_labels
from medseg.io.layouts.published.descriptions import ListedScans, descriptions

_PARTS = {"training": "train", "train": "train", "validation": "val", "val": "val", "testing": "test", "test": "test"}
"""Key of a list -> the part of the split that it holds."""
_FOLD, _ROOT = "fold", "dataroot"
_MOST_YAML, _MOST_YAML_BYTES = 5, 1 << 16
"""More or larger YAML files are no settings of a data set."""


def read_datalist(folder: Path) -> DataSet | None:
    """Read a folder with a datalist, whatever the name of the JSON file; None where there is none.

    Args:
        folder: the data set; files are relative to it.

    Returns:
        The data set.

    Raises:
        DataError: there are several datalists, or an entry has a fold that is not a number.
    """
    description = _description(folder)
    if description is None:
        return None
    path, content, entries = description
    root = _root(folder, path, content, entries)
    cases, problems, unlabelled = _cases(root, path, entries)
    origin = "" if root == folder else f", with files from {root} (its dataroot)"
    notes = [f"read from {path.name}{origin}", *sentences(problems)]
    if unlabelled:
        notes.append(f"{counted(unlabelled, 'entry')} of {path.name} for testing without a label, not used here")
    named = _declared(path, content)
    expected = len(cases[0].channels) if cases else 0
    channels = named if expected in (1, len(named)) and named else channel_numbers(cases)
    labels = declared_labels(content, str(path)) if content.get("labels") else None
    return DataSet(folder, "datalist", channels, labels, cases, notes)


def scans_of_datalist(folder: Path) -> ListedScans | None:
    """Return the scans of such a folder to segment: those for testing, else all.

    Args:
        folder: the data set.

    Raises:
        DataError: there are several datalists.
    """
    description = _description(folder)
    if description is None:
        return None
    path, content, entries = description
    for_testing = [(part, entry) for part, entry in entries if part == "test"]
    root = _root(folder, path, content, for_testing or entries)
    listed: list[tuple[str, tuple[Path, ...], Path | None]] = []
    problems: dict[str, str] = {}
    for number, (part, entry) in enumerate(entries):
        names = _images(entry)
        if names:
            label = entry.get("label") if isinstance(entry, dict) else None
            files = tuple(expanded_path(name, root) for name in names)
            listed.append((part, files, expanded_path(label, root) if isinstance(label, str) else None))
        elif part == "test" or not for_testing:
            problems[f"entry {number}"] = f"{path.name} says {entry!r}; expected image"
    scans: dict[str, tuple[Path, ...]] = {}
    for (part, files, _), id in zip(listed, _ids_as_planned(listed), strict=True):
        if for_testing and part != "test":
            continue
        absent = next((file for file in files if not (is_image(file) and file.is_file())), None)
        if absent is not None:
            problems[id] = _absent(path, absent, "missing image")
        elif scans.get(id, files) != files:
            problems[f"{id} (again)"] = f"{path.name} lists {files[0]} under the name of {scans[id][0]}; rename one"
        else:
            scans[id] = files
    beside = frozenset(file for _, files, label in listed for file in (*files, label) if file is not None)
    return ListedScans(path, _declared(path, content), scans, problems, beside)


def _ids_as_planned(listed: Sequence[tuple[str, tuple[Path, ...], Path | None]]) -> list[str]:
    """Return an id for each (part, images, label): as a plan of the list names those that have a label.

    The others are named after their images, and after their folder as well where that is the name of another one.
    """
    planned = _ids([(files[0], label) for _, files, label in listed if label is not None])
    images = [files[0] for _, files, label in listed if label is None]
    names = _ids([(image, image) for image in images])
    others = (
        f"{image.parent.name}_{name}" if name in planned else name for image, name in zip(images, names, strict=True)
    )
    of_labels = iter(planned)
    return [next(others) if label is None else next(of_labels) for _, _, label in listed]


def _description(folder: Path) -> tuple[Path, dict[str, Any], list[tuple[str, Any]]] | None:
    """Return the datalist of a folder, its content, and its entries with their parts; None where there is none.

    Raises:
        DataError: there are several.
    """
    hint = "Take the others away, or name the files: --images, --labels."
    description = descriptions(folder, _is_datalist, "datalist", hint)
    if description is None:
        return None
    path, content = description
    return path, content, [(part, entry) for key, part in _PARTS.items() for entry in content.get(key) or ()]


def _declared(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the channels where a datalist says them, else nothing."""
    declares = "channel_names" in content or "modality" in content
    return declared_channels(content, str(path)) if declares and isinstance(content.get("modality", {}), dict) else ()


def _images(entry: Any) -> list[str]:
    """Return the names of the images of an entry; empty where it does not say them."""
    images = entry.get("image") if isinstance(entry, dict) else entry  # test images may stand by themselves
    names = [images] if isinstance(images, str) else images
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _absent(path: Path, file: Path, kind: str) -> Why:
    """Return why an entry is left out of which a file is not there, or no image."""
    what = "is not an image" if file.exists() else "does not exist"
    return Why(f"{path.name} lists {file}, which {what}", kind, file)


def _is_datalist(content: Mapping[str, Any]) -> bool:
    """Return whether JSON lists cases with image and label, and is no `dataset.json` of the Decathlon or nnU-Net."""
    declares = "labels" in content and not {"modality", "channel_names"}.isdisjoint(content)
    if declares or not {"file_ending", "dataset"}.isdisjoint(content):
        return False  # these have a reader of their own
    entries = content.get("training", content.get("train"))
    if not isinstance(entries, list) or not entries:
        return False
    return any(isinstance(entry, dict) and {"image", "label"} <= entry.keys() for entry in entries)


def _root(folder: Path, path: Path, content: Mapping[str, Any], entries: Sequence[tuple[str, Any]]) -> Path:
    """Return the folder that the paths of a datalist start from: its own, or the `dataroot` that is named.

    Auto3DSeg keeps `dataroot` in a YAML file (`task.yaml`, `input.yaml`) beside the list; here the list may have it,
    too.

    Raises:
        DataError: no image of the list is in any of these folders.
    """
    images = [entry.get("image") for _, entry in entries if isinstance(entry, dict)]
    names = [image[0] if isinstance(image, list) and image else image for image in images]
    files = [name for name in names if isinstance(name, str)]
    roots = [folder, *(expanded_path(root, folder) for root in _dataroots(folder, content))]
    for root in roots:
        if any(expanded_path(file, root).is_file() for file in files):
            return root
    if not files:
        return folder
    searched = " or ".join(map(str, dict.fromkeys(roots)))
    raise DataError(
        f"{path} lists {counted(len(files), 'image')}, and none of them is there: the first one is {files[0]}, looked "
        f"for in {searched}.",
        'Paths start from MONAI\'s dataroot: move the list there, or name the folder in the list, as "dataroot".',
        "missing image",
    )


def _dataroots(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Return the values of `dataroot` in a datalist and in the YAML files beside it."""
    from ruamel.yaml import YAML

    roots = [content.get(_ROOT)]
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])[:_MOST_YAML]:
        try:
            if path.stat().st_size <= _MOST_YAML_BYTES:
                settings = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
                roots.append(settings.get(_ROOT) if isinstance(settings, dict) else None)
        except Exception:  # of another program; the YAML library raises several unrelated types
            continue
    return [root for root in roots if isinstance(root, str)]


def _cases(folder: Path, path: Path, entries: Sequence[tuple[str, Any]]) -> tuple[list[Case], dict[str, str], int]:
    """Return the cases of a datalist, {id: why it is left out}, and the number of test entries without a label."""
    listed: list[tuple[dict[str, Any], tuple[Path, ...], Path, dict[str, str]]] = []
    problems: dict[str, str] = {}
    unlabelled = 0
    parts = {part for part, entry in entries if isinstance(entry, dict) and entry.get("label")}
    for number, (part, entry) in enumerate(entries):
        names = _images(entry)
        label = entry.get("label") if isinstance(entry, dict) else None
        if part == "test" and names and not label:
            unlabelled += 1
            continue
        if not names:
            problems[f"entry {number}"] = f"{path.name} says {entry!r}; expected image and label"
            continue
        if not isinstance(label, str):
            problems[split_suffix(Path(names[0]))[0]] = Why(
                f"{path.name} says {entry!r}; it has no label file", "missing label"
            )
            continue
        attributes = {"split": part} if len(parts) > 1 else {}
        if entry.get(_FOLD) is not None:
            attributes[_FOLD] = _fold(entry[_FOLD], path)
        files = tuple(expanded_path(name, folder) for name in names)
        weights = stated_weights(entry, f"{path.name}, {label}")
        listed.append((weights, files, expanded_path(label, folder), attributes))
    ids = _ids([(files[0], label) for _, files, label, _ in listed])
    cases: dict[str, Case] = {}
    count = len(listed[0][1]) if listed else 0
    for id, (weights, files, label, attributes) in zip(ids, listed, strict=True):
        absent = [file for file in (*files, label) if not (is_image(file) and file.is_file())]
        if absent:
            problems[id] = _absent(path, absent[0], "missing label" if absent[0] == label else "missing image")
        elif len(files) != count:
            problems[id] = Why(
                f"{path.name} lists {counted(len(files), 'file')}; expected {counted(count, 'channel')}",
                "missing channel",
            )
        elif id in cases:
            problems[f"{id} (again)"] = listed_again(path.name, cases[id], files, label)
        else:
            cases[id] = Case(id, id, files, label, attributes=attributes, **weights)
    return list(cases.values()), problems, unlabelled


def _fold(value: object, path: Path) -> str:
    """Return the number of a fold as text.

    Raises:
        DataError: it is not a whole number from 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DataError(f"{path} has the fold {value!r}.", "Expected a whole number from 0 for each case, or none.")
    return str(value)


def _ids(files: Sequence[tuple[Path, Path]]) -> list[str]:
    """Return an id for each (image, label): the label's name, else the image's, else with the folder that it is in."""
    rules: tuple[Callable[[Path, Path], str], ...] = (
        lambda image, label: split_suffix(label)[0],
        lambda image, label: split_suffix(image)[0],
        lambda image, label: label.parent.name,
        lambda image, label: image.parent.name,
        lambda image, label: f"{label.parent.name}_{split_suffix(label)[0]}",
    )
    pairs = len(set(files))
    for id_of in rules:
        ids = [id_of(image, label) for image, label in files]
        if len(set(ids)) == pairs and all(ids):
            return ids
    return [f"{label.parent.parent.name}_{label.parent.name}_{split_suffix(label)[0]}" for _, label in files]
