"""Unpack what is needed of a zip that nnU-Net exported, into a folder that is deleted afterwards."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from medseg.core.errors import ModelError
from medseg.core.files import scratch_folder
from medseg.core.json_text import parse_json
from medseg.core.names import name_problem
from medseg.models.archive import opened, unpack
from medseg.models.nnunet.fingerprint import NAME as FINGERPRINT
from medseg.models.nnunet.folder import (
    DATASET,
    FOLD,
    PLANS,
    SUMMARY,
    choose_checkpoint,
    choose_folds,
    choose_model,
    configuration_of,
    refuse_version_1,
    stage_folder,
)
from medseg.models.nnunet.plans import needed_configurations
from medseg.models.nnunet.postprocessing import is_postprocessing

_MOST_JSON = 64 << 20
_MOST_CHECKPOINT = 16 << 30
_MOST_RATIO_JSON = 200.0
"""Times its size in the zip that a text may unpack to; more is a zip bomb."""
_MOST_RATIO_CHECKPOINT = 20.0
"""The same for weights, which hardly compress."""


@contextmanager
def unpacked_model(
    path: Path, configuration: str | None, folds: Sequence[str] | None, checkpoint: str | None
) -> Iterator[Path]:
    """Unpack a model of a zip and the stages before it into a temporary folder, and yield the model's folder.

    Args:
        path: the zip.
        configuration: the configuration of the model, if there are several.
        folds: None for all numbered folds, else `all`.
        checkpoint: `final`, `best`, `latest` or a file's name; None for the final one, else the best.

    Raises:
        ModelError: the zip is damaged, may be harmful, holds no model, or holds several and none was chosen.
    """
    with _content(path) as (content, temporary):
        chosen = choose_model(content.models, configuration, path)
        for stage in content.stages(chosen):
            content.unpack(stage, temporary, choose_folds(content.checkpoints(stage), folds, stage), checkpoint)
        yield temporary / chosen


@contextmanager
def unpacked(path: Path, checkpoint: str | None) -> Iterator[Path]:
    """Unpack all models of a zip, with all their folds, into a temporary folder, and yield it.

    Args:
        path: the zip.
        checkpoint: as in `unpacked_model`.

    Raises:
        ModelError: as `unpacked_model`.
    """
    with _content(path) as (content, temporary):
        for model in content.models:
            content.unpack(model, temporary, list(content.checkpoints(model)), checkpoint)
        yield temporary


@contextmanager
def _content(path: Path) -> Iterator[tuple[_Content, Path]]:
    """Yield the content of a zip, and a temporary folder to unpack it to."""
    with opened(path) as archive, scratch_folder("nnunet") as temporary:
        content = _Content(archive)
        if not content.models:
            refuse_version_1(path, content.members)
            raise ModelError(f"{path} holds no model of nnU-Net.", "Expected folders with plans.json and fold_0.")
        yield content, temporary


class _Content:
    """The content of a zip by folder.

    Attributes:
        archive: the zip.
        members: {path in the zip: member}, without folders.
        models: folders of models.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.members = {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}
        folders = {name.parent for name in self.members}
        self.models = sorted(
            name.parent
            for name in self.members
            if name.name == PLANS
            and any(folder.parent == name.parent and FOLD.fullmatch(folder.name) for folder in folders)
        )

    def stages(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """Return the folders of a model and of the stages before it, as far as the zip holds them."""
        try:
            plans = parse_json(self._read(folder / PLANS))
            names = needed_configurations(plans["configurations"], configuration_of(folder))
        except (ValueError, KeyError, TypeError, AttributeError, ModelError):
            names = []  # reading the model reports what is wrong with its plan
        stages = [stage_folder(folder, name) for name in names[1:] if name_problem(name) is None]
        return [folder, *(stage for stage in stages if stage in self.models)]

    def checkpoints(self, folder: PurePosixPath) -> dict[str, list[str]]:
        """Return {fold: names of its checkpoints} of a model."""
        checkpoints: dict[str, list[str]] = {}
        for name in self.members:
            fold = FOLD.fullmatch(name.parent.name)
            if name.parent.parent == folder and fold and name.name.startswith("checkpoint_"):
                checkpoints.setdefault(fold[1], []).append(name.name)
        return checkpoints

    def unpack(self, folder: PurePosixPath, target: Path, folds: Sequence[str], checkpoint: str | None) -> None:
        """Unpack a model below `target`: plans, data set, postprocessing, and of each fold checkpoint and scores.

        Args:
            folder: the folder of the model in the zip.
            target: the folder to unpack into.
            folds: which folds.
            checkpoint: as in `unpacked_model`.
        """
        for name in (PLANS, DATASET, FINGERPRINT):
            if folder / name in self.members:
                member = self.members[folder / name]
                unpack(self.archive, member, target / folder / name, _MOST_JSON, _MOST_RATIO_JSON)
        for path, member in self.members.items():
            if is_postprocessing(path, folder):
                unpack(self.archive, member, target / path, _MOST_JSON, _MOST_RATIO_JSON)
        checkpoints = self.checkpoints(folder)
        for fold in folds:
            fold_folder = folder / f"fold_{fold}"
            name, _ = choose_checkpoint(checkpoints[fold], checkpoint, fold_folder)
            member = self.members[fold_folder / name]
            unpack(self.archive, member, target / fold_folder / name, _MOST_CHECKPOINT, _MOST_RATIO_CHECKPOINT)
            scores = self.members.get(fold_folder / SUMMARY)
            if scores is not None:
                unpack(self.archive, scores, target / fold_folder / SUMMARY, _MOST_JSON, _MOST_RATIO_JSON)

    def _read(self, name: PurePosixPath) -> bytes:
        member = self.members[name]
        if member.file_size > min(_MOST_JSON, _MOST_RATIO_JSON * max(member.compress_size, 1)):
            raise ModelError(f"{self.archive.filename}: {name} declares {member.file_size:,} bytes.")
        return self.archive.read(member)
