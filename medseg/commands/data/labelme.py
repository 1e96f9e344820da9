"""`medseg labelme`: turn annotations drawn in labelme into a data set of images and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.commands.data.labelme_coco import ImageEntries, coco_content, image_entries
from medseg.commands.data.options import LabelmeOptions
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.core.files import atomic, atomic_folder, check_folder, write_json
from medseg.core.json_text import parse_json
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.core.wording import counted, first_few
from medseg.io.annotations.labelme import Annotation, Shape, image_named, read_annotation, read_shape_labels
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.values.class_names import BACKGROUND, IGNORED, number_names, read_lines

IGNORE = 255
"""Value of pixels without annotation, as in Pascal VOC."""

IMAGES, MASKS, INSTANCES = "images", "masks", "instances"
_VOC = {IMAGES: "JPEGImages", MASKS: "SegmentationClass", INSTANCES: "SegmentationObject"}
"""Names of the folders -> those of Pascal VOC."""

_MOST_STRUCTURES = 254
_MOST_INSTANCES = 65535
_MOST_SHOWN = 5


@dataclass(frozen=True)
class LabelmeResult:
    """The result of a conversion.

    Attributes:
        folder: the data set.
        structures: {name: value in the masks}.
        images: how many images were written.
        shapes: {name: how many shapes were painted}.
        left_out: sentences about shapes that cover nothing, and on images without a JSON file.
        failed: {JSON file, relative to the folder: why it has no mask}.
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

    Options choose the layouts of Pascal VOC or COCO in place of these.

    Args:
        folder: with labelme's JSON files, also in folders inside it.
        output: the new data set; a folder that does not exist, or is empty.
        options: classes, order of painting, instances; None for the defaults.
        callback: told of the progress; may raise `Cancelled`.

    Returns:
        The folder that was written, its structures, how many images and shapes, and {file: why it has no mask}.

    Raises:
        MedsegError: there is nothing to convert, the output folder is in use, or the classes are not valid. A bad file
            does not raise: it is named in the result.
    """
    options = options or LabelmeOptions()
    folder, output = Path(folder), Path(output)
    if options.order not in ("later", "area"):
        raise PlanError(f"order is {options.order!r}; valid are later and area.")
    if options.voc and options.coco:
        raise PlanError("--voc and --coco are two layouts.", "Choose one, and run the command again for the other.")
    files = _labelme_files(folder)
    _check_output(output)
    values, failed = _class_values(files, options.labels, callback)
    readable = [file for file, name in files.items() if name not in failed]
    counts: Counter[str] = Counter()
    left_out: list[str] = []
    listed: list[ImageEntries] = []
    with atomic_folder(output) as temporary:  # a conversion that is stopped must not leave a smaller data set
        convert = partial(_convert, names=files, output=temporary, values=values, options=options)
        with closing(
            map_cases(convert, readable)
        ) as converted:  # or a thread would write into a folder that is removed
            for file, result in track(converted, "labelme", len(readable), callback):
                if isinstance(result, MedsegError):
                    failed[files[file]] = str(result).replace(str(temporary), str(output))
                else:
                    counts += result[0]
                    left_out += result[1]
                    listed += [result[2]] if result[2] else []
        written = len(files) - len(failed)
        if not written:
            shown = "\n".join(f"{name}: {why}" for name, why in [*failed.items()][:_MOST_SHOWN])
            raise DataError(f"None of the files in {folder} could be converted ({len(files)}). The first:\n{shown}")
        structures = {name: value for name, value in values.items() if name not in (*BACKGROUND, *IGNORED)}
        ignored = {"ignore": IGNORE} if any(counts[name] for name in IGNORED) else {}
        if options.voc:
            names = "\n".join([BACKGROUND[0], *structures])
            (temporary / "class_names.txt").write_text(f"{names}\n", encoding="utf-8")
        elif options.coco:
            write_json(temporary / "annotations" / "instances.json", coco_content(listed, structures))
        else:
            write_json(temporary / "dataset.json", {"labels": {"background": 0, **structures, **ignored}})
    left_out += _undrawn([*files])
    return LabelmeResult(output, structures, written, dict(counts), left_out, dict(sorted(failed.items())))


def _labelme_files(folder: Path) -> dict[Path, str]:
    """Return {labelme's file: its path relative to the folder}, also of folders inside (`p1/scan.json`).

    Raises:
        DataError: there is no such file, or two would get the same name.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", "Expected one with labelme's JSON files.")
    relative_paths = {path: path.relative_to(folder) for path in sorted(folder.rglob("*.json"))}
    files = {
        path: relative.as_posix()
        for path, relative in relative_paths.items()
        if not any(part.startswith(".") for part in relative.parts) and _has_shapes(path)
    }
    if not files:
        raise DataError(f"{folder} holds no JSON file of labelme.", "labelme saves one beside each image.")
    taken: dict[str, str] = {}
    for name in files.values():
        other = taken.setdefault(_id(name), name)
        if other != name:
            raise DataError(
                f"{other} and {name} in {folder} would both be named {_id(name)}, because the name of the folder "
                "becomes part of it.",
                "Rename one of them.",
            )
    return files


def _undrawn(files: Sequence[Path]) -> list[str]:
    """Return a sentence on the images beside labelme's files that none of these is about; nothing where there are none.

    Args:
        files: the JSON files.
    """
    stems = {(path.parent, path.stem) for path in files}
    folders = sorted({path.parent for path in files})
    images = [path for folder in folders for path in sorted(folder.iterdir()) if is_image(path) and path.is_file()]
    others = [path for path in images if (path.parent, split_suffix(path)[0]) not in stems]
    if not others:
        return []
    own = {(path.parent, split_suffix(path)[0]) for path in images}
    named = {image_named(path) for path in files if (path.parent, path.stem) not in own}  # by files of another name
    names = [path.name for path in others if path not in named]
    return [f"{counted(len(names), 'image')} without a JSON file: {first_few(names)}"] if names else []


def _id(name: str) -> str:
    """Return the name of a file's image and mask: `p1/scan.json` becomes `p1_scan`."""
    return name.removesuffix(".json").replace("/", "_")


def _has_shapes(path: Path) -> bool:
    """Return whether a JSON file may be labelme's: valid ones of another kind, such as a `dataset.json`, are not."""
    try:
        content = parse_json(path.read_bytes())
    except ValueError:
        return True  # damaged: it is named as failed when it is read
    return isinstance(content, dict) and "shapes" in content


def _check_output(output: Path) -> None:
    check_folder(output)
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is there already and not an empty folder.", "Name a new folder, or delete it.")


def _class_values(
    files: Mapping[Path, str], listing: Path | None, callback: Callback
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the value of each class, background and ignored ones included, and {file: why it cannot be read}.

    Raises:
        DataError: no file can be read, or there are too many classes.
    """
    failed: dict[str, str] = {}
    if listing is not None:
        names = read_lines(listing)
    else:
        drawn: set[str] = set()
        for file, labels in track(map_cases(read_shape_labels, [*files]), "look for structures", len(files), callback):
            if isinstance(labels, MedsegError):
                failed[files[file]] = str(labels)
            else:
                drawn |= labels
        if len(failed) == len(files):
            raise DataError(next(iter(failed.values())))
        names = sorted(drawn, key=lambda name: (name not in BACKGROUND, name))
    structures = number_names(names, str(listing or "what was drawn"))
    if len(structures) > _MOST_STRUCTURES:
        raise DataError(f"There are {len(structures)} classes; a mask holds {_MOST_STRUCTURES}.")
    others = {**dict.fromkeys(BACKGROUND, 0), **dict.fromkeys(IGNORED, IGNORE)}
    return structures | others, failed


def _convert(
    file: Path, names: Mapping[Path, str], output: Path, values: Mapping[str, int], options: LabelmeOptions
) -> tuple[Counter[str], list[str], ImageEntries | None]:
    """Write image and mask of a file.

    Returns:
        How many shapes of each class were painted, sentences about shapes that cover nothing, and with
        `options.coco` what COCO's file says about the image.

    Raises:
        DataError: the file cannot be read, or has unknown classes or too many objects.
    """
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
    images, masks, instances = (_VOC[name] if options.voc else name for name in (IMAGES, MASKS, INSTANCES))
    if options.coco and (mask == IGNORE).any():
        raise DataError(
            f"{file} has ignored shapes ({', '.join(IGNORED)}), and COCO has no ignored pixels.",
            "Convert it without --coco.",
        )
    with atomic(output / images / f"{id}{annotation.suffix}") as temporary:
        temporary.write_bytes(annotation.image)
    if not options.coco:
        _save_mask(output / masks / f"{id}.png", mask)
    if options.instances:
        _save_instances(output / instances / f"{id}.png", objects)
    entries = None
    if options.coco:
        numbers = _object_numbers(annotation.shapes)
        entries = image_entries(f"{id}{annotation.suffix}", annotation, objects, numbers, values)
    return counts, [f"{names[file]}: {text}" for text in left_out], entries


def paint(
    annotation: Annotation, values: Mapping[str, int], order: str
) -> tuple[NDArray[np.uint8], NDArray[np.int32], Counter[str], list[str]]:
    """Paint the shapes of an image one over the other.

    Args:
        annotation: the shapes and the size of their image.
        values: {class: value in the mask}.
        order: "later" shapes cover earlier ones, or, by "area", smaller ones cover larger ones.

    Returns:
        (y, x) class values; (y, x) numbers of objects, from 1 in the order in which they were drawn; how many shapes of
        each class were painted; and a sentence for each shape that covers nothing.
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
    """Return the number of the object that each shape belongs to: shapes of the same class and group are one object."""
    numbers: dict[tuple[str, int | None, int], int] = {}
    keys = [(shape.label, shape.group, -1 if shape.group is not None else index) for index, shape in enumerate(shapes)]
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
    """Return Pascal VOC's palette: red, green and blue of each of 256 values, one after the other.

    The bits of a value go to red, green and blue in turn, lowest bit first, and fill each colour from its highest bit,
    so that the first values have colours that differ most (VOCdevkit's `VOClabelcolormap.m`).

    >>> voc_palette()[:12]
    [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    """
    palette = []
    for value in range(256):
        for channel in range(3):
            bits = [(value >> (3 * position + channel)) & 1 for position in range(3)]
            palette.append(sum(bit << (7 - position) for position, bit in enumerate(bits)))
    return palette
