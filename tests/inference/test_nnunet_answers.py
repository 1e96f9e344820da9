"""nnU-Net's own models, run as they are on its scans: the labels must be the ones that nnU-Net wrote.

Reading, geometry, crop, normalization, resampling, network, tiles, flips, folds and label decisions all have to agree
for this to pass. nnU-Net adds its tiles up in half precision: with float32 it differs from itself by up to 23 voxels.
"""

from pathlib import Path

import numpy as np
import pytest
from builders import GOLDENS, NNUNET

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.io.images import read_label

MODELS = ["plain3d", "plain3d_small_patch", "resenc3d", "aniso3d", "plain2d", "regions3d"]
CASES = [f"case{number}" for number in range(6)]
LEAST_AGREEMENT = 0.9999
LEAST_DICE = 0.995

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"no goldens in {GOLDENS}; set MEDSEG_TEST_GOLDENS"),
]


@pytest.mark.parametrize(
    ("mirror", "cases"), [(False, CASES), (True, CASES[::3])]
)  # mirrored, each takes up to 8 times
@pytest.mark.parametrize("model", MODELS)
def test_answers_equal_nnunets(tmp_path: Path, model: str, mirror: bool, cases: list[str]) -> None:
    for scan in (NNUNET / "scans").iterdir():
        if scan.name.split("_0")[0] in cases:
            (tmp_path / "scans").mkdir(exist_ok=True)
            (tmp_path / "scans" / scan.name).symlink_to(scan.resolve())
    options = PredictOptions(mirror=mirror, device="cpu", overrides=["inference.precision=fp32"])
    result = predict(tmp_path / "scans", tmp_path / "out", NNUNET / model / "model", options=options)
    assert result.failed == {}
    assert [*result.files] == cases  # case0_0000.nii.gz is answered as case0.nii.gz
    voxels = equal = 0
    for case in cases:
        assert result.files[case] == tmp_path / "out" / f"{case}.nii.gz"
        ours = read_label(result.files[case])
        theirs = read_label(NNUNET / model / ("expected_mirrored" if mirror else "expected") / f"{case}.nii.gz")
        assert ours.same_grid(theirs)
        voxels += theirs.array.size
        equal += int((ours.array == theirs.array).sum())
        for value in {*np.unique(theirs.array).tolist(), *np.unique(ours.array).tolist()} - {0}:
            one, other = ours.array == value, theirs.array == value
            dice = 2 * (one & other).sum() / (one.sum() + other.sum())
            assert dice >= LEAST_DICE, (case, value)
    assert equal >= LEAST_AGREEMENT * voxels
