"""Options of the verbs that pack and import models: `medseg package` and `medseg import-nnunet`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.models.card import About


@dataclass(frozen=True)
class PackageOptions:
    """What may be asked of a package.

    Attributes:
        configuration: which of a plan's trained configurations; None if only one is trained.
        folds: None for all that are trained.
        checkpoint: of nnU-Net's models: `final`, `best`, `latest` or a file's name.
        card: a YAML file with fields of `About`.
        about: fields that go before those of the file.
        replace: write over a file that is there.
    """

    configuration: str | None = None
    folds: Sequence[str] | None = None
    checkpoint: str | None = None
    card: Path | None = None
    about: About = field(default_factory=About)
    replace: bool = False


@dataclass(frozen=True)
class ImportOptions:
    """What may be asked of an import.

    Attributes:
        name: of the run or the plan; None for the data set's.
        dataset_json: where dataset.json lies, if not beside plans.json.
        data: the data set's folder, for a plan.
        checkpoint: `final`, `best`, `latest` or a file's name; None for the final one, else the best.
    """

    name: str | None = None
    dataset_json: Path | None = None
    data: Path | None = None
    checkpoint: str | None = None
