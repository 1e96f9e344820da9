"""The words that data sets have for the parts of a split: one table for folders, lists, columns and keys of JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medseg.io.layouts.file_names.words import IMAGE_WORDS, LABEL_WORDS, words

PARTS: Mapping[str, str] = {
    **dict.fromkeys(("training", "train", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
    **dict.fromkeys(("testing", "test", "ts"), "test"),
}
"""Words for the parts of a split -> the part, in the order in which names are searched for them."""

TRAINVAL = "trainval"
"""The word for train and val together."""

COLUMNS = ("split", "set", "image_set", "subset", "partition")
"""Columns of tables that may hold a split, in upper or lower case; the first that does counts."""

SHORT = frozenset(("tr", "ts", "dev"))
"""Words that a folder may have for anything, unless a word for images or labels stands beside them (`imagesTr`)."""

SET_WORDS = frozenset(("set", "sets", "dataset", "data", "subset", "split", "part"))
"""Words beside that of a part which do not change it: `training_set`, `TestDataset`."""

_YEAR = re.compile(r"(?:19|20)\d\d")  # as in train2017

_LIST_WORDS = frozenset(
    (
        *("list", "lists", "id", "ids", "file", "files", "filename", "filenames", "name", "names", "index", "indices"),
        *("image", "images", "img", "imgs", "case", "cases", "aug", "augmented"),
    )
)
"""The same in names of lists: `train_aug`, `val_ids`."""

_BESIDE = SET_WORDS | _LIST_WORDS | IMAGE_WORDS | LABEL_WORDS
"""Words that are written together with that of a part: `trainannot`, `imagesTr`."""


def part_named(text: str) -> str | None:
    """Return the part of a split that the name of a list, or a value in a table, means; None where it means none.

    >>> part_named("train"), part_named("Validation set"), part_named("val2012"), part_named("test_ids")
    ('train', 'val', 'val', 'test')
    >>> part_named("train_aug"), part_named("trainaug"), part_named("trainval"), part_named("train_fold1")
    ('train', 'train', 'trainval', None)
    """
    if text.strip().lower() == TRAINVAL:
        return TRAINVAL
    word, others = part_and_others(text)
    return PARTS[word] if word and others <= _LIST_WORDS else None


def words_for_parts(value: str) -> tuple[str, ...]:
    """Return what a value in a table names as parts, in lower case and each once: `train+val` names two.

    >>> words_for_parts("Train"), words_for_parts("train+val"), words_for_parts("test set; "), words_for_parts(" ")
    (('train',), ('train', 'val'), ('test set',), ())
    """
    return tuple(dict.fromkeys(word.strip() for word in re.split(r"[+;,|/]+", value.lower()) if word.strip()))


def part_and_others(name: str) -> tuple[str, set[str]]:
    """Return the word in a name that says a part, and the other words that say something; ("", ...) without a part.

    >>> part_and_others("training_set"), part_and_others("trainannot"), part_and_others("imagesTs2017")
    (('training', set()), ('train', {'annot'}), ('ts', {'images'}))
    >>> part_and_others("contrast")
    ('', {'contrast'})
    """
    pieces = [piece for word in words(name) for piece in _taken_apart(word)]
    part = next((piece for piece in pieces if piece in PARTS), "")
    if part:
        pieces.remove(part)
    return part, {piece for piece in pieces if piece not in SET_WORDS and not _YEAR.fullmatch(piece)}


def _taken_apart(word: str) -> tuple[str, ...]:
    """Return a word as it is, or as two where it is that of a part, written together with one that goes with it."""
    for part in PARTS if word not in PARTS else ():
        for rest, pieces in ((word.removeprefix(part), (part,)), (word.removesuffix(part), ())):
            if rest != word and rest in _BESIDE:
                return (*pieces, rest) if pieces else (rest, part)
    return (word,)
