"""Write a trained model as a MONAI bundle: a folder that `python -m monai.bundle run` segments scans with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.core.errors import ModelError
from medseg.core.files import atomic_folder, write_json, write_text
from medseg.core.replacing import replacing_files
from medseg.inference.monai_bundle.program import as_monai, write_program
from medseg.inference.monai_bundle.workflow import PROGRAM, notes_on, problem_of, workflow
from medseg.models.identity import identity
from medseg.models.model import Model

METADATA = "configs/metadata.json"
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_README = "readme.txt"
"""The text of a bundle's README, with names in braces; it lies beside this module."""


def write_bundle(model: Model, folder: Path, left_out: Sequence[str] = ()) -> float:
    """Write a bundle, and return by how much its logits differ from torch's, as a share of the largest logit.

    Args:
        model: on the CPU.
        folder: to be made, or that of an earlier bundle: the files of the bundle are replaced when the new ones are
            whole, and all others stay, such as scans in `input` and answers in `output`.
        left_out: what `medseg predict` does with the model and the bundle does not, in sentences.

    Raises:
        ModelError: a bundle cannot answer as the model does, or the networks cannot be traced.
    """
    problem = problem_of(model)
    if problem:
        raise ModelError(
            f"The model cannot be a MONAI bundle: {problem}.", "`medseg package` makes one file of any model."
        )
    writing = replacing_files if (folder / METADATA).is_file() else atomic_folder
    with writing(folder) as temporary:
        difference = write_program(model, temporary / PROGRAM)
        write_json(temporary / "configs" / "inference.json", workflow(model))
        write_json(temporary / METADATA, metadata(model, left_out))
        write_text(temporary / "docs" / "README.md", _readme(model, left_out))
    return difference


def metadata(model: Model, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """Return `metadata.json` of a bundle, with the keys of MONAI's schema and, under `medseg`, what it was made from.

    Args:
        model: the model.
        left_out: as `write_bundle`.
    """
    plan = model.plan
    tile = as_monai(list(model.configuration.patch_voxels), plan.transpose_forward)
    channels = dict(enumerate(plan.data.channels))
    names = [*(["background"] * (plan.labels.outputs - len(plan.labels.names))), *plan.labels.names]
    outputs = dict(enumerate(names))
    shared = {"type": "image", "spatial_shape": ["*", "*", "*"], "is_patch_data": False}
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by medseg {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel"), "scipy": version("scipy")},
        "task": f"segmentation of {', '.join(plan.labels.names)}",
        "description": f"{plan.name}, {model.configuration_name}, folds {', '.join(model.folds)}",
        "authors": "",
        "copyright": "",
        "intended_use": "For research use; not a medical device.",
        "network_data_format": {
            "inputs": {
                "image": {
                    **shared,
                    "format": "magnitude",
                    "num_channels": len(channels),
                    "dtype": "float32",
                    "value_range": [],
                    "channel_def": channels,
                    "tile": tile,
                }
            },
            "outputs": {
                "pred": {
                    **shared,
                    "format": "segmentation",
                    "num_channels": plan.labels.outputs,
                    "dtype": "float32",
                    "value_range": [],
                    "channel_def": outputs,
                }
            },
        },
        "medseg": {"version": __version__, "model": identity(model), "differences": notes_on(left_out)},
    }


def _readme(model: Model, left_out: Sequence[str]) -> str:
    """Return the text of the bundle's README."""
    plan = model.plan
    files = "`SCANS` holds `*.nii.gz`, a file a scan."
    if len(plan.data.channels) > 1:
        names = ", ".join(f"`*_{number:04d}.nii.gz` ({name})" for number, name in enumerate(plan.data.channels))
        files = f"`SCANS` holds {names}."
    values = dict(zip(plan.labels.names, list(plan.labels.decisions)[1:], strict=True))
    what = ", ".join(f"{name} ({value})" for name, value in values.items())
    notes = "\n".join(f"- {note}" for note in notes_on(left_out))
    text = resources.files(__package__).joinpath(_README).read_text("utf-8")
    return text.format(name=plan.name, medseg=__version__, what=what, files=files, notes=notes)
