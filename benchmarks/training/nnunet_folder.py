"""Write a data set in nnU-Net's layout, for the benchmarks that run both programs on it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

DATASET = "Dataset004_Set"


def is_3d(data: Path) -> bool:
    """Return whether a folder holds volumes, as the Medical Segmentation Decathlon has them; else 2D images."""
    return (data / "dataset.json").exists()


def make_nnunet_folder(data: Path, raw: Path, left_out: Collection[str] = ()) -> None:
    """Write nnU-Net's folder of a set: links to volumes, or images as RGB with masks of 0 and 1.

    Args:
        data: a folder of the Decathlon, or one with `images` and `masks`.
        raw: nnU-Net's folder of data sets, in which `DATASET` is made.
        left_out: cases that are not to be in it.
    """
    target = raw / DATASET
    for kind in ("imagesTr", "labelsTr"):
        (target / kind).mkdir(parents=True)
    content = _link_volumes(data, target, left_out) if is_3d(data) else _write_images(data, target, left_out)
    content["numTraining"] = len(list((target / "labelsTr").iterdir()))
    (target / "dataset.json").write_text(json.dumps(content))


def _link_volumes(data: Path, target: Path, left_out: Collection[str]) -> dict[str, object]:
    declared = json.loads((data / "dataset.json").read_text())
    for case in declared["training"]:
        name = Path(case["label"]).name
        if name.removesuffix(".nii.gz") in left_out:
            continue
        os.symlink((data / case["image"]).resolve(), target / "imagesTr" / name.replace(".nii.gz", "_0000.nii.gz"))
        os.symlink((data / case["label"]).resolve(), target / "labelsTr" / name)
    return {
        "channel_names": declared["modality"],
        "labels": {name: int(value) for value, name in declared["labels"].items()},
        "file_ending": ".nii.gz",
    }


def _write_images(data: Path, target: Path, left_out: Collection[str]) -> dict[str, object]:
    from PIL import Image

    masks = {file.name.rsplit(".", 1)[0]: file for file in (data / "masks").iterdir()}
    for file in sorted((data / "images").iterdir()):
        case = file.name.rsplit(".", 1)[0]
        if case in left_out:
            continue
        Image.open(file).convert("RGB").save(target / "imagesTr" / f"{case}_0000.png")
        mask = Image.open(masks[case]).convert("L").point(lambda value: int(value > 0))
        mask.save(target / "labelsTr" / f"{case}.png")
    return {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "structure": 1},
        "file_ending": ".png",
    }
