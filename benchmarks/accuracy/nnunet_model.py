"""Turn a trained medseg run into a model folder that nnU-Net v2 loads and predicts with, to compare with equal weights.

    python benchmarks/accuracy/nnunet_model.py RUN FOLDER
    nnUNetv2_predict_from_modelfolder -i scans -o out -m FOLDER -f 0 -device cpu

RUN is a folder such as runs/hippocampus/3d_fullres, or a package. Its network has to be a plain or residual U-Net.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from medseg.core.labels import Labels
from medseg.models.model import Model
from medseg.models.nnunet.plans import plan_to_nnunet
from medseg.models.nnunet.weights import weights_to_nnunet
from medseg.models.open import load_model

_TRAINER = "nnUNetTrainer"


def dataset_json(model: Model) -> dict[str, Any]:
    """What nnU-Net has to know of the data set."""
    plan = model.plan
    regions = {} if plan.labels.activation == "softmax" else {"regions_class_order": plan.labels.region_values}
    return {
        "channel_names": {str(number): name for number, name in enumerate(plan.data.channels)},
        "labels": _labels(plan.labels),
        **regions,
        "numTraining": plan.data.cases,
        "file_ending": ".nii.gz" if plan.data.spacing_known else ".png",
    }


def _labels(labels: Labels) -> dict[str, int | list[int]]:
    values = {name: own[0] if len(own) == 1 else list(own) for name, own in labels.members.items()}
    return {"background": 0, **values, **({} if labels.ignore is None else {"ignore": labels.ignore})}


def write_model(model: Model, folder: Path) -> None:
    """plans.json, dataset.json and a checkpoint a fold."""
    plans, configuration = plan_to_nnunet(model.plan), model.configuration
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans, indent=4))
    (folder / "dataset.json").write_text(json.dumps(dataset_json(model), indent=4))
    for fold, network in zip(model.folds, model.networks, strict=True):
        place = folder / f"fold_{fold}"
        place.mkdir(exist_ok=True)
        checkpoint = {
            "network_weights": weights_to_nnunet(network.state_dict(), configuration.network.strides),
            "trainer_name": _TRAINER,
            "init_args": {"configuration": model.configuration_name, "fold": fold},
            "inference_allowed_mirroring_axes": tuple(configuration.mirror_axes) or None,
        }
        torch.save(checkpoint, place / "checkpoint_final.pth")


def main() -> None:
    """Convert one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.run, torch.device("cpu"))
    write_model(model, arguments.folder)
    print(f"{arguments.folder}: {model.plan.name}, {model.configuration_name}, folds {', '.join(model.folds)}")


if __name__ == "__main__":
    main()
