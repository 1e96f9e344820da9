"""Read labels that are masks in folders: one for each image (`masks/p4/cup.png`), or for each structure.

In `masks/cup/p4.png` and `masks/disc/p4.png` the files are named after the images; in `masks/p4/cup.png` the folders
are, and by that the two are told apart. What could be both is refused.
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
from medseg.io.layouts.file_names.split_words import part_named
from medseg.io.layouts.file_names.words import SEPARATORS, chunks
from medseg.io.several_files import images_in, path_in_each, structure_folders, structure_masks

_Masks = dict[str, dict[str, Path]]
"""Name of an image -> name of a folder -> the mask."""
_LEAST_SHARED = 0.25
"""Share of the images with masks in two folders below which the folders may be no structures."""


def labels_of_masks(folder: Path, images: Collection[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the labels in a folder of folders of masks.

    Folders that are all named after images are one for each image, whatever their files are called: instances are often
    numbered, as images are.

    Args:
        folder: of the labels.
        images: the names of the images, without suffix.

    Returns:
        {name of the image, or one like it: path of its label}, and {name: why it is left out}.

    Raises:
        DataError: folders and files are both named after images, or the folders are perhaps no structures.
    """
    by_image = {path.name: path for path in sorted(folder.iterdir()) if images_in(path)}
    masks = _by_structure(folder, images)
    folders, files = _count(by_image, images), _count(masks, images)
    if not files[0] and files <= folders:
        return by_image, {}
    if folders[0]:
        if folders[0] == len(by_image) and not _in_every_folder(masks, images):
            return by_image, {}
        if files[0]:
            raise _two_readings(folder, by_image, masks, images)
    _check_structures(folder, masks)
    labels = {image: path_in_each(folder, _name(image, of_image)) for image, of_image in masks.items()}
    unclear: dict[str, str] = {
        image: Why(f"which files in the folders of {folder} are its masks is not clear: one of each is expected")
        for image, path in labels.items()
        if dict(structure_masks(path)) != masks[image]
    }
    return labels, unclear


def _in_every_folder(masks: _Masks, images: Collection[str]) -> bool:
    """Return whether there are several folders, and each has a mask of each image and of nothing else."""
    folders = {name for of_image in masks.values() for name in of_image}
    names = masks.keys()
    every = names == set(images) or names == {split_channel(image)[0] for image in images}
    return every and len(folders) > 1 and all(of_image.keys() == folders for of_image in masks.values())


def _two_readings(folder: Path, by_image: Mapping[str, Path], masks: _Masks, images: Collection[str]) -> DataError:
    """Return the refusal of masks whose folders and files are both named after images."""
    name = next((name for name in by_image if name in images), next(iter(by_image)))
    mask = next(iter(masks))
    return DataError(
        f"In {folder} folders ({name}, ...) and files ({mask}, ...) are both named after images: whether a folder has "
        "the masks of an image, or those of a structure, is not clear.",
        f"List the cases in a table (--cases TABLE.csv) whose column label has the folder {folder.name}/{name} for a "
        f"folder for each image, or {_each_in(folder, masks)}, with the sign *, for a folder for each structure.",
    )


def _check_structures(folder: Path, masks: _Masks) -> None:
    """Refuse folders that are perhaps no structures, but patients, parts of a split, or versions of one mask.

    Structures share images: at least a quarter of the images have masks in two folders, or one folder has all images.

    Raises:
        DataError: there is one folder, one is named after a part of a split, or the folders share few images.
    """
    count = Counter(name for of_image in masks.values() for name in of_image)
    shared = sum(len(of_image) > 1 for of_image in masks.values())
    parts = sorted(name for name in count if part_named(name))
    if len(count) == 1:
        seen = f"{folder} has a single folder of masks ({next(iter(count))})"
    elif parts:
        seen = f"{folder} has folders of masks that are named after parts of a split ({first_few(parts)})"
    elif shared < _LEAST_SHARED * len(masks) and max(count.values()) < len(masks):
        few = f"{shared} of {len(masks)} images have" if shared else "no image has"
        seen = (
            f"{folder} has {len(count)} folders of masks ({first_few(sorted(count))}), and {few} a mask in two of them"
        )
    else:
        return
    raise DataError(
        f"{seen}: whether they are structures, or patients, parts or versions, is not clear.",
        f"For structures, list the cases in a table (--cases TABLE.csv) whose column label has "
        f"{_each_in(folder, masks)} and so on, with the sign *; else the files.",
    )


def _each_in(folder: Path, masks: _Masks) -> str:
    """Return the path that stands for the masks of the first image, as a table beside the folder has it."""
    image, of_image = next(iter(masks.items()))
    return path_in_each(Path(folder.name), _name(image, of_image)).as_posix()


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
