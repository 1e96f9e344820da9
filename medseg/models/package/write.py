"""Write a trained model as one file, `model.medseg`: a zip of plan, weights and descriptions. It holds no code.

    metadata.json                  what it is, and the SHA-256 of every other member
    MODEL_CARD.md                  for people: training data, scores, intended use
    plan.yaml                      what is done to a scan
    fold_0/weights.safetensors     ... one per fold
    fold_0/int8.json               how it is computed in 8 bits, where that was tried and lost little
    previous/...                   plan and folds of the first stage of a cascade
    member_1/...                   plan and folds of another configuration that answers together with this one
    selection.yaml                 what is done to answers, and why these models were chosen

Members are stored without compression, so that their declared sizes can be checked before reading. The same model
gives the same bytes. `models.package.read` reads the file.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from medseg import __version__
from medseg.core.files import remove_temporaries, saving
from medseg.models.identity import network_identity
from medseg.models.model import Model
from medseg.models.package.metadata import FORMAT, SCHEMA_VERSION, Member, Metadata, Stage
from medseg.models.quantization import dump_quantization
from medseg.models.run_files import INT8, PLAN, WEIGHTS, fold_folder_name
from medseg.plans.anonymous import anonymous
from medseg.plans.file import dump_plan
from medseg.selection.file import NAME as SELECTION
from medseg.selection.file import dump_selection

SUFFIX = ".medseg"
METADATA = "metadata.json"
CARD = "MODEL_CARD.md"
PREVIOUS = "previous/"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip can store: with the time of writing, the same model would give other bytes."""


def save_package(model: Model, path: Path, card: str) -> None:
    """Write a model and its card as one file, atomically.

    Args:
        model: all its folds are packed, the stage before it in a cascade, and the others that answer with it.
        path: the path of the package.
        card: text of MODEL_CARD.md.

    Raises:
        MedsegError: it could not be written.
    """
    members: dict[str, Member] = {}
    remove_temporaries(path.parent, suffix=SUFFIX)  # of packages of other names, too
    with saving(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in (*_contents(model), (CARD, card.encode())):
            members[name] = Member(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            archive.writestr(_member(name), content)
        metadata = Metadata(
            format=FORMAT,
            schema_version=_schema_version(model, members),
            medseg=__version__,
            name=model.plan.name,
            channels=model.plan.data.channels,
            structures=model.plan.labels.written_values,
            stages=_described(model),
            others=[_described(other) for other in model.others],
            members=members,
        )
        archive.writestr(_member(METADATA), metadata.model_dump_json(indent=2) + "\n")


def _schema_version(model: Model, members: Collection[str]) -> int:
    """Return the lowest version that holds what there is: older versions of medseg read what they can."""
    if any(name.endswith(INT8) for name in members):
        return SCHEMA_VERSION
    return 1 if model.selection is None else 2


def weights_member(stage: int, fold: str, member: int = 0) -> str:
    """Return the name of a fold's weights; stage 0 is the model, 1 the stage before it in a cascade.

    Args:
        stage: number of the stage.
        fold: name of the fold.
        member: 0 for the model itself, 1 for the first of the others that answer with it.
    """
    return f"{_member_folder(member)}{PREVIOUS * stage}{fold_folder_name(fold)}/{WEIGHTS}"


def int8_member(stage: int, fold: str, member: int = 0) -> str:
    """Return the name of what says how a fold is computed in 8 bits.

    Args:
        stage: as in `weights_member`.
        fold: name of the fold.
        member: as in `weights_member`.
    """
    return f"{_member_folder(member)}{PREVIOUS * stage}{fold_folder_name(fold)}/{INT8}"


def plan_member(stage: int, member: int = 0) -> str:
    """Return the name of a stage's plan; arguments as those of `weights_member`."""
    return f"{_member_folder(member)}{PREVIOUS * stage}{PLAN}"


def _member_folder(member: int) -> str:
    return f"member_{member}/" if member else ""


def _described(model: Model) -> list[Stage]:
    """Return the stages of a model as metadata."""
    return [Stage(configuration=stage.configuration_name, folds=list(stage.folds)) for stage in _stages(model)]


def _contents(model: Model) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of plans and weights, one at a time to save memory."""
    from safetensors.torch import save

    if model.selection is not None:
        yield SELECTION, dump_selection(model.selection).encode()
    for member, part in enumerate(model.together):
        for number, stage in enumerate(_stages(part)):
            yield plan_member(number, member), dump_plan(anonymous(stage.plan)).encode()
            of_weights = {}
            for fold, network in zip(stage.folds, stage.networks, strict=True):
                of_weights[fold] = network_identity(network)
                state = network.state_dict()
                weights = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
                yield weights_member(number, fold, member), save(weights)
            for fold, quantization in zip(stage.folds, stage.quantizations, strict=False):  # none where none was made
                # one of a fold that was trained again since is refused, and would keep older versions from reading this
                if quantization is not None and quantization.kept and quantization.network == of_weights[fold]:
                    yield int8_member(number, fold, member), dump_quantization(quantization.anonymous()).encode()


def _stages(model: Model) -> list[Model]:
    """Return a model and the stages before it, itself first."""
    return [model] + ([] if model.previous is None else _stages(model.previous))


def _member(name: str) -> zipfile.ZipInfo:
    """Return a zip member that does not reveal when and where it was written."""
    member = zipfile.ZipInfo(name, _EPOCH)
    member.create_system = 3  # Unix, on every system
    member.external_attr = 0o100644 << 16  # a plain file, rw-r--r--
    return member
