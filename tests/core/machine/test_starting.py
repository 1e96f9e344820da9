"""What a command imports, and how: a prediction of a NIfTI scan as it is typed, in a process of its own."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.core.machine.starting import starting

NOT_NEEDED = {"pydicom", "highdicom", "scipy.ndimage", "sklearn", "monai", "numba", "matplotlib", "SimpleITK"}
NOT_NEEDED |= {"torch._dynamo", "onnx", "onnxruntime", "nncf", "tifffile", "h5py", "distributed"}
OF_DICOM = {"medseg.io.dicom", "medseg.io.dicom.elements"} | {
    f"medseg.io.dicom.elements.{name}" for name in ("files", "modality", "options", "paths", "uids")
}
PREDICT = """
import json, sys
from medseg.cli.app import main
sys.argv[0] = "medseg"
try:
    main()
except SystemExit as end:
    import gc
    print(json.dumps([end.code, gc.isenabled(), gc.get_freeze_count() > 0, sorted(sys.modules)]))
"""

FAILS = """
import gc
from medseg.core.machine.starting import starting
try:
    with starting():
        raise ImportError
except ImportError:
    import pydicom
    print(gc.isenabled(), pydicom.__name__)
"""


@pytest.mark.slow
def test_an_import_that_fails_leaves_python_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "pydicom"]


@pytest.mark.slow
def test_a_prediction_of_a_nifti_scan_imports_what_it_needs(
    tmp_path: Path, small_model: Path, save_nifti: Callable[..., Path]
) -> None:
    scan = np.random.default_rng(0).normal(100, 20, size=(17, 18, 14)).astype(np.float32)
    path = save_nifti(tmp_path / "scan.nii.gz", scan, np.diag([1.2, 1.2, 1.0, 1.0]))  # the grid of the model
    words = ["predict", path, tmp_path / "out", "--model", small_model, "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", PREDICT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code, collects, frozen, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "scan.nii.gz").exists()
    assert {*modules} & NOT_NEEDED == set()
    assert {name for name in modules if name.startswith("medseg.io.dicom")} <= OF_DICOM
    assert {"nibabel", "torch"} <= {*modules}
    assert (collects, frozen) == (True, True)


def test_a_process_that_did_something_before_is_left_as_it_is() -> None:
    hidden = sys.modules.get("pydicom", "not imported")
    before = gc.get_freeze_count()
    with starting():
        assert gc.isenabled()
        assert sys.modules.get("pydicom", "not imported") == hidden
    assert gc.get_freeze_count() == before
