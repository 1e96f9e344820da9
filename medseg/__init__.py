"""medseg segments medical images: plan, train, predict, evaluate, from the command line or from Python.

    import medseg
    medseg.plan("dataset/")
    medseg.train()
    medseg.predict("scans/", "out/")
    medseg.evaluate("out/", "reference/")

Names load their modules on first use, so that `import medseg` and `medseg --help` answer at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from medseg.commands.data.check import CheckOptions, check
    from medseg.commands.data.plan import PlanOptions, plan
    from medseg.commands.demo.demo import demo
    from medseg.commands.dicom import DicomOutOptions, dicom
    from medseg.commands.evaluate.evaluate import EvaluateOptions, evaluate
    from medseg.commands.import_nnunet import ImportOptions, import_nnunet
    from medseg.commands.package import PackageOptions, package
    from medseg.commands.predict.predict import PredictOptions, predict
    from medseg.commands.records.report import report
    from medseg.commands.records.verify import verify
    from medseg.commands.train.train import TrainOptions, train
    from medseg.commands.watch.watch import StudyEvent, WatchOptions, watch
    from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError, PlanError
    from medseg.core.image import Image
    from medseg.core.labels import Labels
    from medseg.core.progress import Progress
    from medseg.datasets.data_options import DataOptions
    from medseg.delivery.answers.dicom_objects import WriteOptions
    from medseg.inference.predictor import Predictor
    from medseg.io.images import read_image, read_label, write_label
    from medseg.planning.planner import plan_from_fingerprint
    from medseg.plans.file import load_plan, save_plan

_HOME = {
    "CheckOptions": "commands.data.check",
    "check": "commands.data.check",
    "PlanOptions": "commands.data.plan",
    "plan": "commands.data.plan",
    "demo": "commands.demo.demo",
    "DicomOutOptions": "commands.dicom",
    "dicom": "commands.dicom",
    "EvaluateOptions": "commands.evaluate.evaluate",
    "evaluate": "commands.evaluate.evaluate",
    "ImportOptions": "commands.import_nnunet",
    "import_nnunet": "commands.import_nnunet",
    "PackageOptions": "commands.package",
    "package": "commands.package",
    "PredictOptions": "commands.predict.predict",
    "predict": "commands.predict.predict",
    "report": "commands.records.report",
    "verify": "commands.records.verify",
    "TrainOptions": "commands.train.train",
    "train": "commands.train.train",
    "StudyEvent": "commands.watch.watch",
    "WatchOptions": "commands.watch.watch",
    "watch": "commands.watch.watch",
    "Cancelled": "core.errors",
    "DataError": "core.errors",
    "MedsegError": "core.errors",
    "ModelError": "core.errors",
    "PlanError": "core.errors",
    "Image": "core.image",
    "Labels": "core.labels",
    "Progress": "core.progress",
    "DataOptions": "datasets.data_options",
    "WriteOptions": "delivery.answers.dicom_objects",
    "Predictor": "inference.predictor",
    "read_image": "io.images",
    "read_label": "io.images",
    "write_label": "io.images",
    "plan_from_fingerprint": "planning.planner",
    "load_plan": "plans.file",
    "save_plan": "plans.file",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    return getattr(import_module(f"medseg.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
