"""Made-up data sets and models for `growth.py`: any number of cases, voxels, structures and channels, fixed seeds."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from medseg.core.image import Image
from medseg.io.formats import gz
from medseg.io.images import write_label
from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, FoldFolder
from medseg.plans.file import save_plan
from medseg.plans.schema import Plan

SPACING_MM = 0.8


def label_map(side: int, structures: int, seed: int) -> np.ndarray:
    """(z, y, x) uint8 or uint16: a body in the middle half of the grid, cut into boxes, one after another a structure.

    Each case has all structures; where their borders lie differs from case to case.
    """
    rng = np.random.default_rng(seed)
    parts = int(np.ceil(structures ** (1 / 3)))
    cuts = [np.linspace(side / 4, 3 * side / 4, parts + 1) + rng.uniform(-0.5, 0.5) * side / 16 for _ in range(3)]
    z, y, x = (np.searchsorted(cut, np.arange(side), "right") - 1 for cut in cuts)
    label = np.zeros((side,) * 3, np.uint8 if structures < 256 else np.uint16)
    inside = (y[:, None] >= 0) & (y[:, None] < parts) & (x >= 0) & (x < parts)
    for plane, row in enumerate(z):
        if 0 <= row < parts:
            number = (row * parts + y[:, None]) * parts + x
            label[plane] = np.where(inside, number % structures + 1, 0)
    return label


def write_scan(path: Path, label: np.ndarray, structures: int, seed: int) -> None:
    """Write a scan in HU: air, a body whose structures differ in density, and noise."""
    rng = np.random.default_rng(seed)
    density = np.concatenate([[-1000], rng.permutation(structures) * (250 / structures) - 50]).astype(np.float32)
    scan = np.empty(label.shape, np.int16)
    tile = rng.normal(0, 20, size=(16, *label.shape[1:])).astype(np.float32)
    for z, plane in enumerate(label):
        scan[z] = density[plane] + np.roll(tile[z % 16], int(rng.integers(label.shape[2])), axis=1)
    header = nib.Nifti1Image(scan[:1, :1, :1].transpose(), np.eye(4)).header
    header.set_data_shape(label.shape[::-1])
    header.set_sform(np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0]), code=1)
    header.set_qform(np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0]), code=1)
    begin = bytes(header.binaryblock) + b"\0\0\0\0"
    path.write_bytes(b"".join(gz.pack([begin, *(plane.tobytes() for plane in scan)])))


def make_set(folder: Path, cases: int, side: int, structures: int, channels: int) -> Path:
    """Write a data set in nnU-Net's layout, unless it is there: cubes of `side` voxels, 0.8 mm each."""
    if (folder / "dataset.json").exists():
        return folder
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
    for case in range(cases):
        name = f"case{case:05}"
        label = label_map(side, structures, case)
        write_label(folder / "labelsTr" / f"{name}.nii.gz", Image(label[None], affine))
        for channel in range(channels):
            write_scan(
                folder / "imagesTr" / f"{name}_{channel:04}.nii.gz", label, structures, case * channels + channel
            )
    content = {
        "channel_names": {str(channel): f"CT{channel}" for channel in range(channels)},
        "labels": {"background": 0, **{f"structure_{number}": number for number in range(1, structures + 1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def make_model(plan: Plan, folder: Path, seed: int = 0) -> None:
    """Write a run of one fold with weights that were drawn, not trained, and smoothed, so that answers form patches."""
    torch.manual_seed(seed)
    configuration = plan.configuration(plan.default_configuration)
    network = make_network(plan, configuration).eval()
    blur = torch.tensor([0.25, 0.5, 0.25])
    blur = blur[:, None, None] * blur[:, None] * blur
    for name, parameter in network.named_parameters():
        if parameter.ndim == 5 and "decoder" in name and parameter.shape[-3:] == blur.shape:
            parameter.data.copy_(parameter.data.sum((2, 3, 4), keepdim=True) * blur)
    save_plan(plan, folder / "fold_0" / PLAN)
    save_weights(network, FoldFolder(folder / "fold_0"), RunRecord(configuration=plan.default_configuration))
