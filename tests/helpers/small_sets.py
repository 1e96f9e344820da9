"""Small data sets of every kind that the options of the verbs are about, written as files."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as pillow
from typer.testing import CliRunner

from medseg.cli.app import _run

SHAPE = (16, 24, 24)


def run(line: str) -> int:
    """Run a command line in this process, as `medseg` does; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["medseg", *shlex.split(line)])
        return _run()


def cli_runner() -> CliRunner:
    """Return a runner that keeps standard output and error apart, as click does by itself since 8.2."""
    return CliRunner(mix_stderr=False) if "mix_stderr" in signature(CliRunner).parameters else CliRunner()


def write_all(folder: Path) -> None:
    """Write every set of this module, each under its name, with tables and models for the options of the verbs."""
    from nnunet_folders import dataset, plans, write_model

    write_data(folder / "data")
    write_flat(folder / "flat")
    write_pictures(folder / "pictures")
    write_labelme(folder / "drawn")
    write_study(folder / "study")
    write_study(folder / "inbox" / "study")
    write_studies(folder / "studies")
    shutil.copytree(folder / "studies", folder / "answered_studies")  # no file is scored against itself
    (folder / "exclude.txt").write_text("case_4\n")
    sites = "north", "north", "south", "south", "south"
    rows = [f"case_{number},{number},ball,{site}" for number, site in enumerate(sites)]
    (folder / "table.csv").write_text("\n".join(["id,patient,annotated,site", *rows]))
    (folder / "card.yaml").write_text("author: A\n")
    for number in range(5):
        label = folder / "data" / "labelsTr" / f"case_{number}.nii.gz"
        copies = folder / "masks" / label.name, folder / "second_masks" / label.name
        for path in (*copies, folder / "renamed" / f"subject-{number}.nii.gz"):
            path.parent.mkdir(exist_ok=True)
            shutil.copy(label, path)
        flat = folder / "flat" / f"p{number}_seg.nii.gz"
        for kind in ("soft", "soft_labels"):
            (folder / kind).mkdir(exist_ok=True)
            shutil.copy(flat, folder / kind / f"p{number}.nii.gz")
    write_map(folder / "map.nii.gz")
    write_model(folder / "nnunet")
    (folder / "raw").mkdir()
    (folder / "raw" / "plans.json").write_text(json.dumps(plans()))
    (folder / "declared.json").write_text(json.dumps(dataset()))


def write_map(path: Path) -> Path:
    """Write a label map on the grid of `write_study`."""
    block = np.zeros((16, 16, 8), np.uint8)
    block[4:10, 4:10, 2:6] = 1
    affine = np.diag([-1.5, -2.0, 3.0, 1.0])  # axes that run to L and P
    affine[:3, 3] = -10, -20, 30
    return save_nifti(path, block, affine)


def scan_and_ball(number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(x, y, z) noise with a bright ball, which lies a bit further with every number, and the ball's mask."""
    ball = ball_at(8, 10 + number % 5, 12) < 30
    noise = np.random.default_rng(number).normal(0, 1, SHAPE)
    return (noise + 4 * ball).astype(np.float32), ball.astype(np.uint8)


def ball_at(*centre: int) -> NDArray[Any]:
    """Squared distance of every voxel of `SHAPE` from a centre."""
    return ((np.indices(SHAPE) - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0)


def save_nifti(path: Path, array: NDArray[Any], affine: NDArray[Any] | None = None) -> Path:
    """Write an array (x, y, z) or (x, y, z, time)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(array, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def write_data(folder: Path, cases: int = 5) -> Path:
    """Scans with a ball each, as nnU-Net lays them out, without _0000."""
    training = []
    for number in range(cases):
        scan, ball = scan_and_ball(number)
        image, label = f"imagesTr/case_{number}.nii.gz", f"labelsTr/case_{number}.nii.gz"
        save_nifti(folder / image, scan)
        save_nifti(folder / label, ball)
        training.append({"image": image, "label": label})
    declared = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "ball": 1}, "training": training}
    (folder / "dataset.json").write_text(json.dumps({**declared, "file_ending": ".nii.gz", "numTraining": cases}))
    return folder


def write_flat(folder: Path) -> Path:
    """Time series of two volumes, and soft masks on another grid: p0_flair.nii.gz, p0_seg.nii.gz, ..."""
    for number in range(5):
        scan, ball = scan_and_ball(number)
        save_nifti(folder / f"p{number}_flair.nii.gz", np.stack([scan, scan], axis=-1))
        soft = ball.astype(np.float32) * np.float32(0.75)
        soft[0, 0, :3] = 0.1, 0.2, 0.3
        shifted = np.eye(4)
        shifted[:3, 3] = 0.25
        save_nifti(folder / f"p{number}_seg.nii.gz", soft, shifted)
    return folder


def write_pictures(folder: Path) -> Path:
    """Grey pictures in images/, and masks in masks/ with a red and a green square on black."""
    for number in range(5):
        grey = np.random.default_rng(number).integers(0, 90, (32, 32)).astype(np.uint8)
        colours = np.zeros((32, 32, 3), np.uint8)
        colours[4:14, 4 + number : 14 + number] = 255, 0, 0
        colours[18:28, 18:28] = 0, 255, 0
        grey[colours.any(axis=2)] += 100
        for kind, array in (("images", grey), ("masks", colours)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            pillow.fromarray(array).save(folder / kind / f"cell{number}.png")
    return folder


def write_labelme(folder: Path) -> Path:
    """One annotated picture, and labels.txt."""
    folder.mkdir()
    pillow.new("L", (16, 16)).save(folder / "a.png")
    shape = {"label": "cell", "points": [[2, 2], [12, 2], [12, 12]], "shape_type": "polygon"}
    content = {"imagePath": "a.png", "imageData": None, "imageHeight": 16, "imageWidth": 16, "shapes": [shape]}
    (folder / "a.json").write_text(json.dumps(content))
    (folder / "labels.txt").write_text("__ignore__\n_background_\ncell\n")
    return folder


def write_study(folder: Path, name: str = "study", **changes: Any) -> Path:
    """One CT series of 8 slices of 16 x 16, in a study of its own."""
    from dicom.builders import uid, write_series

    pixels = np.random.default_rng(len(name)).integers(0, 200, (8, 16, 16)).astype(np.int16)
    write_series(folder, pixels, series=name, StudyInstanceUID=uid(name), **changes)
    return folder


def write_studies(folder: Path, cases: int = 5) -> Path:
    """Studies with a CT and an RTSTRUCT of two structures that overlap, GTV and lung, in a folder each."""
    from dicom.builders import save, uid
    from dicom.label_builders import box, grid, rtstruct

    for number in range(cases):
        name = f"p{number}"
        write_study(folder / name, name, PatientID=name)
        contours = {
            "GTV-1": [box(3, 3, 9, 9, z) for z in range(1, 6)],
            "lung": [box(6, 6, 13, 13, z) for z in range(1, 6)],
        }
        structures = rtstruct(contours, grid((8, 16, 16)), series=name)
        structures.StudyInstanceUID = uid(name)
        save(structures, folder / name / "rtstruct.dcm")
    return folder
