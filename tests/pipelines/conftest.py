"""A model for pipelines: a hippocampus network, trained for some seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

import medseg

CASES = (
    "hippocampus_001",
    "hippocampus_003",
    "hippocampus_004",
    "hippocampus_007",
    "hippocampus_008",
    "hippocampus_011",
)
CODES = "Anterior=anterior hippocampus,Posterior=posterior hippocampus"
_SMALL = [
    "configurations.3d_fullres.batch_size=2",
    "configurations.3d_fullres.patch_voxels=[32, 32, 32]",
    "configurations.3d_fullres.network.features=[8, 16, 32, 64]",
    "training.validation_cases=1",
    "training.validations=1",
    "inference.mirror=false",
]


@pytest.fixture(scope="session")
def hippocampus_model(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder; its plan has the codes of both structures."""
    workspace = tmp_path_factory.mktemp("pipelines")
    scans = sorted((data_dir / "hippocampus" / "imagesTr").glob("*.nii.gz"))
    names = [scan.name.removesuffix(".nii.gz") for scan in scans]
    (workspace / "excluded.txt").write_text("\n".join(name for name in names if name not in CASES))
    data = medseg.DataOptions(exclude=workspace / "excluded.txt")
    options = medseg.PlanOptions(preset="cpu", data=data, overrides=_SMALL, codes=CODES)
    medseg.plan(data_dir / "hippocampus", workspace, None, options)
    return medseg.train(None, workspace, medseg.TrainOptions(steps=40, device="cpu")).folder.parent
