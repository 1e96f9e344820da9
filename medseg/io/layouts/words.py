"""The words that a file's or folder's name is made of: `21_manual1` is 21, manual, 1."""

from __future__ import annotations

import re
from collections.abc import Iterator

LABEL_WORDS = frozenset(
    (
        *("seg", "segs", "segmentation", "segmentations", "mask", "masks", "msk", "label", "labels", "dseg", "gt"),
        *("groundtruth", "truth", "manual", "annotation", "annotations", "annotated", "annot", "delineation"),
        *("contour", "contours", "roi", "rois"),
    )
)
"""Words by which a name is taken for that of a label file."""

_LABEL_ENDS = ("mask", "masks", "label", "labels", "segmentation", "annotation", "annotations")

IMAGE_WORDS = frozenset(("image", "images", "img", "imgs", "scan", "scans"))
"""Words by which a folder is taken for that of the images."""

_WORD = re.compile(r"\d+|[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = "_- .,"


def words(name: str) -> tuple[str, ...]:
    """Words and numbers of a name in their order, in lower case; numbers without leading zeros."""
    found = [part for word in _WORD.findall(name) for part in _HUMP.split(word)]
    return tuple(str(int(word)) if word.isdecimal() else word.lower() for word in found)


def names_labels(name: str) -> bool:
    """Whether a name has a word for labels in it, also as the end of a longer one (`brainmask`)."""
    return any(word in LABEL_WORDS or word.endswith(_LABEL_ENDS) for word in words(name))


def names_images(name: str) -> bool:
    """Whether a name has a word for images in it."""
    return not IMAGE_WORDS.isdisjoint(words(name))


def chunks(name: str) -> list[str]:
    """The parts of a name between separators: `case-7_seg.v2` is case, 7, seg, v2."""
    return [part for part in re.split(f"[{re.escape(_SEPARATORS)}]+", name) if part]


def splits(name: str) -> Iterator[tuple[str, str]]:
    """(outer part, rest) of a name for every place where a separator stands, from both ends, and (name, "")."""
    yield name, ""
    for place in (match.start() for match in re.finditer(f"[{re.escape(_SEPARATORS)}]", name)):
        before, after = name[:place], name[place:].strip(_SEPARATORS)
        yield before, after
        yield after, before.strip(_SEPARATORS)


def remove_name(name: str, case: str) -> str | None:
    """What is left of a name that begins or ends with that of its case: `flair` of (`p7_flair`, `p7`); else None."""
    low, own = name.lower(), case.lower()
    if low == own:
        return ""
    if low.startswith(own) and (name[len(case)] in _SEPARATORS):
        return name[len(case) :].strip(_SEPARATORS)
    if low.endswith(own) and (name[-len(case) - 1] in _SEPARATORS):
        return name[: -len(case)].strip(_SEPARATORS)
    return None
