"""medseg segments medical images: plan, train, predict, evaluate, from the command line or from Python.

    import medseg
    medseg.plan("dataset/")
    medseg.train()
    medseg.predict("scans/", "out/")
    medseg.evaluate("out/", "reference/")

The module of a name is imported when the name is first used, so that `import medseg` and `medseg --help` take no time.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Libraries count their users, and write into the home for it, from their import on, unless these say otherwise. They
# hold for the processes that are started, too. OpenVINO has no such switch: `inference.backends.openvino_import`.
os.environ.update(
    {
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime from 1.32 on
        "MLFLOW_DISABLE_TELEMETRY": "true",  # MONAI imports it where it is there
        "DO_NOT_TRACK": "true",  # what many programs agree on
    }
)

if TYPE_CHECKING:
    from medseg.commands.crossval.crossval import crossval
    from medseg.commands.crossval.options import CrossvalOptions
    from medseg.commands.data.check import check
    from medseg.commands.data.info import info
    from medseg.commands.data.labelme import labelme
    from medseg.commands.data.options import CheckOptions, LabelmeOptions, PlanOptions
    from medseg.commands.data.plan import plan
    from medseg.commands.data.series import series
    from medseg.commands.demo.demo import demo
    from medseg.commands.dicom.dicom import dicom
    from medseg.commands.dicom.options import DicomOutOptions
    from medseg.commands.evaluate.evaluate import evaluate
    from medseg.commands.evaluate.options import EvaluateOptions
    from medseg.commands.machine.doctor import doctor
    from medseg.commands.models.export import export
    from medseg.commands.models.import_nnunet import import_nnunet
    from medseg.commands.models.networks import list_networks
    from medseg.commands.models.options import (
        ExportOptions,
        ImportOptions,
        NetworksOptions,
        PackageOptions,
        QuantizeOptions,
    )
    from medseg.commands.models.package import package
    from medseg.commands.models.quantize import quantize
    from medseg.commands.predict.options import PredictOptions
    from medseg.commands.predict.predict import predict
    from medseg.commands.rank.options import RankOptions
    from medseg.commands.rank.rank import rank_scans
    from medseg.commands.records.report import report
    from medseg.commands.records.verify import verify
    from medseg.commands.select.options import SelectOptions
    from medseg.commands.select.select import select
    from medseg.commands.train.options import TrainOptions
    from medseg.commands.train.train import train
    from medseg.commands.view.options import ViewOptions
    from medseg.commands.view.view import view
    from medseg.commands.watch.options import WatchOptions
    from medseg.commands.watch.watch import StudyEvent, watch
    from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError, PlanError, ScanWarning
    from medseg.core.image import Image
    from medseg.core.labels import Labels
    from medseg.core.progress import Progress
    from medseg.datasets.data_options import DataOptions
    from medseg.delivery.answers.options import Maps, WriteOptions
    from medseg.delivery.provenance.plan_to_edit import save_plan
    from medseg.extend import (
        register_loss,
        register_measure,
        register_network,
        register_normalization,
        register_reader,
    )
    from medseg.inference.predictor import Predictor
    from medseg.io.images import read_image, read_label, write_label
    from medseg.planning.planner import plan_from_fingerprint
    from medseg.plans.file import load_plan

_MODULES = {
    "crossval": "commands.crossval.crossval",
    "CrossvalOptions": "commands.crossval.options",
    "check": "commands.data.check",
    "CheckOptions": "commands.data.options",
    "info": "commands.data.info",
    "labelme": "commands.data.labelme",
    "LabelmeOptions": "commands.data.options",
    "plan": "commands.data.plan",
    "PlanOptions": "commands.data.options",
    "series": "commands.data.series",
    "demo": "commands.demo.demo",
    "dicom": "commands.dicom.dicom",
    "DicomOutOptions": "commands.dicom.options",
    "doctor": "commands.machine.doctor",
    "evaluate": "commands.evaluate.evaluate",
    "EvaluateOptions": "commands.evaluate.options",
    "import_nnunet": "commands.models.import_nnunet",
    "export": "commands.models.export",
    "ExportOptions": "commands.models.options",
    "ImportOptions": "commands.models.options",
    "list_networks": "commands.models.networks",
    "NetworksOptions": "commands.models.options",
    "package": "commands.models.package",
    "PackageOptions": "commands.models.options",
    "quantize": "commands.models.quantize",
    "QuantizeOptions": "commands.models.options",
    "predict": "commands.predict.predict",
    "PredictOptions": "commands.predict.options",
    "rank_scans": "commands.rank.rank",
    "RankOptions": "commands.rank.options",
    "report": "commands.records.report",
    "verify": "commands.records.verify",
    "train": "commands.train.train",
    "select": "commands.select.select",
    "SelectOptions": "commands.select.options",
    "TrainOptions": "commands.train.options",
    "view": "commands.view.view",
    "ViewOptions": "commands.view.options",
    "StudyEvent": "commands.watch.watch",
    "watch": "commands.watch.watch",
    "WatchOptions": "commands.watch.options",
    "Cancelled": "core.errors",
    "DataError": "core.errors",
    "MedsegError": "core.errors",
    "ModelError": "core.errors",
    "PlanError": "core.errors",
    "ScanWarning": "core.errors",
    "Image": "core.image",
    "Labels": "core.labels",
    "Progress": "core.progress",
    "DataOptions": "datasets.data_options",
    "Maps": "delivery.answers.options",
    "WriteOptions": "delivery.answers.options",
    "register_loss": "extend",
    "register_measure": "extend",
    "register_network": "extend",
    "register_normalization": "extend",
    "register_reader": "extend",
    "Predictor": "inference.predictor",
    "read_image": "io.images",
    "read_label": "io.images",
    "write_label": "io.images",
    "plan_from_fingerprint": "planning.planner",
    "load_plan": "plans.file",
    "save_plan": "delivery.provenance.plan_to_edit",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    return getattr(import_module(f"medseg.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
