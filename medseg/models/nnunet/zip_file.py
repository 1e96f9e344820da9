"""Zips that nnU-Net exports: what of them is needed, unpacked into a folder that is gone afterwards."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from medseg.core.errors import ModelError
from medseg.models.archive import opened, unpack
from medseg.models.nnunet.folder import (
    DATASET,
    FOLD,
    PLANS,
    SUMMARY,
    choose_checkpoint,
    choose_folds,
    choose_model,
    configuration_of,
    stage_folder,
)
from medseg.models.nnunet.plans import needed_configurations

_MOST_JSON = 64 << 20
_MOST_CHECKPOINT = 16 << 30
_MOST_RATIO_JSON = 200.0
_MOST_RATIO_CHECKPOINT = 20.0  # weights hardly compress


@contextmanager
def unpacked_model(
    path: Path, configuration: str | None, folds: Sequence[str] | None, checkpoint: str | None
) -> Iterator[Path]:
    """The model of a zip, and the stages before it, in a temporary folder; the model's own is given.

    Args:
        path: the zip.
        configuration: the model that is meant, if there are several.
        folds: None for all numbered folds, else `all`.
        checkpoint: `final`, `best`, `latest` or a file's name; None for the final one, else the best.

    Raises:
        ModelError: the zip is damaged or may be harmful, or holds no model or several and none was chosen.
    """
    with _content(path) as (content, temporary):
        chosen = choose_model(content.models, configuration, path)
        for stage in content.stages(chosen):
            there = content.checkpoints(stage)
            content.unpack(stage, temporary, choose_folds(there, folds, stage), checkpoint)
        yield temporary / chosen


@contextmanager
def unpacked(path: Path, checkpoint: str | None) -> Iterator[Path]:
    """All models of a zip, with all their folds, in a temporary folder.

    Raises:
        ModelError: as `unpacked_model`.
    """
    with _content(path) as (content, temporary):
        for model in content.models:
            content.unpack(model, temporary, list(content.checkpoints(model)), checkpoint)
        yield temporary


@contextmanager
def _content(path: Path) -> Iterator[tuple[_Content, Path]]:
    """What a zip holds, and a folder to unpack it to."""
    with opened(path) as archive, tempfile.TemporaryDirectory(prefix="medseg-") as temporary:
        content = _Content(archive)
        if not content.models:
            raise ModelError(f"{path} holds no model of nnU-Net.", "Expected folders with plans.json and fold_0.")
        yield content, Path(temporary)


class _Content:
    """What a zip holds, by folder."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.members = {PurePosixPath(one.filename): one for one in archive.infolist() if not one.is_dir()}
        places = {name.parent for name in self.members}
        self.models = sorted(
            name.parent
            for name in self.members
            if name.name == PLANS
            and any(place.parent == name.parent and FOLD.fullmatch(place.name) for place in places)
        )

    def stages(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """A model's folder and those of the stages before it, as far as they are there."""
        try:
            plans = json.loads(self._read(folder / PLANS))
            names = needed_configurations(plans["configurations"], configuration_of(folder))
        except (ValueError, KeyError, TypeError, AttributeError, ModelError):
            names = []  # whoever reads the model says what is wrong with its plan
        return [folder, *(one for name in names[1:] if (one := stage_folder(folder, name)) in self.models)]

    def checkpoints(self, folder: PurePosixPath) -> dict[str, list[str]]:
        """{fold: names of its checkpoints} of a model."""
        inside: dict[str, list[str]] = {}
        for name in self.members:
            fold = FOLD.fullmatch(name.parent.name)
            if name.parent.parent == folder and fold and name.name.startswith("checkpoint_"):
                inside.setdefault(fold[1], []).append(name.name)
        return inside

    def unpack(self, folder: PurePosixPath, target: Path, folds: Sequence[str], checkpoint: str | None) -> None:
        """One model, under its own name below `target`: plan, data set's description, and a checkpoint a fold."""
        for name in (PLANS, DATASET):
            if folder / name in self.members:
                member = self.members[folder / name]
                unpack(self.archive, member, target / folder / name, _MOST_JSON, _MOST_RATIO_JSON)
        inside = self.checkpoints(folder)
        for fold in folds:
            place = folder / f"fold_{fold}"
            name, _ = choose_checkpoint(inside[fold], checkpoint, place)
            member = self.members[place / name]
            unpack(self.archive, member, target / place / name, _MOST_CHECKPOINT, _MOST_RATIO_CHECKPOINT)
            scores = self.members.get(place / SUMMARY)
            if scores is not None:
                unpack(self.archive, scores, target / place / SUMMARY, _MOST_JSON, _MOST_RATIO_JSON)

    def _read(self, name: PurePosixPath) -> bytes:
        member = self.members[name]
        if member.file_size > min(_MOST_JSON, _MOST_RATIO_JSON * max(member.compress_size, 1)):
            raise ModelError(f"{self.archive.filename}: {name} declares {member.file_size:,} bytes.")
        return self.archive.read(member)
