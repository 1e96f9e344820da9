"""Images and labels whose names are similar but not equal: `21_training` with `21_manual1`, `img_07` with `mask_07`.

The rule: what all names of a side have in common says nothing about the case and is left aside; what remains of an
image's name has to be equal to what remains of its label's. Failing that, the numbers that remain have to be equal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from medseg.io.layouts.words import IMAGE_WORDS, LABEL_WORDS, words

Key = tuple[str, ...]


def match_similar(images: Collection[str], labels: Collection[str]) -> dict[str, str]:
    """{image: its label}; empty where names do not pair up one to one, which includes every doubt.

    At least half of the names of the side that has fewer must find a counterpart, and a number that all names of one
    side share must not differ from one that all names of the other share: `P1_07` does not go with `P2_07`.
    """
    if not images or not labels:
        return {}
    (image_keys, image_common), (label_keys, label_common) = _keys(images), _keys(labels)
    common = [{word for word in words if word.isdecimal()} for words in (image_common, label_common)]
    if all(common) and common[0] != common[1]:
        return {}
    return _pairs(image_keys, label_keys) or _pairs(_numbers(image_keys), _numbers(label_keys))


def pairing_note(pairs: Mapping[str, str]) -> str:
    """A sentence that shows how names were paired, so that a wrong guess is seen."""
    first = min(pairs)
    return f"paired by similar names, such as {first} with {pairs[first]}"


def _keys(names: Collection[str]) -> tuple[dict[str, Key], set[str]]:
    """What tells the names apart, and the words that they all have."""
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
    start = _common(list(split.values()))
    end = _common([parts[start:][::-1] for parts in split.values()])
    first = next(iter(split.values()))
    keys = {name: parts[start : len(parts) - end] for name, parts in split.items()}
    return keys, {*first[:start], *first[len(first) - end :]}


def _common(lists: list[Key]) -> int:
    """How many words all lists begin with."""
    count = 0
    for column in zip(*lists, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count


def _numbers(keys: dict[str, Key]) -> dict[str, Key]:
    return {name: tuple(word for word in key if word.isdecimal()) for name, key in keys.items()}


def _pairs(images: dict[str, Key], labels: dict[str, Key]) -> dict[str, str]:
    """Names by equal keys; nothing where a key is empty or stands for two names of a side, or where few agree."""
    by_key = {key: name for name, key in labels.items()}
    unique = len(by_key) == len(labels) and len(set(images.values())) == len(images)
    if not unique or () in by_key or () in images.values():
        return {}
    pairs = {name: by_key[key] for name, key in images.items() if key in by_key}
    return pairs if 2 * len(pairs) >= min(len(images), len(labels)) else {}
