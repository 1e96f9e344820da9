"""A trained model as one file, `model.medseg`: a zip of a plan, weights, and what they are. No code is in it.

    metadata.json                  what it is, and the SHA-256 of every other member
    MODEL_CARD.md                  for people: training data, scores, intended use
    plan.yaml                      what is done to a scan
    fold_0/weights.safetensors     ... one a fold
    previous/...                   plan and folds of the first stage of a cascade

Members are stored, not compressed, so that their sizes are what they are. The same model gives the same bytes.
`package_reader` reads it.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from medseg import __version__
from medseg.core.files import saving
from medseg.models.model import Model
from medseg.models.package.metadata import FORMAT, SCHEMA_VERSION, Member, Metadata, Stage
from medseg.models.run_files import PLAN, WEIGHTS, fold_folder_name
from medseg.plans.file import dump_plan
from medseg.plans.schema import Plan

SUFFIX = ".medseg"
METADATA = "metadata.json"
CARD = "MODEL_CARD.md"
PREVIOUS = "previous/"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say, so that no clock is in the file


def save_package(model: Model, path: Path, card: str) -> None:
    """Write a model and its card as one file, atomically.

    Raises:
        MedsegError: it could not be written.
    """
    members: dict[str, Member] = {}
    with saving(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in (*_contents(model), (CARD, card.encode())):
            members[name] = Member(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            archive.writestr(_member(name), content)
        metadata = Metadata(
            format=FORMAT,
            schema_version=SCHEMA_VERSION,
            medseg=__version__,
            name=model.plan.name,
            channels=model.plan.data.channels,
            structures=model.plan.labels.written_values,
            stages=[Stage(configuration=one.configuration_name, folds=list(one.folds)) for one in _stages(model)],
            members=members,
        )
        archive.writestr(_member(METADATA), metadata.model_dump_json(indent=2) + "\n")


def weights_member(stage: int, fold: str) -> str:
    """The name of a fold's weights; stage 0 is the model, 1 the one before it in a cascade, and so on."""
    return f"{PREVIOUS * stage}{fold_folder_name(fold)}/{WEIGHTS}"


def plan_member(stage: int) -> str:
    """The name of a stage's plan."""
    return f"{PREVIOUS * stage}{PLAN}"


def _contents(model: Model) -> Iterator[tuple[str, bytes]]:
    """Names and contents of plans and weights, one at a time."""
    from safetensors.torch import save

    for number, stage in enumerate(_stages(model)):
        yield plan_member(number), dump_plan(_anonymous(stage.plan)).encode()
        for fold, network in zip(stage.folds, stage.networks, strict=True):
            weights = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
            yield weights_member(number, fold), save(weights)


def _stages(model: Model) -> list[Model]:
    """A model and the stages before it, itself first."""
    return [model] + ([] if model.previous is None else _stages(model.previous))


def _anonymous(plan: Plan) -> Plan:
    """The plan without the place of its data and the names of files that it was asked to leave out."""
    request = plan.request.model_copy(update={"options": {}})
    return plan.model_copy(update={"data": plan.data.model_copy(update={"folder": "."}), "request": request})


def _member(name: str) -> zipfile.ZipInfo:
    """A zip member that says nothing about when and where it was written."""
    member = zipfile.ZipInfo(name, _EPOCH)
    member.create_system = 3
    member.external_attr = 0o100644 << 16
    return member
