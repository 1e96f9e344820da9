"""Pair images and labels whose names are similar but not equal: `21_training` with `21_manual1`, `img_7` with `mask_7`.

The rule: what all names of a side have in common says nothing about the case and is ignored; what remains of an
image's name has to be equal to what remains of its label's. Failing that, the numbers that remain have to be equal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from medseg.io.layouts.words import IMAGE_WORDS, LABEL_WORDS, common_start, words

Key = tuple[str, ...]


def match_similar(images: Collection[str], labels: Collection[str]) -> dict[str, str]:
    """Pair names of images with names of labels.

    At least half of the names of the side that has fewer must find a counterpart, and a number that all names of one
    side share must not differ from one that all names of the other share: `P1_07` does not go with `P2_07`.

    Args:
        images: names without suffix.
        labels: likewise.

    Returns:
        {image: its label}; empty where names do not pair up one to one without doubt.

    >>> match_similar(["21_training", "22_training"], ["21_manual1", "22_manual1"])
    {'21_training': '21_manual1', '22_training': '22_manual1'}
    """
    if not images or not labels:
        return {}
    (image_keys, image_common), (label_keys, label_common) = _keys(images), _keys(labels)
    common_numbers = [{word for word in words if word.isdecimal()} for words in (image_common, label_common)]
    if all(common_numbers) and common_numbers[0] != common_numbers[1]:
        return {}
    return _pairs(image_keys, label_keys) or _pairs(_numbers(image_keys), _numbers(label_keys))


def pairing_note(pairs: Mapping[str, str]) -> str:
    """Return a sentence that shows one pair of names, so that a wrong guess is noticed."""
    first = min(pairs)
    return f"paired by similar names, such as {first} with {pairs[first]}"


def _keys(names: Collection[str]) -> tuple[dict[str, Key], set[str]]:
    """Return the words of each name that tell it from the others, and the words that all names have in common."""
    split = {name: words(name) for name in names}
    if len(split) == 1:
        roles = IMAGE_WORDS | LABEL_WORDS
        return {name: tuple(word for word in parts if word not in roles) for name, parts in split.items()}, set()
    lengths = {len(parts) for parts in split.values()}
    if len(lengths) == 1:
        same = [len(set(column)) == 1 for column in zip(*split.values(), strict=True)]
        keys = {
            name: tuple(word for word, common in zip(parts, same, strict=True) if not common)
            for name, parts in split.items()
        }
        first = next(iter(split.values()))
        return keys, {word for word, common in zip(first, same, strict=True) if common}
    start = common_start(list(split.values()))
    end = common_start([parts[start:][::-1] for parts in split.values()])
    first = next(iter(split.values()))
    keys = {name: parts[start : len(parts) - end] for name, parts in split.items()}
    return keys, {*first[:start], *first[len(first) - end :]}


def _numbers(keys: dict[str, Key]) -> dict[str, Key]:
    """Return the keys reduced to their numbers."""
    return {name: tuple(word for word in key if word.isdecimal()) for name, key in keys.items()}


def _pairs(images: dict[str, Key], labels: dict[str, Key]) -> dict[str, str]:
    """Pair names of equal keys; empty where a key is empty or stands for two names of a side, or where few agree."""
    by_key = {key: name for name, key in labels.items()}
    unique = len(by_key) == len(labels) and len(set(images.values())) == len(images)
    if not unique or () in by_key or () in images.values():
        return {}
    pairs = {name: by_key[key] for name, key in images.items() if key in by_key}
    return pairs if 2 * len(pairs) >= min(len(images), len(labels)) else {}
