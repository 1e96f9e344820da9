"""Split names of files and folders into words: `21_manual1` is 21, manual, 1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LABEL_WORDS = frozenset(
    (
        *("seg", "segs", "segmentation", "segmentations", "mask", "masks", "msk", "label", "labels", "dseg", "gt"),
        *("groundtruth", "truth", "manual", "annotation", "annotations", "annotated", "annot", "delineation"),
        *("contour", "contours", "roi", "rois"),
    )
)
"""Words that make a name the name of a label file."""

_LABEL_ENDS = ("mask", "masks", "label", "labels", "segmentation", "annotation", "annotations")

IMAGE_WORDS = frozenset(("image", "images", "img", "imgs", "scan", "scans"))
"""Words that make a folder the folder of the images."""

_WORD = re.compile(r"\d+|[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = "_- .,"


def words(name: str) -> tuple[str, ...]:
    """Return words and numbers of a name in their order, in lower case; numbers without leading zeros.

    >>> words("Case07_groundTruth")
    ('case', '7', 'ground', 'truth')
    """
    parts = [part for word in _WORD.findall(name) for part in _HUMP.split(word)]
    return tuple(str(int(word)) if word.isdecimal() else word.lower() for word in parts)


def names_labels(name: str) -> bool:
    """Return whether a name has a word for labels in it, also as the end of a longer one (`brainmask`)."""
    return any(word in LABEL_WORDS or word.endswith(_LABEL_ENDS) for word in words(name))


def names_images(name: str) -> bool:
    """Return whether a name has a word for images in it."""
    return not IMAGE_WORDS.isdisjoint(words(name))


def chunks(name: str) -> list[str]:
    """Return the parts of a name between separators.

    >>> chunks("case-7_seg.v2")
    ['case', '7', 'seg', 'v2']
    """
    return [part for part in re.split(f"[{re.escape(_SEPARATORS)}]+", name) if part]


def common_start(lists: Sequence[Sequence[str]]) -> int:
    """Return how many items all lists begin with in common.

    >>> common_start([["a", "b", "c"], ["a", "b"], ["a", "b", "d"]])
    2
    """
    count = 0
    for column in zip(*lists, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count


def splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield (name, ""), and for every separator the parts of the name on both sides of it, in both orders."""
    yield name, ""
    for position in (match.start() for match in re.finditer(f"[{re.escape(_SEPARATORS)}]", name)):
        before, after = name[:position], name[position:].strip(_SEPARATORS)
        yield before, after
        yield after, before.strip(_SEPARATORS)


def remove_name(name: str, case: str) -> str | None:
    """Return the rest of a name that begins or ends with the name of its case.

    Args:
        name: the name of a file, without suffix.
        case: the id of a case.

    Returns:
        The rest; None where the name neither begins nor ends with the case.

    >>> remove_name("p7_flair", "p7"), remove_name("p70_flair", "p7")
    ('flair', None)
    """
    name_lower, case_lower = name.lower(), case.lower()
    if name_lower == case_lower:
        return ""
    if name_lower.startswith(case_lower) and (name[len(case)] in _SEPARATORS):
        return name[len(case) :].strip(_SEPARATORS)
    if name_lower.endswith(case_lower) and (name[-len(case) - 1] in _SEPARATORS):
        return name[: -len(case)].strip(_SEPARATORS)
    return None
