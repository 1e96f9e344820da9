"""Damaged data sets: clean cases, each damaged in one way, beside others that stay as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from damage.volumes import DAMAGE, Files, save

from medseg.planning.findings import ERRORS

STRUCTURES = {"Anterior": 1, "Posterior": 2}


def build(folder: Path, source: Path, names: Sequence[str], damage: Sequence[str] = ()) -> dict[str, str]:
    """Cases of the hippocampus set as nnU-Net lays them out, the last of them damaged; the name of each such case.

    Args:
        folder: where to.
        source: the hippocampus set.
        names: of cases in it; at least one more than kinds of damage.
        damage: keys of `DAMAGE`.
    """
    for id in names:
        for kind, name in (("images", f"{id}_0000"), ("labels", id)):
            target = folder / f"{kind}Tr" / f"{name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / f"{kind}Tr" / f"{id}.nii.gz", target)
    describe(folder, ["MRI"], len(names))
    damaged = dict(zip(damage, names[len(names) - len(damage) :], strict=True))
    for kind, id in damaged.items():
        DAMAGE[kind][1](files_of(folder, id, names[0]))
    return damaged


def describe(folder: Path, channels: Sequence[str], count: int) -> None:
    content = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, **STRUCTURES},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))


def files_of(folder: Path, id: str, other: str) -> Files:
    def image(name: str) -> Path:
        return folder / "imagesTr" / f"{name}_0000.nii.gz"

    def label(name: str) -> Path:
        return folder / "labelsTr" / f"{name}.nii.gz"

    return Files(image(id), label(id), image(other), label(other))


def brightest(path: Path) -> float:
    """The largest value of a scan."""
    return float(np.asarray(nib.load(path).dataobj).max())


def edit(path: Path, move: Sequence[float] = (0, 0, 0), values: float | None = None) -> None:
    """Move a scan by so many mm, or fill it with one value."""
    image = nib.load(path)
    affine, array = image.affine, np.asarray(image.dataobj)
    affine[:3, 3] += move
    save(path, array if values is None else np.full_like(array, values), affine)


def leaves_out(kind: str) -> bool:
    """Whether a finding of this kind leaves its case out."""
    return kind in ERRORS
