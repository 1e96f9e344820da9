"""Read data sets that describe themselves in a `dataset.json`: the Medical Segmentation Decathlon's and nnU-Net's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medseg.core.case import Case, check_ids
from medseg.core.errors import DataError
from medseg.core.json_text import parse_json
from medseg.core.labels import Labels
from medseg.core.names import expanded_path
from medseg.core.wording import counted
from medseg.io.formats.table import FORMATS, is_image, split_suffix
from medseg.io.layouts.case_weights import stated_weights, weigh_by_id
from medseg.io.layouts.crossed_pairs import listed_again
from medseg.io.layouts.dataset import DataSet, Layout, Why, pair_up, sentences
from medseg.io.layouts.file_names.names import channel_files, group_by_case, images_by_stem
from medseg.io.layouts.published.descriptions import ListedScans
from medseg.io.values.class_names import check_zero

NAME = "dataset.json"


def read_dataset_json(folder: Path) -> DataSet:
    """Read a folder with a `dataset.json`.

    Returns:
        The data set.

    Raises:
        DataError: the file is not valid, or describes neither layout.
    """
    path = folder / NAME
    content = _load(path)
    channels, labels = declared_channels(content, str(path)), declared_labels(content, str(path))
    if "dataset" in content:
        named = content["dataset"] if isinstance(content["dataset"], dict) else {}
        check_ids(named, str(path))
        cases, problems = _explicit(folder, named.items(), "images", len(channels))
    elif "file_ending" in content:
        cases, problems = _suffixed(folder, content["file_ending"], len(channels))
    elif isinstance(content.get("training"), list):
        unnamed = ((None, entry) for entry in content["training"])
        cases, problems = _explicit(folder, unnamed, "image", len(channels))
    else:
        raise DataError(
            f"{path} does not say where the cases are; it has the keys {', '.join(content)}.",
            "Expected file_ending (nnU-Net v2: imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz), dataset (a map), or "
            "training (a list of pairs, as in the Medical Segmentation Decathlon).",
        )
    layout: Layout = "nnunet" if "dataset" in content or "file_ending" in content else "msd"
    cases = weigh_by_id(cases, content, problems, str(path))
    notes = sentences(problems)
    declared = content.get("numTraining")
    if isinstance(declared, int) and declared != len(cases) + len(problems):
        unusable = f", and {len(problems)} that cannot be used" if problems else ""
        found = f"found were {len(cases)}{unusable}"
        notes.append(f"{path} declares {counted(declared, 'training case')} (numTraining); {found}")
    return DataSet(folder, layout, channels, labels, cases, notes)


def lists_cases(folder: Path) -> bool:
    """Return whether there is a `dataset.json` that says where the cases are; others only name structures.

    Raises:
        DataError: the file is not valid JSON.
    """
    return (folder / NAME).is_file() and not {"dataset", "file_ending", "training"}.isdisjoint(_load(folder / NAME))


def channels_declared_in(folder: Path) -> tuple[str, ...]:
    """Return the names of the channels that a folder's `dataset.json` numbers; empty where there is no such file.

    Raises:
        DataError: the file, or what it declares, is not valid.
    """
    content = _load(folder / NAME) if (folder / NAME).is_file() else {}
    declares = not {"channel_names", "modality"}.isdisjoint(content)
    return declared_channels(content, str(folder / NAME)) if declares else ()


def scans_of_dataset_json(folder: Path) -> ListedScans | None:
    """Return the images that a `dataset.json` lists for training, with or without labels; None where it lists none.

    Args:
        folder: the data set; images for testing are found by their folder.

    Raises:
        DataError: the file is not valid.
    """
    path = folder / NAME
    content = _load(path) if path.is_file() else {}
    named, listed = content.get("dataset"), content.get("training")
    if isinstance(named, dict):
        entries, key = [*named.items()], "images"
    elif isinstance(listed, list) and "file_ending" not in content:
        entries, key = [(None, entry) for entry in listed], "image"
    else:
        return None
    if not any(isinstance(entry, dict) and entry.get(key) for _, entry in entries):
        return None  # only images for testing, or what is called `dataset` are facts on the set
    channels = channels_declared_in(folder)
    cases, problems = _explicit(folder, entries, key, len(channels), labelled=False)
    stated = [entry.get(name) for _, entry in entries if isinstance(entry, dict) for name in (key, "label")]
    names = [name for value in stated for name in (value if isinstance(value, list) else [value])]
    beside = frozenset(expanded_path(name, folder) for name in names if isinstance(name, str))
    return ListedScans(path, channels, {case.id: case.channels for case in cases}, problems, beside)


def structures_in(folder: Path) -> Labels | None:
    """Return the structures that a `dataset.json` declares; None where there is no such file, or it declares none.

    Raises:
        DataError: the file, or what it declares, is not valid.
    """
    path = folder / NAME
    content = _load(path) if path.is_file() else {}
    return declared_labels(content, str(path)) if "labels" in content else None


def _load(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique_keys)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; expected keys and values.")
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON as a dict.

    Raises:
        ValueError: a key stands there twice, of which JSON readers drop one without a word.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return content


def declared_channels(content: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """Return the names of the channels of a `dataset.json`, in order.

    Args:
        content: the content of the file.
        source: names the file in messages.

    Numbers may also begin with 1, or be written with zeros in front, as nnU-Net only counts them. It takes the names in
    the order in which they are written; numbers that say another order are therefore accepted only where they run from
    0 without such zeros.

    Raises:
        DataError: they are not numbered.

    >>> declared_channels({"modality": {"0": "T1", "1": "FLAIR"}}, "dataset.json")
    ('T1', 'FLAIR')
    >>> declared_channels({"channel_names": {"0000": "T1", "0001": "FLAIR"}}, "dataset.json")
    ('T1', 'FLAIR')
    """
    names = content.get("channel_names", content.get("modality"))
    keys = list(names) if isinstance(names, dict) else []
    keys = keys if all(isinstance(names[key], str | int | float) for key in keys) else []
    if keys and sorted(keys) == sorted(map(str, range(len(keys)))):
        return tuple(str(names[str(number)]) for number in range(len(keys)))
    numbers = [int(key) if key.isascii() and key.isdigit() else -1 for key in keys]
    if not keys or numbers not in ([*range(len(keys))], [*range(1, len(keys) + 1)]):
        raise DataError(
            f"{source}: channel_names (or modality) is {names!r}.", 'Expected numbers from 0 with names: {"0": "T1"}.'
        )
    return tuple(str(name) for name in names.values())


def declared_labels(content: Mapping[str, Any], source: str, trained: bool = False) -> Labels:
    """Return the structures of a `dataset.json`.

    Args:
        content: the content of the file.
        source: names the file in messages.
        trained: it is that of a trained model, which writes what `regions_class_order` says, be it a value that the
            region does not have in the training labels; in a data set that is a slip.

    They are written as `{"1": "liver"}` (Decathlon), or as `{"liver": 1, "tumour and liver": [1, 2], "ignore": 3}`.

    Raises:
        DataError: they are not valid.
    """
    declared = content.get("labels")
    if not isinstance(declared, dict):
        raise DataError(
            f"{source}: labels is {declared!r}.", 'Expected names and values: {"background": 0, "liver": 1}.'
        )
    if declared and all(name.lstrip("-").isdigit() and isinstance(value, str) for name, value in declared.items()):
        values, background, ignore = _values_with_names(declared, source), 0, None
    else:
        values, background, ignore = _names_with_values(declared, source)
    regions = any(isinstance(value, list) for value in values.values())
    order = content.get("regions_class_order") if regions else None
    try:
        labels = Labels(
            structures=values,
            background=background,
            ignore=ignore,
            activation="sigmoid" if regions else "softmax",
            region_values=order,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("labels", *first["loc"])))
        raise DataError(
            f"{source}: {where} is not valid: {first['msg'].removeprefix('Value error, ')}; it is {declared}.",
            "Every structure needs an integer, or a list of them with regions_class_order; the background is 0.",
        ) from None
    if labels.foreign_values and not trained:
        raise DataError(
            f"{source}: regions_class_order {labels.foreign_values[0]}; labels is {declared}.",
            "regions_class_order has one of the region's own values for each region, in the order of labels.",
        )
    return labels


def _values_with_names(declared: Mapping[str, str], source: str) -> dict[str, Any]:
    """Return structure -> value of the Decathlon's labels, value -> structure; 0 is the background.

    Raises:
        DataError: two values have one name, or 0 has the name of a structure.
    """
    zeros = [value for value in declared if int(value) == 0]
    for value in zeros:
        check_zero(declared[value], source)
    values = {name: int(value) for value, name in declared.items() if value not in zeros}
    if len(values) != len(declared) - len(zeros):
        raise DataError(f"{source}: two label values have one name: {declared}.", "Give each a name of its own.")
    return values


def _names_with_values(declared: Mapping[str, Any], source: str) -> tuple[dict[str, Any], Any, Any]:
    """Return structure -> value or values of nnU-Net's labels, and the values of background and ignored voxels.

    Raises:
        DataError: no background is declared, not even that there is none (null).
    """
    single = {name: value[0] for name, value in declared.items() if isinstance(value, list) and len(value) == 1}
    values = dict(declared) | single
    ignore, background = values.pop("ignore", None), values.pop("background", None)
    if "background" in declared and background is None:  # null says that there is none
        return values, background, ignore
    for name, value in values.items():
        if value == 0 and value is not False:
            check_zero(name, source)
            background = 0
    if background is None:
        raise DataError(
            f"{source}: labels.background is missing; labels is {declared}.",
            'Add "background": 0; or "background": null if every voxel belongs to a structure.',
        )
    return {name: value for name, value in values.items() if value != 0}, background, ignore


def _suffixed(folder: Path, ending: Any, channels: int) -> tuple[list[Case], dict[str, str]]:
    """Return the cases of nnU-Net v2 (imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz), and {id: why left out}."""
    if str(ending) not in FORMATS:
        raise DataError(
            f"{folder / NAME}: file_ending is {ending!r}; medseg knows {', '.join(FORMATS)}.",
            "Convert the files: volumes to .nii.gz, 2D images to .png.",
        )
    folders = folder / "imagesTr", folder / "labelsTr"
    images, problems = images_by_stem(folders[0], ending)
    labels, label_problems = images_by_stem(folders[1], ending)
    files, incomplete = channel_files(group_by_case(images), channels)
    problems |= label_problems | incomplete
    return pair_up(files, labels, folders, problems), problems


def _explicit(
    folder: Path, entries: Iterable[tuple[str | None, Any]], key: str, channels: int, labelled: bool = True
) -> tuple[list[Case], dict[str, str]]:
    """Return the cases that a `dataset.json` lists, and {id: why it is left out}.

    Args:
        folder: the data set.
        entries: (id, {key: file or files, "label": file}) of each case; without an id, it is the label file's name.
        key: "image" or "images".
        channels: how many channels a case has.
        labelled: whether a case needs its label; else its name is that of the label, or of the first image.
    """
    cases: dict[str, Case] = {}
    problems: dict[str, str] = {}
    for number, (id, entry) in enumerate(entries):
        try:
            names = [entry[key]] if isinstance(entry[key], str) else entry[key]
            images = tuple(expanded_path(name, folder) for name in names)
            label = expanded_path(entry["label"] if labelled else entry.get("label", names[0]), folder)
        except (TypeError, KeyError, AttributeError, IndexError):
            expected = f"{key} and label" if labelled else key
            problems[id or f"entry {number}"] = f"{NAME} says {entry!r}; expected {expected}"
            continue
        id = id or split_suffix(label)[0]
        if len(images) == 1 and not images[0].exists():
            images = _legacy(images[0], channels)
        needed = (*images, label) if labelled else images
        absent = [path for path in needed if not (is_image(path) and path.is_file())]
        if absent:
            what = "is not an image" if absent[0].exists() else "does not exist"
            kind = "missing label" if absent[0] == label else "missing image"
            problems[id] = Why(f"{NAME} lists {absent[0]}, which {what}", kind, absent[0])
        elif len(images) not in (1, channels):
            problems[id] = Why(
                f"{NAME} lists {counted(len(images), 'file')}; expected {counted(channels, 'channel')}",
                "missing channel",
            )
        elif id in cases:
            problems[f"{id} (again)"] = listed_again(NAME, cases[id], images, label)
        else:
            fold = entry.get("fold")  # of Auto3DSeg, which adds it to the lists of the Decathlon
            attributes = {} if fold is None else {"fold": str(fold)}
            cases[id] = Case(id, id, images, label, attributes=attributes, **stated_weights(entry, f"{NAME}, {id}"))
    return list(cases.values()), problems


def _legacy(image: Path, channels: int) -> tuple[Path, ...]:
    """Return the files of an image of nnU-Net v1, which lists CASE.nii.gz and stores CASE_0000.nii.gz; else itself."""
    stem, suffix = split_suffix(image)
    files = tuple(image.with_name(f"{stem}_{number:04d}{suffix}") for number in range(channels))
    return files if files[0].exists() else (image,)
