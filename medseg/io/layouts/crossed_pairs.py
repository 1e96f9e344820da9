"""Recognize lists of cases that pair an image with the label of another one, as two lists in different orders do.

Such lists also name one label for several images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.wording import counted
from medseg.io.formats.table import split_suffix
from medseg.io.layouts.dataset import Why
from medseg.io.layouts.file_names.names import split_channel


def crossed_note(cases: Sequence[Case]) -> list[str]:
    """Return a note on the cases whose image has the name of another case's label; nothing where there are none.

    Args:
        cases: the cases of a data set.
    """
    pairs = {case.id: (case.channels[0], case.label) for case in cases if case.channels and case.label is not None}
    labels = {id: split_suffix(label)[0] for id, (_, label) in pairs.items()}
    if len({*labels.values()}) < len(labels):
        return []  # names such as seg.nii.gz in the folder of each case
    crossed = []
    for id, (image, label) in pairs.items():
        stem = split_suffix(image)[0]
        names = {stem, split_channel(stem)[0]}
        if labels[id] not in names and not names.isdisjoint(labels.values()):
            crossed.append(f"{image.name} with {label.name}")
    if not crossed:
        return []
    return [
        f"{counted(len(crossed), 'image')} paired with the label of another image's name, such as {crossed[0]}: look "
        "whether the list of images and that of labels were in the same order when they were joined"
    ]


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
