"""Options of the verbs about models: `medseg quantize`, `package`, `export`, `import-nnunet` and `networks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from medseg.core.options import OFTEN, Option, parse_list
from medseg.core.verb_options import VerbOptions
from medseg.models.card import About


@dataclass(frozen=True)
class QuantizeOptions(VerbOptions):
    """Options of `medseg quantize`.

    Attributes:
        configuration: Configuration: 2d, 3d_fullres, ...; may be left out if only one is trained.
        folds: Folds to quantize, joined by commas, such as 0,1,2; if left out, all trained folds.
        data: Folder of the data set, if it is not where the plan says.
        any_processor: Round weights to 7 bits, with which processors without VNNI or AMX compute the same, too; on such
            a processor that is always done.
    """

    configuration: Annotated[str | None, Option("--config -c")] = None
    folds: Annotated[tuple[str, ...], Option("--folds -f", metavar="FOLDS", parse=parse_list)] = ()
    data: Annotated[Path | None, Option(metavar="FOLDER")] = None
    any_processor: Annotated[bool, Option("--any-processor")] = False


@dataclass(frozen=True)
class PackageOptions(VerbOptions):
    """Options of `medseg package`.

    Attributes:
        configuration: Configuration: 2d, 3d_fullres, ...; may be left out if only one is trained.
        folds: Folds to pack, joined by commas, such as 0,1,2; if left out, all trained folds.
        checkpoint: For models of nnU-Net: final, best, latest, or the name of a file; if left out, final, or best if
            there is no final one.
        selection: Of a plan with a selection.yaml (medseg select), pack the models and operations that it names; if
            configuration, folds or checkpoint are named, it is left out in any case.
        card: YAML file with fields of the model card: author, license, intended_use, limitations, training_data,
            contact, citation.
        about: Fields of the model card, which take precedence over those of the file.
        replace: Replace the file if it exists.
    """

    configuration: Annotated[str | None, Option("--config -c"), OFTEN] = None
    folds: Annotated[Sequence[str] | None, Option("--folds -f", metavar="FOLDS", parse=parse_list), OFTEN] = None
    checkpoint: str | None = None
    selection: Annotated[bool, Option("--selection/--no-selection")] = True
    card: Annotated[Path | None, OFTEN] = None
    about: About = field(default_factory=About)
    replace: Annotated[bool, Option("--force")] = False


@dataclass(frozen=True)
class ExportOptions(VerbOptions):
    """Options of `medseg export`.

    Attributes:
        configuration: Configuration: 2d, 3d_fullres, ...; may be left out if only one is trained.
        folds: Folds to export, joined by commas, such as 0,1,2; a model of several folds becomes several files. If left
            out, all trained folds.
        checkpoint: For models of nnU-Net: final, best, latest, or the name of a file; if left out, final, or best if
            there is no final one.
        monai_bundle: Write a folder that MONAI's bundle runner segments scans with, instead of ONNX; its one program
            averages all folds.
        replace: Replace files that exist; of a MONAI bundle only its own, not scans and answers in its folder.
    """

    configuration: Annotated[str | None, Option("--config -c")] = None
    folds: Annotated[Sequence[str] | None, Option("--folds -f", metavar="FOLDS", parse=parse_list)] = None
    checkpoint: str | None = None
    monai_bundle: bool = False
    replace: Annotated[bool, Option("--force")] = False


@dataclass(frozen=True)
class ImportOptions(VerbOptions):
    """Options of `medseg import-nnunet`.

    Attributes:
        name: Name of the run or plan; if left out, the name of the data set.
        dataset_json: dataset.json that belongs to a raw plans.json, if it does not lie beside it.
        data: Folder of the data set, for a raw plans.json.
        checkpoint: Checkpoint to import: final, best, latest, or the name of a file; if left out, final, or best if
            there is no final one.
    """

    name: str | None = None
    dataset_json: Path | None = None
    data: Path | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class NetworksOptions(VerbOptions):
    """Options of `medseg networks`.

    Attributes:
        plan: Name of the plan in plans/, or its YAML file, to try the networks in; with --draw, if left out, the only
            plan there is, or an example where a network is named.
        configuration: Configuration of the plan: 2d, 3d_fullres, ...; if left out, the plan's default.
        overrides: Setting of the plan to change, such as configurations.2d.batch_size=4; repeatable.
        draw: Print the network stage by stage: NETWORK, or the plan's.
    """

    plan: Annotated[str | Path | None, Option(metavar="PLAN")] = None
    configuration: Annotated[str | None, Option("--config -c")] = None
    overrides: Annotated[Sequence[str], Option("--set", metavar="KEY=VALUE")] = ()
    draw: bool = False
