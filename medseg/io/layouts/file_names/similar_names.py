"""Pair images and labels whose names are similar but not equal: `21_training` with `21_manual1`, `img_7` with `mask_7`.

The rule: what all names of a side have in common says nothing about the case and is ignored; what remains of an
image's name has to be equal to what remains of its label's. Failing that, the numbers that remain have to be equal.
A word before a part says what the part is: `p1_s2` belongs to `s2_p1`, and not to `s1_p2`. Where several parts differ
and such words do not say which is which, nothing is paired: the place of a number in a name is not a proof.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from medseg.io.layouts.file_names.words import IMAGE_WORDS, LABEL_WORDS, common_start, words

_ROLES = IMAGE_WORDS | LABEL_WORDS
Field = tuple[str, str]
"""A part of a name that tells it from the others: the word before it that says what it is (or ""), and its value."""
Key = tuple[Field, ...]


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
    >>> match_similar(["p1_s2", "p2_s1"], ["s1_p2", "s2_p1"])
    {'p1_s2': 's2_p1', 'p2_s1': 's1_p2'}
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
    """Return the parts of each name that tell it from the others, and the words that all names have in common."""
    split = {name: words(name) for name in names}
    if len(split) == 1:
        return {name: _fields(parts, [part not in _ROLES for part in parts]) for name, parts in split.items()}, set()
    first = next(iter(split.values()))
    if len({len(parts) for parts in split.values()}) == 1:
        varies = [len(set(column)) > 1 for column in zip(*split.values(), strict=True)]
        common = {word for word, varied in zip(first, varies, strict=True) if not varied}
        return {name: _fields(parts, varies) for name, parts in split.items()}, common
    start = common_start(list(split.values()))
    end = common_start([parts[start:][::-1] for parts in split.values()])
    keys = {}
    for name, parts in split.items():
        keys[name] = _fields(parts, [start <= index < len(parts) - end for index in range(len(parts))])
    return keys, {*first[:start], *first[len(first) - end :]}


def _fields(parts: tuple[str, ...], taken: list[bool]) -> Key:
    """Return the taken parts of a name, each with the word before it if that is neither a number nor a role."""
    before = ("", *parts[:-1])
    return tuple(
        ("" if word.isdecimal() or word in _ROLES else word, part)
        for word, part, take in zip(before, parts, taken, strict=True)
        if take
    )


def _numbers(keys: dict[str, Key]) -> dict[str, Key]:
    """Return the keys reduced to their numbers."""
    return {name: tuple(field for field in key if field[1].isdecimal()) for name, key in keys.items()}


def _pairs(images: dict[str, Key], labels: dict[str, Key]) -> dict[str, str]:
    """Pair names of equal keys; empty where a key is empty or stands for two names of a side, or where few agree."""
    image_words, label_words = ({word for key in side.values() for word, _ in key} for side in (images, labels))
    shared = image_words & label_words
    one_sided = image_words - shared, label_words - shared
    unclear = (sum(word not in shared for word, _ in key) for key in (*images.values(), *labels.values()))
    if any(count > 1 for count in unclear):  # only the order of the parts would say which is which
        return {}
    named = shared if all(one_sided) else shared - {""}
    image_keys, label_keys = ({name: _ordered(key, named) for name, key in side.items()} for side in (images, labels))
    by_key = {key: name for name, key in label_keys.items()}
    unique = len(by_key) == len(labels) and len(set(image_keys.values())) == len(images)
    if not unique or () in images.values() or () in labels.values():
        return {}
    pairs = {name: by_key[key] for name, key in image_keys.items() if key in by_key}
    return pairs if 2 * len(pairs) >= min(len(images), len(labels)) else {}


def _ordered(key: Key, named: Collection[str]) -> Key:
    """Return the parts that words name in the order of these words, then the others as they stand, without words."""
    return (
        *sorted((f for f in key if f[0] in named), key=lambda f: f[0]),
        *(("", f[1]) for f in key if f[0] not in named),
    )
