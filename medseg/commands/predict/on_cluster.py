"""`medseg predict --cluster`: each case is an item of its own for the workers, which load the model once.

The command finds the scans, keeps the ledger and writes tables and manifest; workers read scans, compute, and write
answers. Nothing but plain values comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import about_answer, how_computed, load_predictors, predict_with
from medseg.commands.predict.result import PredictResult
from medseg.core.case import Case
from medseg.core.errors import MedsegError, ModelError
from medseg.core.progress import Callback, Progress, track
from medseg.delivery.answers.answer import Forms, Outcome
from medseg.delivery.answers.prediction_ledger import PredictionLedger, finished_entry
from medseg.delivery.answers.segment import doubtful, segment
from medseg.delivery.provenance.entries import computed_with
from medseg.delivery.provenance.manifest import Clock, Entry
from medseg.engines.engine import Engine
from medseg.engines.on_worker import once_in_process, worker_number
from medseg.engines.open import open_engine
from medseg.inference.passes import add_notes
from medseg.inference.predictor import Predictor
from medseg.networks.device import choose_devices
from medseg.selection.file import dump_selection

_OF_THE_WORKER = ("device type", "precision")
"""What the first worker decides, and not the machine on which the command was given."""


@dataclass(frozen=True)
class Loading:
    """A function that loads the model on a worker.

    Attributes:
        model: as in `predict`.
        workspace: as in `predict`.
        options: say which folds, devices and settings.
        computed: what `how_computed_there` says where the command was given.
    """

    model: str | Path | None
    workspace: str | Path
    options: PredictOptions
    computed: Mapping[str, Any]

    def __call__(self) -> tuple[Predictor, dict[str, Any]]:
        """Load the model on one of the devices, and return it and what `how_computed_there` says of it.

        Raises:
            ModelError: it is not the model that the command loaded; a worker keeps no such model.
        """
        devices = choose_devices(self.options.device)
        device = devices[worker_number() % len(devices)]
        predictor = load_predictors(self.model, self.workspace, replace(self.options, device=str(device)))[0]
        computed = how_computed_there(predictor)
        _check_same(self.computed, computed, [key for key in computed if key not in _OF_THE_WORKER])
        return predictor, computed

    @property
    def key(self) -> str:
        """Everything that the loaded model depends on, as JSON: a worker that stays keeps it for later commands."""
        decided_here = {name: value for name, value in self.computed.items() if name not in _OF_THE_WORKER}
        return json.dumps({**decided_here, "device": self.options.device}, sort_keys=True)


def how_computed_there(predictor: Predictor) -> dict[str, Any]:
    """Return everything that a worker's output depends on, as JSON: what decides the labels, and the whole selection.

    Of a selection, `how_computed` counts what changes labels. A worker also writes calibrated maps and judges answers,
    and must do so by the selection that the command names in its manifest.
    """
    selection = predictor.model.selection
    # when it was made differs where a file was merely copied (`imported_selection` takes the time of the file)
    text = "" if selection is None else dump_selection(selection.model_copy(update={"made": ""}))
    digest = hashlib.sha256(text.encode()).hexdigest() if text else ""
    return {**how_computed(predictor), "selection (SHA-256)": digest}


@dataclass(frozen=True)
class Answered:
    """The result of a case, as a worker returns it.

    Attributes:
        outcome: its answer, or why there is none.
        entry: what the ledger notes of it; None where there is no answer.
        notes: of the worker on this case.
        computed_with: for the manifest.
    """

    outcome: Outcome
    entry: dict[str, Any] | None
    notes: tuple[str, ...]
    computed_with: Entry


@dataclass
class OnCluster:
    """The workers that segment the cases of a command.

    Attributes:
        engine: the cluster.
        loading: how its workers load the model.
        predictor: that of the command, which gets the notes of the workers.
        gpu: whether a case needs a GPU where the workers have some.
        computed: as in `Loading`, with what the first worker decided.
        parts: entries on what the workers computed with.
    """

    engine: Engine
    loading: Loading
    predictor: Predictor
    gpu: bool
    computed: dict[str, Any]
    parts: list[Entry] = field(default_factory=list)

    @classmethod
    def of(
        cls, engine: Engine, model: str | Path | None, workspace: str | Path, options: PredictOptions, here: Predictor
    ) -> OnCluster:
        """Load the model on one worker, and describe the workers by what it reports.

        Args:
            engine: the cluster.
            model: as in `predict`.
            workspace: as in `predict`.
            options: as in `predict`.
            here: the model as the command loaded it.

        Returns:
            The workers, with what they compute with.

        Raises:
            MedsegError: the worker cannot load it, or loads another one.
        """
        loading = Loading(model, workspace, options, how_computed_there(here))
        gpu = not options.device.startswith("cpu")
        [(_, computed)] = engine.map(describe_worker, [loading], gpu)
        if isinstance(computed, MedsegError):
            raise computed
        return cls(engine, loading, here, gpu, computed)

    def answer(
        self, cases: Sequence[Case], forms: Forms, ledger: PredictionLedger, callback: Callback
    ) -> list[Outcome]:
        """Segment cases on the workers, and note each in the ledger as soon as its answer is written.

        Args:
            cases: the cases to segment.
            forms: in which forms answers are written.
            ledger: the ledger of the folder for the answers.
            callback: receives progress; may raise `Cancelled`.

        Returns:
            The outcome of each case.
        """
        items = [(case, forms.of(case)) for case in cases]
        work = partial(answer_case, loading=self.loading, computed=self.computed, output=ledger.folder)
        outcomes = []
        results = self.engine.map(work, items, self.gpu)
        for done, ((case, _), result) in enumerate(track(results, "predict", len(items), callback), start=1):
            if isinstance(result, MedsegError):
                outcomes.append(Outcome(case, problem=str(result)))
                ledger.note_failed(case)
                continue
            outcomes.append(result.outcome)
            add_notes(self.predictor.notes, result.notes)
            if result.entry is not None:  # a worker that has answered nothing does not know yet what it computes with
                self.parts += [] if result.computed_with in self.parts else [result.computed_with]
                ledger.note(result.entry)
            else:
                ledger.note_failed(case)
            if info := doubtful(result.outcome):
                callback(Progress("predict", done, len(items), info))
        return outcomes

    @property
    def decided_by_workers(self) -> dict[str, Any]:
        """The entries of `how_computed` that depend on the workers; the others were checked to be the command's."""
        return {key: self.computed[key] for key in _OF_THE_WORKER}

    def computed_with(self) -> Entry:
        """Return for the manifest what the workers computed with, each value once."""

        def all_of(key: str) -> list[Any]:
            return list(dict.fromkeys(value for part in self.parts for value in part[key]))

        if not self.parts:
            return computed_with([self.predictor])
        backends = dict.fromkeys(part["backend"] for part in self.parts)
        return {
            **self.parts[0],
            "devices": all_of("devices"),
            "device_names": sorted(all_of("device_names")),
            "backend": ", ".join(backends),
        }


def predict_on_cluster(
    source: str | Path,
    output: str | Path,
    model: str | Path | None,
    workspace: str | Path,
    options: PredictOptions,
    callback: Callback,
    clock: Clock,
) -> PredictResult:
    """Segment scans on the cluster that the options name.

    Args:
        source: as in `predict`, like those that follow.
        output: folder for the answers.
        model: where it is; None for the only one.
        workspace: folder with `plans/` and `runs/`.
        options: everything else.
        callback: receives progress; may raise `Cancelled`.
        clock: runs since the command started.

    Returns:
        As `predict`.

    Raises:
        MedsegError: as `predict`, or the cluster cannot be started or reached.
    """
    predictors = load_predictors(model, workspace, replace(options, device="cpu"))
    with open_engine(options.cluster, callback) as engine:
        elsewhere = OnCluster.of(engine, model, workspace, options, predictors[0])
        return predict_with(predictors, source, output, options, callback, clock, elsewhere)


_loaded: dict[str, Any] = {}
"""The model that this worker has loaded."""


def describe_worker(loading: Loading) -> dict[str, Any]:
    """Return `how_computed_there` for the model that a worker has loaded.

    Raises:
        ModelError: it is not the model that the command loaded.
    """
    return _load(loading)[1]


def answer_case(item: tuple[Case, Forms], loading: Loading, computed: Mapping[str, Any], output: Path) -> Answered:
    """Answer a case on a worker.

    Args:
        item: the case, and the forms of its answer.
        loading: how the model is loaded.
        computed: what `how_computed_there` has to say of it.
        output: folder for the answer.

    Returns:
        The outcome of the case, with what the worker computed with.

    Raises:
        ModelError: the worker has another model, or computes otherwise than the first one.
    """
    case, forms = item
    predictor, here = _load(loading)
    _check_same(computed, here, list(computed))
    try:
        [outcome] = segment([predictor], [case], output, forms=forms)
    finally:
        notes = predictor.take_notes()  # else they would come back with a later command: the worker keeps the model
    entry = None if outcome.problem else finished_entry(output, case, outcome.files, about_answer(outcome))
    return Answered(outcome, entry, notes, computed_with([predictor]))


def _load(loading: Loading) -> tuple[Predictor, dict[str, Any]]:
    """Return the model, loaded once in this process as long as it is the same."""
    loaded: tuple[Predictor, dict[str, Any]] = once_in_process(_loaded, loading.key, loading)
    return loaded


def _check_same(expected: Mapping[str, Any], here: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Refuse to work if this worker would compute something differently from the others.

    Raises:
        ModelError: a value differs.
    """
    unlike = [key for key in keys if expected.get(key) != here.get(key)]
    if unlike:
        shown = "; ".join(f"{key}: {here.get(key)}, not {expected.get(key)}" for key in unlike)
        raise ModelError(
            f"A worker would answer otherwise than the others: {shown}.",
            "Give all workers the same files and devices, or name what they have in common: --device cpu",
        )
