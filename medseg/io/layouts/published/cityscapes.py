"""Read scenes of a street: `leftImg8bit/train/CITY/KEY_leftImg8bit.png` beside `gtFine/train/CITY/...labelIds.png`.

That is the layout of Cityscapes (Cordts et al. 2016) and of IDD (Varma et al. 2019), whose small edition calls its
files `KEY_image.jpg` and `KEY_label.png`. Every pixel is of a class, so there is no background; 255 is ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.io.images import AS_STORED
from medseg.io.layouts.dataset import DEFAULT_NAMING, DataSet, Naming, sentences
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.io.layouts.split_folders import COLUMN, part_of_name
from medseg.plans.sections.reading import Reading

IMAGES = "leftImg8bit"
_LABELS = ("gtFine", "gtCoarse")
_IMAGE_ENDS = ("_leftImg8bit", "_image")
_LABEL = re.compile(r"(?:gtFine_|gtCoarse_)?(label\w*)")
_CITYSCAPES_KEY = re.compile(r"[A-Za-z-]+_\d{6}_\d{6}")
_IGNORE = 255
_TRAIN_IDS, _IDS = "labelTrainIds", "labelIds"
_CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""The 19 classes that Cityscapes scores, with their ids; train ids number them from 0 (its scripts, `labels.py`)."""
_HIGHEST_ID = 33
_FEWEST_CITIES = 2


@dataclass(frozen=True)
class _Scene:
    """An image.

    Attributes:
        part: train, val or test.
        city: the folder within the part; empty if the image lies in the part's folder itself.
        key: what the names of its files begin with.
        path: its file.
        folder: the folder within `leftImg8bit`, relative to it.
    """

    part: str
    city: str
    key: str
    path: Path
    folder: Path


def read_cityscapes(folder: Path, naming: Naming = DEFAULT_NAMING) -> DataSet | None:
    """Read scenes of a street; None where the folder has none.

    Args:
        folder: the data set.
        naming: which kind of labels is meant (`labelIds`), where there are several; else train ids, then ids.

    Returns:
        The data set.

    Raises:
        DataError: several kinds of labels may be meant.
    """
    root = next((path for name in _LABELS if (path := _folder(folder, name)) is not None), None)
    images = _folder(folder, IMAGES)
    if root is None or images is None:
        return None
    scenes, problems = _scenes(images)
    kinds = {id: _kinds(root / scene.folder, scene.key) for id, scene in scenes.items()}
    kind = _chosen_kind([name for of_scene in kinds.values() for name in of_scene], naming.labels, folder)
    if kind is None:
        return None
    cities = {scene.city for scene in scenes.values() if scene.part == "train"}
    cases = []
    for id, scene in scenes.items():
        if kind not in kinds[id]:
            problems[id] = f"there is no {kind} of it in {root / scene.folder}"
            continue
        # frames of one city resemble each other
        patient = f"{scene.part}_{scene.city}" if len(cities) >= _FEWEST_CITIES else id
        cases.append(Case(id, patient, (scene.path,), kinds[id][kind], attributes={COLUMN: scene.part}))
    labels, reading = _meaning(kind, scenes)
    notes = [f"the labels are {kind}"]
    problems |= _without_image(root, scenes, kind)
    return DataSet(
        folder,
        "cityscapes",
        ("image",),
        labels,
        cases,
        [*sentences(problems), *notes],
        _IGNORE,
        reading=reading,
        no_background=True,
    )


def scans_of_cityscapes(folder: Path) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """Return the images to segment of such a folder, by case: those of its test part, else of val, else of train.

    Args:
        folder: the data set.

    Returns:
        {case: its image}, and {name: why it is left out}; both empty where the folder has none.
    """
    images = _folder(folder, IMAGES)
    if images is None:
        return {}, {}
    scenes = _scenes(images)[0]
    doubtful = [
        (part, stem, why) for part, _, inner in _folders(images) for stem, why in images_by_stem(inner)[1].items()
    ]
    parts = {scene.part for scene in scenes.values()} | {part for part, _, _ in doubtful}
    part = next((name for name in ("test", "val", "train") if name in parts), None)
    problems = {stem: why for of, stem, why in doubtful if of == part}
    return {id: (scene.path,) for id, scene in scenes.items() if scene.part == part}, problems


def _folder(folder: Path, name: str) -> Path | None:
    """Return a folder of the set, which may lie in one with the name of the archive (`gtFine_trainvaltest/gtFine`)."""
    places = [folder / name, *sorted(folder.glob(f"{name}_*/{name}"))]
    return next((path for path in places if path.is_dir()), None)


def _scenes(folder: Path) -> tuple[dict[str, _Scene], dict[str, str]]:
    """Return {id: image}, and {id: why it is left out}; ids that occur in two parts are preceded by their part.

    Args:
        folder: `leftImg8bit`.
    """
    scenes: list[_Scene] = []
    problems: dict[str, str] = {}
    for part, city, inner in _folders(folder):
        images, doubtful = images_by_stem(inner)
        problems |= doubtful
        for stem, path in images.items():
            key = next((stem.removesuffix(end) for end in _IMAGE_ENDS if stem.endswith(end)), stem)
            scenes.append(_Scene(part, city, key, path, inner.relative_to(folder)))
    ids = [f"{scene.city}_{scene.key}" if _needs_city(scene) else scene.key for scene in scenes]
    twice = any(count > 1 for count in Counter(ids).values())
    return {f"{scene.part}_{id}" if twice else id: scene for id, scene in zip(ids, scenes, strict=True)}, problems


def _needs_city(scene: _Scene) -> bool:
    """Return whether the name of an image does not say its city, or the number of its drive, in the first place."""
    return bool(scene.city) and not scene.key.startswith(f"{scene.city}_")


def _folders(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (part, city, folder) of the folders that hold files: those of cities, and those of parts themselves."""
    for path in sorted(root.iterdir()):
        named = part_of_name(path.name) if path.is_dir() else None
        if named and named[1] == "both":
            yield named[0], "", path
            for city in sorted(inner for inner in path.iterdir() if inner.is_dir()):
                yield named[0], city.name, city


def _kinds(folder: Path, key: str) -> dict[str, Path]:
    """Return {kind: file} of the label files of an image: `labelIds`, `labelTrainIds`, `label`."""
    kinds = {}
    for stem, path in images_by_stem(folder)[0].items() if folder.is_dir() else ():
        match = _LABEL.fullmatch(stem[len(key) + 1 :]) if stem.startswith(f"{key}_") else None
        if match:
            kinds[match[1]] = path
    return kinds


def _chosen_kind(kinds: Sequence[str], wanted: str | None, folder: Path) -> str | None:
    """Return the kind of labels that is meant; None where there are none.

    Raises:
        DataError: there is no such kind, or several may be meant.
    """
    names = sorted(set(kinds))
    if wanted is not None:
        chosen = [name for name in names if wanted in (name, *(f"{root}_{name}" for root in _LABELS))]
        if not chosen:
            raise DataError(f"{folder} has no labels called {wanted!r}; it has {', '.join(names) or 'none'}.")
        return chosen[0]
    usual = next((name for name in (_TRAIN_IDS, _IDS) if name in names), None)
    if usual is None and len(names) > 1:
        raise DataError(
            f"{folder} has labels of several kinds: {', '.join(names)}.", f"Choose one: --labels {names[0]}."
        )
    return usual or (names[0] if names else None)


def _meaning(kind: str, scenes: Mapping[str, _Scene]) -> tuple[Labels | None, Reading]:
    """Return the structures of Cityscapes' labels, and how other ids are ignored; None for labels of other sets."""
    if kind not in (_TRAIN_IDS, _IDS) or not all(_CITYSCAPES_KEY.match(scene.key) for scene in scenes.values()):
        return None, AS_STORED
    numbers = _CLASSES if kind == _IDS else {name: number for number, name in enumerate(_CLASSES)}
    others = [id for id in range(_HIGHEST_ID + 1) if id not in numbers.values()] if kind == _IDS else []
    labels = Labels(structures=dict(numbers), background=None, ignore=_IGNORE)
    return labels, Reading(map=dict.fromkeys(others, _IGNORE)) if others else AS_STORED


def _without_image(root: Path, scenes: Mapping[str, _Scene], kind: str) -> dict[str, str]:
    """Return {name of a label file: why it is left out} of the labels that belong to no image."""
    keys: dict[Path, list[str]] = {}
    for scene in scenes.values():
        keys.setdefault(scene.folder, []).append(scene.key)
    problems = {}
    for _, _, folder in _folders(root):
        known = {*keys.get(folder.relative_to(root), [])}
        for stem in images_by_stem(folder)[0]:
            key = re.sub(rf"_(?:gtFine_|gtCoarse_)?{kind}$", "", stem)
            words = key.split("_")
            of_image = any("_".join(words[: number + 1]) in known for number in range(len(words)))  # KEY_inst_label
            if key != stem and not of_image:
                problems[stem] = "there is no image of it"
    return problems
