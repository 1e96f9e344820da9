"""A prediction of NIfTI scans loads next to nothing of DICOM."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = {"medseg.io.dicom", "medseg.io.dicom.elements"} | {
    f"medseg.io.dicom.elements.{name}" for name in ("files", "modality", "options", "paths", "uids")
}


@pytest.mark.slow
def test_predict_loads_no_reader_of_dicom():
    code = (
        "import sys, medseg.commands.predict.predict\n"
        "print(*[name for name in sys.modules if name.startswith(('medseg.io.dicom', 'pydicom', 'highdicom'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= LIGHT
