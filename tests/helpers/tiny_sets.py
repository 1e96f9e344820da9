"""Tiny valid inputs of every kind that the verbs take, and the command lines that use them one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np


def write_data(folder: Path) -> None:
    """Five scans with a ball each, as the Decathlon lays them out."""
    generator = np.random.default_rng(0)
    place = np.indices((16, 24, 24))
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    training = []
    for number in range(5):
        centre = np.array([8, 10 + number, 12])[:, None, None, None]
        ball = ((place - centre) ** 2).sum(0) < 30
        scan = (generator.normal(0, 1, ball.shape) + 4 * ball).astype(np.float32)
        image, label = f"imagesTr/case_{number}.nii.gz", f"labelsTr/case_{number}.nii.gz"
        nib.Nifti1Image(scan, np.eye(4)).to_filename(folder / image)
        nib.Nifti1Image(ball.astype(np.uint8), np.eye(4)).to_filename(folder / label)
        training.append({"image": image, "label": label})
    declared = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "ball": 1}, "training": training}
    (folder / "dataset.json").write_text(json.dumps({**declared, "file_ending": ".nii.gz", "numTraining": 5}))


def write_labelme(folder: Path) -> None:
    """One annotated picture."""
    from PIL import Image

    folder.mkdir()
    Image.new("L", (16, 16)).save(folder / "a.png")
    shape = {"label": "cell", "points": [[2, 2], [12, 2], [12, 12]], "shape_type": "polygon"}
    content = {"imagePath": "a.png", "imageData": None, "imageHeight": 16, "imageWidth": 16, "shapes": [shape]}
    (folder / "a.json").write_text(json.dumps(content))


def write_dicom(folder: Path) -> None:
    """One series, and beside the folder labels on its grid."""
    from dicom_answers import labels, written_series

    from medseg.core.image import Image
    from medseg.io.images import write_label

    folder.mkdir()
    volume = written_series(folder)
    write_label(folder.parent / "study_labels.nii.gz", Image(labels()[None], volume.image.affine))


def write_all(folder: Path) -> None:
    """Write what `VERBS` take: data, drawn, study, study_labels.nii.gz, nnunet."""
    from nnunet_folders import write_model

    folder.mkdir(parents=True, exist_ok=True)
    write_data(folder / "data")
    write_labelme(folder / "drawn")
    write_dicom(folder / "study")
    write_model(folder / "nnunet")


TRAIN = ["train", "--steps", "2", "--set", "training.validation_cases=1"]
DICOM = ["dicom", "study_labels.nii.gz", "study", "objects", "--structures", "liver=1", "--structures", "spleen=2"]
VERBS = [
    ["check", "data"],
    ["series", "study"],
    ["labelme", "drawn", "painted"],
    ["plan", "data", "--name", "balls", "--preset", "cpu"],
    TRAIN,
    ["predict", "data/imagesTr", "answers"],
    ["evaluate", "answers", "data/labelsTr"],
    ["watch", "data/imagesTr", "watched", "--once"],
    ["report", "runs/balls/3d_fullres/fold_0"],
    ["package", "balls/3d_fullres", "balls.medseg"],
    ["import-nnunet", "nnunet"],
    ["verify", "runs/balls/3d_fullres/fold_0"],
    ["predict", "data/imagesTr/case_0.nii.gz", "packed", "--model", "balls.medseg"],
    ["predict", "study", "study_answers", "--model", "balls.medseg", "--write", "labels,seg,rtstruct,report"],
    DICOM,
    ["demo", "demo", "--budget", "5s"],
]
"""Every verb, in an order in which each finds what it needs."""
