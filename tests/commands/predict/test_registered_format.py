"""Answers in a format of one's own that is made of several files: all of them are known, and none goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.predict.result import PredictResult
from medseg.commands.records.verify import verify
from medseg.core.image import Image
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.io.formats import table
from medseg.io.formats.stack import Stack
from medseg.io.images import read_image, write_label


def write_pair(path: Path, image: Image, like: Path | None) -> None:
    """Write a header, and the voxels into a folder beside it."""
    path.write_text(json.dumps({"shape": image.array.shape, "affine": image.affine.tolist()}))
    (path.parent / "voxels").mkdir()
    (path.parent / "voxels" / f"{path.stem}.raw").write_bytes(image.array.astype(np.uint8).tobytes())


def read_pair(path: Path) -> Stack:
    """Read what `write_pair` wrote."""
    header = json.loads(path.read_text())
    voxels = np.frombuffer((path.parent / "voxels" / f"{path.stem}.raw").read_bytes(), np.uint8)
    return Stack(voxels.reshape(1, *header["shape"]), np.array(header["affine"]))


@pytest.fixture
def scans(tmp_path: Path, write_scans: Callable[[Path, int], Path]) -> Iterator[Path]:
    before = dict(table.FORMATS)
    table.register(table.Format((".pair",), read_pair, write_pair))
    for path in write_scans(tmp_path / "nifti", 2).iterdir():
        image = read_image(path)
        array = np.clip(image.array, 0, 255).astype(np.uint8)
        write_label(tmp_path / "scans" / f"{path.name.split('_')[0]}.pair", image.with_array(array))
    yield tmp_path / "scans"
    table.FORMATS.clear()
    table.FORMATS.update(before)


def run(scans: Path, out: Path, model: Path, keep: bool = False) -> PredictResult:
    options = PredictOptions(device="cpu", folds=["0"], keep_finished=keep, instances=True, page=False)
    return predict(scans, out, model, options=options)


def test_every_file_of_an_answer_is_known_and_a_lost_one_is_made_again(
    tmp_path: Path, scans: Path, small_model: Path
) -> None:
    out = tmp_path / "out"
    assert list(run(scans, out, small_model).files) == ["scan000", "scan001"]
    lines = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()[1:]]
    of_case = {line["case"]: {*line["files"]} for line in lines}
    assert {"scan000.pair", "voxels/scan000.raw", "instances/voxels/scan000.raw"} <= of_case["scan000"]
    assert verify(out).changes == []
    for name in ("voxels/scan000.raw", "instances/voxels/scan000.raw"):
        data = (out / name).read_bytes()
        (out / name).unlink()
        assert [change.file for change in verify(out).changes] == [name]
        again = run(scans, out, small_model, keep=True)
        assert again.kept == ("scan001",)
        assert (out / name).read_bytes() == data
