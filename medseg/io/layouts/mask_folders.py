"""Read labels that are masks in folders: one for each image (`masks/p4/cup.png`), or for each structure.

In `masks/cup/p4.png` and `masks/disc/p4.png` the files are named after the images; in `masks/p4/cup.png` the folders
are, and by that the two are told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from medseg.core.errors import DataError
from medseg.core.wording import first_few
from medseg.io.formats.table import split_suffix
from medseg.io.layouts.dataset import Why
from medseg.io.layouts.file_names.names import split_channel
from medseg.io.layouts.file_names.similar_names import match_similar
from medseg.io.layouts.file_names.words import SEPARATORS, chunks
from medseg.io.several_files import images_in, path_in_each, structure_folders, structure_masks

_Masks = dict[str, dict[str, Path]]
"""Name of an image -> name of a folder -> the mask."""


def labels_of_masks(folder: Path, images: Collection[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the labels in a folder of folders of masks.

    Args:
        folder: of the labels.
        images: the names of the images, without suffix.

    Returns:
        {name of the image, or one like it: path of its label}, and {name: why it is left out}.

    Raises:
        DataError: no image has masks in two folders, so that these are perhaps no structures.
    """
    by_image = {path.name: path for path in sorted(folder.iterdir()) if images_in(path)}
    masks = _by_structure(folder, images)
    if _count(masks, images) <= _count(by_image, images):
        return by_image, {}
    folders = {name for of_image in masks.values() for name in of_image}
    if len(folders) > 1 and all(len(of_image) == 1 for of_image in masks.values()):
        first = next(iter(masks))
        raise DataError(
            f"{folder} has {len(folders)} folders of masks ({first_few(sorted(folders))}), and no image has a mask in "
            "two of them: whether they are structures, or patients or parts, is not clear.",
            f"For structures, list the cases in a table (--cases TABLE.csv) whose column label has "
            f"{path_in_each(Path(folder.name), f'{first}.png').as_posix()} and so on, with the sign *; else the files.",
        )
    labels = {image: path_in_each(folder, _name(image, of_image)) for image, of_image in masks.items()}
    unclear: dict[str, str] = {
        image: Why(f"which files in the folders of {folder} are its masks is not clear: one of each is expected")
        for image, path in labels.items()
        if dict(structure_masks(path)) != masks[image]
    }
    return labels, unclear


def _name(image: str, masks: Mapping[str, Path]) -> str:
    """Return the name of an image with the suffix of its first mask."""
    return image + split_suffix(next(iter(masks.values())))[1]


def _count(names: Collection[str], images: Collection[str]) -> tuple[int, int]:
    """Return how many of the names are those of images, and how many are similar."""
    known = {*images, *(split_channel(image)[0] for image in images)}
    equal = len(known.intersection(names))
    return equal, 0 if equal else len(match_similar(images, names))


def _by_structure(folder: Path, images: Collection[str]) -> _Masks:
    """Return the masks of each image by the folder in which they lie, under the names that are most like the images'.

    The name of a mask is that of the image, or has a word more that all masks of the folder share: `p4_cup`.
    """
    files = {path.name: images_in(path) for path in structure_folders(folder)}
    named = [_masks_named(files, shorten) for shorten in (_as_it_is, _without_last, _without_first)]
    return max(named, key=lambda masks: _count(masks, images))


def _masks_named(files: Mapping[str, list[Path]], shorten: Callable[[list[str]], list[str]]) -> _Masks:
    """Return masks by image and folder, with names from those of all files of a folder."""
    masks: _Masks = {}
    for folder, paths in files.items():
        names = shorten([split_suffix(path)[0] for path in paths])
        count = Counter(names)
        for name, path in zip(names, paths, strict=True):
            masks.setdefault(name, {})[folder] = path if count[name] == 1 else path.parent
    return masks


def _as_it_is(names: list[str]) -> list[str]:
    return names


def _without_last(names: list[str]) -> list[str]:
    """Return names without their last word, if all share it and it is no number.

    >>> _without_last(["p4_cup", "p5_cup"]), _without_last(["p4", "p5"])
    (['p4', 'p5'], ['p4', 'p5'])
    """
    words = {part[-1] for name in names if (part := chunks(name))}
    shared = _only_word(words, names)
    return [name[: -len(shared)].rstrip(SEPARATORS) for name in names] if shared else names


def _without_first(names: list[str]) -> list[str]:
    """Return names without their first word, if all share it and it is no number."""
    words = {part[0] for name in names if (part := chunks(name))}
    shared = _only_word(words, names)
    return [name[len(shared) :].lstrip(SEPARATORS) for name in names] if shared else names


def _only_word(words: Collection[str], names: list[str]) -> str:
    """Return the word that all names share; "" where there is none, it has a digit, or a name is nothing else."""
    shared = next(iter(words)) if len(words) == 1 else ""
    return "" if any(letter.isdigit() for letter in shared) or shared in names else shared
