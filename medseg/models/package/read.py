"""Read a package, which may come from a stranger.

Names and sizes are checked before any content is read, hashes before content is used, and nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from medseg.core.errors import ModelError
from medseg.core.json_text import parse_json
from medseg.core.yaml_text import repeats_by_reference
from medseg.models.archive import DAMAGED, opened
from medseg.models.model import Model, filled_network, overrides_for
from medseg.models.package.metadata import SCHEMA_VERSION, Metadata, Stage
from medseg.models.package.write import CARD, METADATA, SUFFIX, int8_member, plan_member, weights_member
from medseg.models.quantization import parse_quantization
from medseg.models.run_files import WEIGHTS
from medseg.models.selected import joined, selection_note
from medseg.plans.file import parse_plan
from medseg.selection.file import NAME as SELECTION
from medseg.selection.file import parse_selection

_NAME = re.compile(
    r"metadata\.json|MODEL_CARD\.md|selection\.yaml|"
    r"(member_([1-9]|1[0-5])/)?(previous/){0,3}(plan\.yaml|fold_(\d{1,4}|all)/(weights\.safetensors|int8\.json))"
)
_MOST_TEXT = 4 << 20
"""Largest size in bytes of every member but weights."""
_MOST_HEADER = 16 << 20
"""Largest size in bytes of the header of a safetensors file."""
_TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")
"""Types of tensors: weights, and whole numbers such as the counters of batch normalization and tables of indices."""


def is_package(path: Path) -> bool:
    """Return whether a file is a package: by its suffix or, with another suffix, by its content."""
    if path.suffix == SUFFIX:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return METADATA in archive.namelist()
    except (*DAMAGED, OSError):
        return False


def load_package(
    path: Path,
    device: torch.device,
    folds: Sequence[str] | None = None,
    overrides: list[str] | None = None,
    configuration: str | None = None,
    selection: bool = True,
) -> Model:
    """Load a package.

    Args:
        path: the path of the file.
        device: the device for the networks.
        folds: which folds; None for all.
        overrides: `dotted.key=value` strings for its plan.
        configuration: of which of several models that answer together; None for the only one, or for all.
        selection: whether several answer together, and what the package's selection does is done to answers.

    Returns:
        The model, with its networks on the device.

    Raises:
        ModelError: it is damaged, holds something that does not belong in a package, or has no such fold; or it holds
            several models, of which one has to be chosen.
    """
    with opened(path) as archive:
        metadata = _check(archive, path)
        members = [metadata.stages, *metadata.others]
        if selection and SELECTION in metadata.members:
            chosen = parse_selection(_read(archive, SELECTION, metadata, path), f"{path}: {SELECTION}")
            named = [(member.configuration, member.folds) for member in chosen.members]
            if named != [(stages[0].configuration, stages[0].folds) for stages in members]:
                raise ModelError(f"{path}: {SELECTION} names other models than its {METADATA}. Nothing of it was used.")
            models = [
                _load_member(archive, metadata, path, number, _LoadOptions(device, None, overrides))
                for number in range(len(members))
            ]
            return joined(models, chosen, f"{path}: {SELECTION}", [selection_note(chosen, path)])
        number = _choose_member(members, configuration, path)
        return _load_member(archive, metadata, path, number, _LoadOptions(device, folds, overrides))


@dataclass(frozen=True)
class _LoadOptions:
    """Options on how a model is loaded: device, folds (None for all), overrides."""

    device: torch.device
    folds: Sequence[str] | None
    overrides: list[str] | None


def _choose_member(members: Sequence[Sequence[Stage]], configuration: str | None, path: Path) -> int:
    """Return the number of the model of a configuration.

    Raises:
        ModelError: there are several, and none was chosen.
    """
    names = [stages[0].configuration for stages in members]
    if len(names) == 1 or configuration in names:
        return names.index(configuration) if configuration in names else 0
    raise ModelError(
        f"{path} holds {len(names)} models that answer together: {', '.join(names)}.",
        f"Choose one of them: --config {names[0]}",
    )


def _load_member(archive: zipfile.ZipFile, metadata: Metadata, path: Path, member: int, wish: _LoadOptions) -> Model:
    """Load a model of a package with the stages before it."""
    stages = [metadata.stages, *metadata.others][member]
    previous: Model | None = None
    for number, stage in reversed([*enumerate(stages)]):
        source = f"{path}: {plan_member(number, member)}"
        text = _read(archive, plan_member(number, member), metadata, path).decode("utf-8", "replace")
        settings = overrides_for(stage.configuration, wish.overrides) if number else wish.overrides
        if repeats_by_reference(text):
            raise ModelError(f"{source} repeats parts by reference (*name), which medseg's plans do not.")
        plan = parse_plan(text, source, settings)
        chosen = list(wish.folds) if wish.folds else stage.folds
        missing = [fold for fold in chosen if fold not in stage.folds]
        if missing or stage.configuration not in plan.configurations:
            what = f"fold {', '.join(missing)}" if missing else f"configuration {stage.configuration}"
            raise ModelError(f"{path} has no {what}; it has the folds {', '.join(stage.folds)} of {plan.name}.")
        networks, quantizations = [], []
        for fold in chosen:
            name = weights_member(number, fold, member)
            weights = _weights(_read(archive, name, metadata, path), f"{path}: {name}")
            network = filled_network(plan, plan.configuration(stage.configuration), weights, f"{path}: {name}")
            networks.append(network.to(wish.device))
            int8 = int8_member(number, fold, member)
            stored = _read(archive, int8, metadata, path) if int8 in metadata.members else None
            quantizations.append(None if stored is None else parse_quantization(stored, f"{path}: {int8}"))
        previous = Model(plan, stage.configuration, tuple(chosen), tuple(networks), path, previous, files=(path,))
        if any(quantizations):
            previous = replace(previous, quantizations=tuple(quantizations))
    assert previous is not None  # there is at least one stage
    return previous


def _check(archive: zipfile.ZipFile, path: Path) -> Metadata:
    """Check the list of members, then read the metadata and compare."""
    members = {member.filename: member for member in archive.infolist()}
    for name, member in members.items():
        if not _NAME.fullmatch(name):
            raise ModelError(f"{path} holds {name!r}, which does not belong in a package. Nothing of it was read.")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ModelError(f"{path}: {name} is compressed; members of a package are not. Nothing of it was read.")
        if member.file_size > _MOST_TEXT and not name.endswith(WEIGHTS):
            raise ModelError(f"{path}: {name} declares {member.file_size:,} bytes; expected at most {_MOST_TEXT:,}.")
    declared, size = sum(member.file_size for member in members.values()), path.stat().st_size
    if declared > size:  # members that overlap in the file: a zip bomb
        raise ModelError(f"{path} declares {declared:,} bytes and has only {size:,}. Nothing of it was read.")
    if METADATA not in members:
        raise ModelError(f"{path} has no {METADATA}: it is not a medseg package.")
    metadata = _parse(archive.read(METADATA), path)
    _compare(metadata, members, path)
    return metadata


def _parse(content: bytes, path: Path) -> Metadata:
    try:
        values = parse_json(content)
        if isinstance(values, dict) and values.get("schema_version", 0) > SCHEMA_VERSION:
            raise ModelError(f"{path} was written by a newer medseg ({values.get('medseg')}).", "Update medseg.")
        return Metadata.model_validate(values)
    except (ValidationError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: {METADATA} is not valid: {' '.join(str(error).split())[:300]}") from None


def _compare(metadata: Metadata, members: dict[str, zipfile.ZipInfo], path: Path) -> None:
    """Check that the members are those that the metadata describes, neither more nor fewer."""
    expected = {METADATA, CARD}
    if metadata.others or SELECTION in members:  # other models without a selection would answer for no reason
        expected.add(SELECTION)
    for member, stages in enumerate([metadata.stages, *metadata.others]):
        for number, stage in enumerate(stages):
            expected.add(plan_member(number, member))
            expected |= {weights_member(number, fold, member) for fold in stage.folds}
            expected |= {int8_member(number, fold, member) for fold in stage.folds} & members.keys()
    for what, names in (
        ("lacks", expected - members.keys()),
        ("also holds", members.keys() - expected),
        ("has no hash of", members.keys() - metadata.members.keys() - {METADATA}),
    ):
        if names:
            raise ModelError(f"{path} {what} {', '.join(sorted(names))}; its {METADATA} says otherwise.")
    for name, described in metadata.members.items():
        if name not in members or members[name].file_size != described.bytes:
            size = f"{members[name].file_size:,}" if name in members else "no"
            raise ModelError(f"{path}: {name} has {size} bytes; its {METADATA} says {described.bytes:,}.")


def _read(archive: zipfile.ZipFile, name: str, metadata: Metadata, path: Path) -> bytes:
    """Return the content of a member, after a check of its hash."""
    content = archive.read(name)
    if hashlib.sha256(content).hexdigest() != metadata.members[name].sha256:
        raise ModelError(f"{path}: {name} was changed: its SHA-256 is not the one in {METADATA}.", "Copy it again.")
    return content


def _weights(content: bytes, source: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors member, after a check of its header."""
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")
    try:
        if length > min(_MOST_HEADER, len(content) - 8):
            raise ValueError(f"its header declares {length:,} bytes")
        header: dict[str, Any] = parse_json(content[8 : 8 + length])
        for name, tensor in header.items():
            if name != "__metadata__" and tensor["dtype"] not in _TYPES:
                raise ValueError(f"{name} is of the type {tensor['dtype']}; expected {', '.join(_TYPES)}")
        return load(content)
    except Exception as error:  # safetensors raises a type of its own
        raise ModelError(f"{source} is not a valid safetensors file: {str(error).splitlines()[0]}.") from None
