"""Write and read label maps of 2D images as GeoJSON: outlines of objects with names and colours, as QuPath has them.

Each object is a feature: polygons along the edges of its pixels, so that filling them gives the pixels back.
Coordinates are x and y in pixels from the upper left corner of the image. The member `medseg` says what GeoJSON has no
place for: the size of the image, where its pixels lie, and which name is which value. RFC 7946 (6.1) allows it, and
other programs pass over it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import write_text
from medseg.core.image import Image
from medseg.core.json_text import parse_json
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.stack import Stack, smallest_integer
from medseg.io.values.outlines import rings_of
from medseg.io.values.rasterize import outlines

SUFFIX = ".geojson"
_MEMBER = "medseg"
_START = '{"type": "FeatureCollection", "medseg": '
_WITHOUT_SIZE = (
    "GeoJSON does not say how large its image is, and medseg reads what it wrote itself (`medseg predict --format "
    "geojson`). From QuPath, export a labelled image (PNG or TIFF) in place of GeoJSON."
)
_MOST_PIXELS = 1 << 30
_TYPES = ("Polygon", "MultiPolygon")


def written_here(path: Path) -> bool:
    """Return whether a file is a label map that medseg wrote; other programs store what they like in GeoJSON."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_START)) == _START.encode()
    except OSError:
        return False


def write(path: Path, image: Image, like: Path | None, named: Sequence[Segment] = ()) -> None:
    """Write a label map of one slice: a feature for each group of pixels of a value that touch.

    Args:
        path: the file.
        image: one channel of whole numbers.
        like: the scan; not used.
        named: names and colours of values; others are called by their numbers. Of names that are the same in one line
            the later ones get their value in brackets: a name stands for one value.

    Raises:
        DataError: several slices.
    """
    if image.shape_zyx[0] != 1:
        raise DataError(f"{path} can hold one slice; the answer has {image.shape_zyx[0]}.", "Write .nii.gz instead.")
    values = image.array[0, 0]
    of_value = {segment.value: segment for segment in named}
    present = [int(value) for value in np.unique(values) if value]
    unnamed = (Segment(f"label {value}", value) for value in present if value not in of_value)
    segments = _with_distinct_names([*named, *unnamed])
    about = {
        "size": [values.shape[1], values.shape[0]],
        "names": {segment.name: segment.value for segment in segments},
        **({"affine": image.affine.tolist()} if image.spacing_known else {}),
    }
    features = [feature for segment in segments for feature in _features(values == segment.value, segment)]
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False) for feature in features)
    write_text(path, f'{_START}{json.dumps(about, ensure_ascii=False)}, "features": [\n{lines}\n]}}\n')


def _with_distinct_names(segments: Sequence[Segment]) -> list[Segment]:
    """Return segments whose names, in one line, differ.

    >>> [segment.name for segment in _with_distinct_names([Segment("a b", 1), Segment("a  b", 2)])]
    ['a b', 'a b (2)']
    """
    renamed: dict[str, Segment] = {}
    for segment in segments:
        name = segment.one_line
        while name in renamed:
            name = f"{name} ({segment.value})"
        renamed[name] = replace(segment, name=name)
    return [*renamed.values()]


def _features(mask: NDArray[np.bool_], segment: Segment) -> list[dict[str, Any]]:
    """Return a feature for each object of a structure; pixels that touch at edges or corners are one."""
    from scipy import ndimage

    numbered, _ = ndimage.label(mask, np.ones((3, 3)))
    colour = {} if segment.colour is None else {"color": [*segment.colour]}
    features = []
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        top, left = box[0].start, box[1].start
        polygons = [
            # a ring ends where it began
            [[[column + left, row + top] for row, column in (*ring, ring[0])] for ring in rings]
            for rings in rings_of(numbered[box] == number)
        ]
        several = len(polygons) > 1
        coordinates: Any = polygons if several else polygons[0]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "MultiPolygon" if several else "Polygon", "coordinates": coordinates},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": segment.name, **colour},
                },
            }
        )
    return features


def read(path: Path) -> Stack:
    """Read a label map that medseg wrote, with the values that its names stand for.

    Returns:
        The label map as a stack of one slice.

    Raises:
        DataError: another program wrote it, or it is damaged.
    """
    about, features = _content(path)
    width, height = (int(length) for length in about["size"])
    if not (width > 0 and height > 0 and width * height <= _MOST_PIXELS):
        raise DataError(f"{path} says that its image has {width} x {height} pixels.", "Write it again.")
    values = np.zeros((height, width), np.int32)
    for number, feature in enumerate(features, start=1):
        name, polygons = feature["properties"]["classification"]["name"], _polygons(feature["geometry"])
        if name not in about["names"]:
            raise DataError(
                f"{path}: feature {number} is called {str(name)[:40]!r}, which its member {_MEMBER!r} does not list.",
                "Add it there with a value, or correct the name.",
                "unknown label",
            )
        for rings in polygons:
            _fill(values, rings, int(about["names"][name]))
    affine = np.array(about.get("affine", np.eye(4)), dtype=np.float64)
    if affine.shape != (4, 4):
        raise ValueError("its affine is not 4 x 4")
    return Stack(values.astype(smallest_integer(values))[None, None, None], affine, "affine" in about)


def segments(path: Path) -> list[Segment]:
    """Return the structures that a label map names, with their colours; [] for what medseg did not write."""
    try:
        about, features = _content(path)
        colours: dict[str, tuple[int, int, int]] = {}
        for classification in (feature["properties"]["classification"] for feature in features):
            if "color" in classification:
                red, green, blue = map(int, classification["color"])
                colours[classification["name"]] = red, green, blue
        return [Segment(name, int(value), colour=colours.get(name)) for name, value in about["names"].items()]
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # reading the file says what is wrong


def _content(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the member `medseg` and the features of a file.

    Raises:
        DataError: it has no such member.
    """
    content = parse_json(path.read_text(encoding="utf-8"))
    about = content.get(_MEMBER) if isinstance(content, dict) else None
    if not isinstance(about, dict) or not isinstance(content.get("features"), list):
        raise DataError(f"{path} does not say how large its image is.", _WITHOUT_SIZE)
    return about, content["features"]


def _polygons(geometry: dict[str, Any]) -> list[list[NDArray[np.float64]]]:
    """Return the polygons of a geometry, each a list of rings (point, 2)."""
    kind = geometry["type"]
    if kind not in _TYPES:
        raise ValueError(f"a feature is a {str(kind)[:40]}; expected {' or '.join(_TYPES)}")
    polygons = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    return [[np.array(ring, dtype=np.float64)[:, :2] for ring in rings] for rings in polygons]


def _fill(values: NDArray[np.int32], rings: list[NDArray[np.float64]], value: int) -> None:
    """Give the pixels within the rings of a polygon a value; only the box around it is looked at."""
    height, width = values.shape
    corners = np.concatenate(rings)
    if not np.isfinite(corners).all():
        raise ValueError("a corner of a polygon is no number")
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, (width, height)).astype(int)
    if right > left and bottom > top:
        inside = outlines([ring - (left, top) for ring in rings], (bottom - top, right - left))
        values[top:bottom, left:right][inside] = value
