"""`medseg labelme`: annotations drawn in labelme to a data set of images and masks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.commands.data.options import LabelmeOptions
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.core.files import atomic, write_json
from medseg.core.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.io.formats.labelme import Annotation, Shape, read_annotation, read_shape_labels
from medseg.io.values.class_names import BACKGROUND, IGNORED, number_names, read_lines

IGNORE = 255
IMAGES, MASKS, INSTANCES = "images", "masks", "instances"

_MOST_STRUCTURES = 254
_MOST_INSTANCES = 65535
_MOST_SHOWN = 5


@dataclass(frozen=True)
class LabelmeResult:
    """What came of it.

    Attributes:
        folder: the data set.
        structures: name -> value in the masks.
        images: how many were written.
        shapes: name -> how many shapes were painted.
        left_out: sentences about shapes that cover nothing.
        failed: JSON file, as named from the folder on -> why it has no mask.
    """

    folder: Path
    structures: dict[str, int]
    images: int
    shapes: dict[str, int]
    left_out: list[str]
    failed: dict[str, str]


def labelme(
    folder: str | Path, output: str | Path, options: LabelmeOptions | None = None, callback: Callback = silent
) -> LabelmeResult:
    """Turn labelme's JSON files into `images/`, `masks/` (a palette of class values) and a `dataset.json`.

    Raises:
        MedsegError: there is nothing to convert, the output folder is in use, or the classes are not valid. A bad file
            is named in the result, and the others go on.
    """
    options = options or LabelmeOptions()
    folder, output = Path(folder), Path(output)
    if options.order not in ("later", "area"):
        raise PlanError(f"order is {options.order!r}; valid are later and area.")
    files = _files(folder)
    _check_output(output)
    values, failed = _values(files, options.labels, callback)
    convert = partial(_convert, names=files, output=output, values=values, options=options)
    readable = [file for file, name in files.items() if name not in failed]
    counts: Counter[str] = Counter()
    left_out: list[str] = []
    for file, result in track(map_cases(convert, readable), "labelme", len(readable), callback):
        if isinstance(result, MedsegError):
            failed[files[file]] = str(result)
        else:
            counts += result[0]
            left_out += result[1]
    written = len(files) - len(failed)
    if not written:
        shown = "\n".join(f"{name}: {why}" for name, why in [*failed.items()][:_MOST_SHOWN])
        raise DataError(f"None of the files in {folder} could be converted ({len(files)}). The first:\n{shown}")
    structures = {name: value for name, value in values.items() if name not in (*BACKGROUND, *IGNORED)}
    ignored = {"ignore": IGNORE} if any(counts[name] for name in IGNORED) else {}
    write_json(output / "dataset.json", {"labels": {"background": 0, **structures, **ignored}})
    return LabelmeResult(output, structures, written, dict(counts), left_out, dict(sorted(failed.items())))


def _files(folder: Path) -> dict[Path, str]:
    """labelme's files in a folder and those inside it -> their names from there (`p1/scan.json`)."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", "Expected one with labelme's JSON files.")
    named = {path: path.relative_to(folder) for path in sorted(folder.rglob("*.json"))}
    files = {
        path: name.as_posix()
        for path, name in named.items()
        if not any(part.startswith(".") for part in name.parts) and _has_shapes(path)
    }
    if not files:
        raise DataError(f"{folder} holds no JSON file of labelme.", "labelme saves one beside each image.")
    taken: dict[str, str] = {}
    for name in files.values():
        other = taken.setdefault(_id(name), name)
        if other != name:
            raise DataError(
                f"{other} and {name} in {folder} would both become {_id(name)}: folders become part of the name.",
                "Rename one of them.",
            )
    return files


def _id(name: str) -> str:
    """What image and mask of a file are called: `p1/scan.json` becomes `p1_scan`."""
    return name.removesuffix(".json").replace("/", "_")


def _has_shapes(path: Path) -> bool:
    """Whether a JSON file may be labelme's: valid ones of another kind, such as a `dataset.json`, are passed over."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return True  # damaged: it is named when it is read
    return isinstance(content, dict) and "shapes" in content


def _check_output(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} is there already and not an empty folder.", "Name a new folder, or delete it.")


def _values(
    files: Mapping[Path, str], listing: Path | None, callback: Callback
) -> tuple[dict[str, int], dict[str, str]]:
    """Value of each class, background and ignored ones included, and the files that cannot be read."""
    failed: dict[str, str] = {}
    if listing is not None:
        names = read_lines(listing)
    else:
        found: set[str] = set()
        for file, labels in track(map_cases(read_shape_labels, [*files]), "look for structures", len(files), callback):
            if isinstance(labels, MedsegError):
                failed[files[file]] = str(labels)
            else:
                found |= labels
        if len(failed) == len(files):
            raise DataError(next(iter(failed.values())))
        names = sorted(found, key=lambda name: (name not in BACKGROUND, name))
    structures = number_names(names, str(listing or "what was drawn"))
    if len(structures) > _MOST_STRUCTURES:
        raise DataError(f"There are {len(structures)} classes; a mask holds {_MOST_STRUCTURES}.")
    others = {**dict.fromkeys(BACKGROUND, 0), **dict.fromkeys(IGNORED, IGNORE)}
    return structures | others, failed


def _convert(
    file: Path, names: Mapping[Path, str], output: Path, values: Mapping[str, int], options: LabelmeOptions
) -> tuple[Counter[str], list[str]]:
    """Write image and mask of a file; how many shapes of each class were painted, and which cover nothing."""
    annotation, id = read_annotation(file), _id(names[file])
    unknown = sorted({shape.label for shape in annotation.shapes if shape.has_area} - values.keys())
    if unknown:
        known = ", ".join(name for name in values if name not in (*BACKGROUND, *IGNORED))
        raise DataError(
            f"{file} has shapes called {', '.join(unknown)}; the classes are {known}.",
            "Add them to the list of classes, or list them as __ignore__ in labelme.",
        )
    mask, objects, counts, left_out = paint(annotation, values, options.order)
    if options.instances and objects.max(initial=0) > _MOST_INSTANCES:
        raise DataError(f"{file} has {objects.max()} objects; a 16-bit PNG numbers {_MOST_INSTANCES}.")
    with atomic(output / IMAGES / f"{id}{annotation.suffix}") as temporary:
        temporary.write_bytes(annotation.image)
    _save_mask(output / MASKS / f"{id}.png", mask)
    if options.instances:
        _save_instances(output / INSTANCES / f"{id}.png", objects)
    return counts, [f"{names[file]}: {text}" for text in left_out]


def paint(
    annotation: Annotation, values: Mapping[str, int], order: str
) -> tuple[NDArray[np.uint8], NDArray[np.int32], Counter[str], list[str]]:
    """Paint the shapes of an image one over the other.

    Returns:
        (y, x) class values, (y, x) numbers of objects from 1 on in the order in which they were drawn, how many shapes
        of each class were painted, and a sentence for each that covers nothing.
    """
    mask, objects = np.zeros(annotation.shape, np.uint8), np.zeros(annotation.shape, np.int32)
    numbers = _object_numbers(annotation.shapes)
    counts: Counter[str] = Counter()
    left_out = []
    painted: list[tuple[int, tuple[slice, slice], NDArray[np.bool_]]] = []
    for number, shape in enumerate(annotation.shapes):
        if not shape.has_area:
            left_out.append(
                f"shape {number + 1} ({shape.label}, {shape.kind} of {len(shape.points)} points) has no area"
            )
            continue
        box, pixels = shape.pixels(annotation.shape)
        if not pixels.any():
            left_out.append(f"shape {number + 1} ({shape.label}, {shape.kind}) covers no pixel's centre")
            continue
        counts[shape.label] += 1
        painted.append((number, box, pixels))
    if order == "area":
        painted.sort(key=lambda item: -int(item[2].sum()))
    for number, box, pixels in painted:
        value = values[annotation.shapes[number].label]
        mask[box][pixels] = value
        objects[box][pixels] = numbers[number] if value not in (0, IGNORE) else 0
    return mask, objects, counts, left_out


def _object_numbers(shapes: Sequence[Shape]) -> list[int]:
    """The number of the object that each shape belongs to: shapes of one class and group are one."""
    numbers: dict[tuple[str, int | None, int], int] = {}
    keys = [(shape.label, shape.group, -1 if shape.group is not None else place) for place, shape in enumerate(shapes)]
    return [numbers.setdefault(key, len(numbers) + 1) for key in keys]


def _save_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    from PIL import Image as pillow

    picture = pillow.fromarray(mask, mode="L").convert("P")
    picture.putdata(mask.reshape(-1))
    picture.putpalette(voc_palette())
    with atomic(path) as temporary:
        picture.save(temporary)


def _save_instances(path: Path, objects: NDArray[np.int32]) -> None:
    from PIL import Image as pillow

    with atomic(path) as temporary:
        pillow.fromarray(objects.astype(np.uint16)).save(temporary)


def voc_palette() -> list[int]:
    """Pascal VOC's colours: red, green and blue of each value, whose bits are dealt out to them from the top."""
    palette = []
    for value in range(256):
        for channel in range(3):
            bits = [(value >> (3 * place + channel)) & 1 for place in range(3)]
            palette.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return palette
