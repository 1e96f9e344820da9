"""A run's record, `run.json`: how a trained fold came about, for whoever reads its folder later.

Records are immutable: methods return changed copies. Every file that medseg has written loads; files from before
records had a version are version 1. Keys that this version does not know are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from medseg.core.errors import ModelError
from medseg.core.files import write_json
from medseg.core.json_text import parse_json
from medseg.models.run_files import FoldFolder

SCHEMA_VERSION = 1
_LEFT_OUT_WHEN_NONE = {
    "epochs",
    "validations",
    "encoder_weights",
    "schedule",
    "changes",
    "extended",
    "ended_early",
    "train_seconds",
    "finished",
    "seconds",
    "plan_file",
    "data",
    "notes",
    "failed",
    "scores",
    "imported_from",
}
"""Keys that stand in the file only where there is something to say; all others are written as null."""


class Leg(NamedTuple):
    """Steps over which a schedule advances evenly.

    Attributes:
        start: first step.
        stop: step after the last one.
        start_progress: progress of the schedule (0 to 1) before the first step.
        stop_progress: progress of the schedule after the last step.
    """

    start: int
    stop: int
    start_progress: float = 0.0
    stop_progress: float = 1.0


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class StartPart(_Part):
    """A part of the network, and how much of it came from another model.

    Attributes:
        name: the name of the part.
        taken: number of weights that were taken.
        weights: number of weights that it has.
        detail: why the others were not, or what is to be said of it.
    """

    name: str
    taken: int
    weights: int
    detail: str = ""


class StartRecord(_Part):
    """The model that a run started from.

    Attributes:
        source: its path at that time.
        model: its identity, as answers of it record it.
        fold: the fold whose weights were taken.
        parts: the parts of the network, and how much of each was taken.
        notes: what a user should know, in sentences.
        share: the share of all weights of the network that were taken (0 to 1).
        asked: what `--init` said.
    """

    source: str
    model: str
    fold: str
    parts: tuple[StartPart, ...]
    notes: tuple[str, ...] = ()
    share: float
    asked: str


class EncoderWeightsRecord(_Part):
    """The file of pretrained weights that a run's encoder started from.

    Attributes:
        source: its path at that time.
        sha256: its hash, in hexadecimal digits.
        encoder: name of the encoder.
        found_by: how its layers were found (`medseg.models.encoder_weights`).
        parts: the parts of the encoder, and how much of each was taken.
        notes: what a user should know, in sentences.
        share: the share of all weights of the encoder that were taken (0 to 1).
    """

    source: str
    sha256: str
    encoder: str
    found_by: str
    parts: tuple[StartPart, ...]
    notes: tuple[str, ...] = ()
    share: float


class ChangeRecord(_Part):
    """A change of a run that had begun.

    Attributes:
        step: the first step that it affects.
        key: the key of the plan that was changed, or `steps`.
        old: value before.
        new: value from there on.
        why: the reason, where medseg itself made the change.
    """

    step: int
    key: str
    old: Any
    new: Any
    why: str | None = None


class ExtensionRecord(_Part):
    """An extension of a finished run.

    Attributes:
        from_step: steps of the run before.
        to_step: steps of the run with the extension.
        asked: what `--extend` said.
    """

    from_step: int
    to_step: int
    asked: str


class FoldScores(_Part):
    """Scores that came with an imported run.

    Attributes:
        cases: number of cases that were scored.
        dice: {structure: mean Dice}; None where it is not defined.
    """

    cases: int = 0
    dice: dict[str, float | None] = {}


class RunRecord(_Part):
    """The record of how a run came about.

    Attributes:
        configuration: the configuration of the plan.
        fold: a number, or `all`.
        steps: number of optimizer steps, in all.
        epochs: what `--epochs` said when the run began.
        budget_seconds: wall-clock time that the run was given; None where steps were given.
        validations: how many the plan asks for, where the budget left time for fewer.
        repeat_with: options of `medseg train` that repeat the run exactly; None where no single command does.
        overrides: what `--set` said when the run began.
        recipe: what `--recipe` said.
        init: the model that the run started from; None for random weights.
        encoder_weights: the pretrained weights of its encoder; None for none.
        device: the device that the run began on.
        processes: how many trained together when the run began.
        precision: type that convolutions were computed in.
        network_factory: name of the caller's own function that made the network; None for a network of the plan.
        plan_file: path of the plan, where it lies outside of the workspace's `plans/`.
        data: what `--data` said.
        plan_hash: SHA-256 of the plan in the workspace when the run began.
        medseg: version of the package.
        torch: version of torch.
        python: version of Python.
        schedule: legs of the run; None for a single schedule over all steps.
        changes: the changes of the run after it had begun.
        extended: each time that the run was extended.
        ended_early: whether the run's Dice stood still.
        train_seconds: wall-clock time until it was trained.
        finished: whether model and scores are there.
        seconds: wall-clock time in all.
        notes: what the last session noted for the user.
        failed: {case: why it was not trained on, or has no answer}; only where there are such.
        imported_from: where an imported run came from.
        imported_folds: all folds that were imported together, so that a missing one is noticed.
        scores: the scores that came with an imported run.
    """

    configuration: str | None = None
    fold: str | None = None
    steps: int | None = None
    epochs: float | None = None
    budget_seconds: float | None = None
    validations: int | None = None
    repeat_with: str | None = None
    overrides: list[str] | None = None
    recipe: str | None = None
    init: StartRecord | None = None
    encoder_weights: EncoderWeightsRecord | None = None
    device: str | None = None
    processes: int | None = None
    precision: str | None = None
    network_factory: str | None = None
    plan_file: str | None = None
    data: str | None = None
    plan_hash: str | None = None
    medseg: str | None = None
    torch: str | None = None
    python: str | None = None
    schedule: tuple[Leg, ...] | None = None
    changes: tuple[ChangeRecord, ...] | None = None
    extended: tuple[ExtensionRecord, ...] | None = None
    ended_early: bool | None = None
    train_seconds: float | None = None
    finished: bool | None = None
    seconds: float | None = None
    notes: tuple[str, ...] | None = None
    failed: dict[str, str] | None = None
    imported_from: dict[str, Any] | None = None
    imported_folds: tuple[str, ...] | None = None
    scores: FoldScores | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file, as plain values."""
        values = self.model_dump(mode="json", exclude_unset=True)
        written = {key: value for key, value in values.items() if value is not None or key not in _LEFT_OUT_WHEN_NONE}
        return {"schema_version": SCHEMA_VERSION, **written}

    def write(self, folder: FoldFolder) -> None:
        """Write the record into the folder of its fold."""
        write_json(folder.record, self.as_json())

    def updated(self, **values: Any) -> RunRecord:
        """Return the record with other values, by field."""
        return self.model_copy(update=values)

    def changed(self, changes: Sequence[ChangeRecord]) -> RunRecord:
        """Return the record of a run that was changed, which no single command repeats any more."""
        if not changes:
            return self
        return self.updated(changes=(*(self.changes or ()), *changes), repeat_with=None)

    def redirected(self, legs: Sequence[Leg], change: ChangeRecord, ended_early: bool) -> RunRecord:
        """Return the record of a run that ends at another step.

        Args:
            legs: the legs of the run, from now on.
            change: the change of the number of steps.
            ended_early: whether it ends because its Dice no longer rose.
        """
        extended = self.extended
        if extended:
            extended = (*extended[:-1], extended[-1].model_copy(update={"to_step": change.new}))
        record = self.changed([change])
        return record.updated(steps=legs[-1].stop, schedule=tuple(legs), extended=extended, ended_early=ended_early)

    def with_extension(self, legs: Sequence[Leg], asked: str, budget_seconds: float | None, command: str) -> RunRecord:
        """Return the record of a finished run that is to be trained further.

        Args:
            legs: the legs of the run with its extension.
            asked: what `--extend` said.
            budget_seconds: the time budget in seconds of the whole run; None if the extension is not given as a time.
            command: the command that repeats the extension; it is recorded only if one repeats the run before it, too.
        """
        extension = ExtensionRecord(from_step=self.steps or 0, to_step=legs[-1].stop, asked=asked)
        return self.updated(
            steps=legs[-1].stop,
            schedule=tuple(legs),
            extended=(*(self.extended or ()), extension),
            budget_seconds=budget_seconds,
            repeat_with=f"{self.repeat_with} && {command}" if self.repeat_with else self.repeat_with,
            finished=None,
            ended_early=None,
            train_seconds=None,
            seconds=None,
        )


def read_record(folder: FoldFolder) -> RunRecord | None:
    """Return the record of a fold; None where it has none.

    Raises:
        ModelError: the file is damaged, or a later version of medseg wrote it.
    """
    path = folder.record
    if not path.exists():
        return None
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ModelError(f"{path} is damaged: it is not JSON.", "Restore it from a copy, or train again.") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} is damaged: it holds no keys and values.", "Restore it from a copy, or train again.")
    version = values.pop("schema_version", 1)
    if version != SCHEMA_VERSION:
        raise ModelError(
            f"{path} has schema_version {version!r}; this medseg reads {SCHEMA_VERSION}.", "Update medseg."
        )
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise ModelError(
            f"{path} is damaged: {key} is {problem['input']!r}; {problem['msg'].lower()}.",
            "Restore it from a copy, or train again.",
        ) from None


class RecordFile:
    """The record of a run in training, written at every change.

    Args:
        folder: the folder of the fold.
        record: as the session begins; the file stays as it is until the first `update`.
        writes: False for a process that is not the one that writes.

    Attributes:
        content: the record as it is now.
    """

    def __init__(self, folder: FoldFolder, record: RunRecord, writes: bool = True) -> None:
        self._folder = folder
        self._writes = writes
        self.content = record

    def update(self, record: RunRecord) -> None:
        """Replace the record, and write it."""
        self.content = record
        if self._writes:
            record.write(self._folder)
