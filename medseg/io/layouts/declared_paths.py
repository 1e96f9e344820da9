"""Find the files that a list of cases names, as the systems and programs that write such lists name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medseg.core.case import Case
from medseg.io.layouts.dataset import Why


def declared_path(name: str, *roots: Path, exists: Callable[[Path], bool] = Path.exists) -> Path:
    r"""Return the file that a list names.

    Lists that were written on Windows separate folders by backslashes. A backslash may also be part of a file's name,
    so that the name is first looked for as it stands.

    Args:
        name: the name in the list, relative to one of the folders, or absolute.
        roots: the folders that it may start from.
        exists: whether a path names something that is there.

    Returns:
        The first path at which there is something; else the path in the first folder, with slashes.

    >>> declared_path("labelsTr\\a.nii.gz", Path("data")).as_posix()
    'data/labelsTr/a.nii.gz'
    """
    spellings = dict.fromkeys((name, name.replace("\\", "/")))
    candidates = [root / spelling for spelling in spellings for root in roots]
    return next((path for path in candidates if exists(path)), roots[0] / [*spellings][-1])


def listed_again(source: str, case: Case, images: tuple[Path, ...], label: Path) -> str:
    """Return why an entry of a list is left out that has the id of an earlier one.

    Args:
        source: the name of the list.
        case: the case of the earlier entry.
        images: the images of the later entry.
        label: its label.
    """
    if (case.channels, case.label) == (images, label):
        return f"{source} lists it twice; the first one counts"
    return Why(
        f"{source} lists {label.name} with {case.channels[0].name}, and again with {images[0].name}; the first "
        "one counts\nGive each image the label that was drawn on it; files in folders of their own need names of their "
        "own, too."
    )
