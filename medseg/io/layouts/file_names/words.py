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
SEPARATORS = "_- .,"
"""Characters between the parts of a name."""


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
    return [part for part in re.split(f"[{re.escape(SEPARATORS)}]+", name) if part]


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
    for position in (match.start() for match in re.finditer(f"[{re.escape(SEPARATORS)}]", name)):
        before, after = name[:position], name[position:].strip(SEPARATORS)
        yield before, after
        yield after, before.strip(SEPARATORS)


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
    if name_lower.startswith(case_lower) and (name[len(case)] in SEPARATORS):
        return name[len(case) :].strip(SEPARATORS)
    if name_lower.endswith(case_lower) and (name[-len(case) - 1] in SEPARATORS):
        return name[: -len(case)].strip(SEPARATORS)
    return None


def further_mask(name: str, label: str) -> bool:
    """Return whether a name is that of one more label file beside another one: the same name with a number.

    Args:
        name: of a file without suffix, or its role in a case.
        label: the name or role of the label file.

    >>> further_mask("p4_mask_1", "p4_mask"), further_mask("p4_1", "p4"), further_mask("p4_mask2", "p4")
    (True, True, True)
    >>> further_mask("p40", "p4"), further_mask("p4_liver", "p4")
    (False, False)
    """
    shorter, longer = words(label), words(name)
    rest = [word for word in longer[len(shorter) :] if word not in LABEL_WORDS]
    if longer[: len(shorter)] != shorter or len(longer) == len(shorter) or not name.lower().startswith(label.lower()):
        return False
    return all(word.isdecimal() for word in rest) and bool(rest)
