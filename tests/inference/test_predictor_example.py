"""The example in the docstring of `Predictor` runs, where its model and its scan are."""

import doctest
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.core.errors import ScanWarning
from medseg.inference.predictor import Predictor


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Path, save_nifti: Callable[..., Path]
) -> None:
    shutil.copytree(small_model, tmp_path / "runs" / "hippocampus" / "3d_fullres")
    scan = np.random.default_rng(0).normal(100, 20, size=(14, 18, 17)).astype(np.float32)
    save_nifti(tmp_path / "scan.nii.gz", scan, np.diag([-1.0, 1.0, 1.5, 1.0]))
    monkeypatch.chdir(tmp_path)
    text = (Predictor.__doc__ or "").replace("# doctest: +SKIP", "")
    example = doctest.DocTestParser().get_doctest(text, {}, "Predictor", None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScanWarning)
        assert doctest.DocTestRunner().run(example) == doctest.TestResults(0, 5)
