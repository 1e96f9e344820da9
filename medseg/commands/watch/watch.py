"""`medseg watch`: answer studies as they arrive in a folder, each once and none before it is complete.

What becomes of a study is recorded in `watch.jsonl` in the folder of answers (`state.WatchState`), so that a watch goes
on where the one before it ended or was killed. An answer is made in a hidden folder and moved to its final one when it
is complete.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medseg.commands.predict.found import series_rules
from medseg.commands.predict.predict import load_predictors, predict_with
from medseg.commands.predict.result import PredictResult
from medseg.commands.watch.arrivals import (
    Arrival,
    Snapshot,
    arrivals_in,
    content_hash_of,
    take_snapshot,
    why_incomplete,
)
from medseg.commands.watch.options import WatchOptions
from medseg.commands.watch.state import ANSWERED, WatchState
from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError, PlanError
from medseg.core.files import check_folder
from medseg.core.progress import Callback, silent
from medseg.core.wording import first_few
from medseg.delivery.provenance.manifest import without_uids
from medseg.inference.predictor import Predictor
from medseg.models.identity import identity

WAITING, DONE, FAILED, CHANGED = "waiting", "done", "failed", "changed"
_MIN_POLL_SECONDS, _MAX_POLL_SECONDS = 0.02, 5.0
_DECIDED_WAIT = 6
"""Settling times between two snapshots of a study that is done or failed: thousands of them may lie in the folder."""
_MAX_NAMED = 3


@dataclass(frozen=True)
class StudyEvent:
    """An event of a study: that it was answered, waits, or failed.

    Attributes:
        study: the name of its folder or file; empty for a note on the watched folder itself.
        state: `waiting`, `done`, `failed`, `changed` (since it was answered, and left alone) or `note`.
        message: the reason for the state; of a note, its text.
        folder: the folder of the answers, if there are any.
        result: the result of the prediction that was just made.
        seconds: how long it took.
    """

    study: str
    state: str
    message: str | None = None
    folder: Path | None = None
    result: PredictResult | None = None
    seconds: float = 0.0


def watch(
    source: str | Path,
    output: str | Path,
    model: str | Path | None = None,
    workspace: str | Path = ".",
    options: WatchOptions | None = None,
    callback: Callback = silent,
) -> Generator[StudyEvent, None, None]:
    """Answer the studies in a folder as they arrive, and yield what becomes of each.

    Each subfolder, zip or scan of `source` is answered as `predict` would, into a folder of its own in `output`. The
    generator ends after one pass with `once`, else when it is closed.

    Args:
        source: the watched folder; nothing is changed in it.
        output: where the answers and `watch.jsonl` go; not in `source`.
        model: the model, as for `predict`; it is loaded once.
        workspace: where named models are searched, as for `predict`.
        options: how long to wait, and how to answer.
        callback: progress of each study, as for `predict`; may raise `Cancelled`, which ends the watch.

    Yields:
        An event whenever the state of a study changes.

    Raises:
        MedsegError: there is no such folder or model, another watch works in `output`, or, with `once`, the folder
            cannot be listed. Errors of a single study are events.
    """
    options, source, output = options or WatchOptions(), Path(source), Path(output)
    _check_folders(source, output)
    output.mkdir(parents=True, exist_ok=True)
    with WatchState(output) as state:
        predictors = load_predictors(model, workspace, options.predict)
        watcher = _Watcher(source, state, options, predictors, callback)
        yield from watcher.round()
        while not options.once:
            time.sleep(min(max(options.settle_seconds / 2, _MIN_POLL_SECONDS), _MAX_POLL_SECONDS))
            yield from watcher.round()
        if watcher.has_open_studies or watcher.has_unnamed_files:
            time.sleep(options.settle_seconds)
            yield from watcher.round()


def _check_folders(source: Path, output: Path) -> None:
    if not source.is_dir():
        raise DataError(f"There is no folder {source}.", "Expected a folder into which studies are copied.")
    outer = source.resolve()
    # a link that leads elsewhere lies in a folder as well
    outputs = output.resolve(), output.absolute().parent.resolve() / output.name
    if any(inner == outer or outer in inner.parents or inner in outer.parents for inner in outputs):
        raise DataError(
            f"One of the folders {output} and {source} is inside the other: answers would be read as studies.",
            "Name a folder for the answers that is outside of the watched one.",
        )
    check_folder(output)


@dataclass
class _LastSeen:
    """The last snapshot of a study; times are those of this machine's monotonic clock, in seconds.

    Attributes:
        signature: the signature of the snapshot.
        changed_at: when the study was first seen with this signature.
        decided_at: when a snapshot was last taken of a study that is done or failed; else 0.
    """

    signature: str
    changed_at: float
    decided_at: float


class _Watcher:
    """Goes round after round through the studies of a folder.

    Attributes:
        has_open_studies: whether the last round left a study that may be answered later.
        has_unnamed_files: whether it saw a file for the first time that is no study.
    """

    def __init__(
        self,
        source: Path,
        state: WatchState,
        options: WatchOptions,
        predictors: Sequence[Predictor],
        callback: Callback,
    ) -> None:
        self.source, self.state, self.options, self.predictors = source, state, options, predictors
        self.callback = callback
        data = predictors[0].model.plan.data
        self.channels, self.rules = data.channels, series_rules(data, options.predict)
        self.model = identity(predictors[0].model)
        self.has_open_studies = False
        self._seen: dict[str, _LastSeen] = {}
        self._decided_now: set[str] = set()  # by this watch, not by an earlier one
        self._noted: set[str] = set()
        self.has_unnamed_files = False
        self._others: set[str] = set()  # in the round before

    def round(self) -> Iterator[StudyEvent]:
        """Go through all studies once, and yield what happens."""
        self.has_open_studies = False
        try:
            arrivals, others = arrivals_in(self.source, len(self.channels))
        except OSError as error:
            if self.options.once:
                raise DataError(
                    f"{self.source} cannot be listed: {error.strerror}.", "Check the permissions."
                ) from None
            yield from self._note(f"{self.source} cannot be listed ({error.strerror}); it is tried again.")
            return
        # the header of a file with data may arrive after it
        lasting = [name for name in others if name in self._others]
        self.has_unnamed_files, self._others = len(lasting) < len(others), set(others)
        if lasting:
            named = first_few(lasting, _MAX_NAMED)
            yield from self._note(
                f"{named}: not a study, by the name. Each DICOM study needs a folder or a zip of its own."
            )
        for name in self._seen.keys() - {arrival.name for arrival in arrivals}:
            del self._seen[name]
        for arrival in arrivals:
            event = self._step(arrival)
            if event is not None:
                yield event

    def _note(self, message: str) -> Iterator[StudyEvent]:
        """Yield a note on the folder, once."""
        if message not in self._noted:
            self._noted.add(message)
            yield StudyEvent("", "note", message)

    def _step(self, arrival: Arrival) -> StudyEvent | None:
        """Take a snapshot of a study, and answer it if it has settled."""
        entry = self.state.entries.get(arrival.name, {})
        decided = entry.get("state") in (DONE, FAILED, CHANGED) and not self._is_asked_again(arrival.name, entry)
        seen, now = self._seen.get(arrival.name), time.monotonic()
        if decided and seen and now - seen.decided_at < _DECIDED_WAIT * self.options.settle_seconds:
            return None
        snapshot = take_snapshot(arrival)
        if decided and snapshot.signature == entry["signature"]:
            self._seen[arrival.name] = _LastSeen(snapshot.signature, now, now)
            return None
        self.has_open_studies = True
        if seen is None or seen.signature != snapshot.signature:
            self._seen[arrival.name] = _LastSeen(snapshot.signature, now, 0.0)
            return None
        if now - seen.changed_at < self.options.settle_seconds:
            return None
        if decided and entry["state"] != FAILED:
            return self._check_content(arrival, snapshot, entry)
        return self._answer_if_complete(arrival, snapshot, entry)

    def _is_asked_again(self, name: str, entry: Mapping[str, Any]) -> bool:
        """Return whether --again asks to answer a study again; a failed study is tried once per start of `watch`."""
        if not self.options.again:
            return False
        failed = entry["state"] == FAILED and name not in self._decided_now
        return failed or entry["state"] == CHANGED or entry.get("model", self.model) != self.model

    def _check_content(self, arrival: Arrival, snapshot: Snapshot, entry: Mapping[str, Any]) -> StudyEvent | None:
        """Report a study whose content changed since it was answered; other names or times are not a change."""
        about = {key: entry[key] for key in ("content", "model") if key in entry}
        if snapshot.problem is not None:
            return None  # a drive that is away for a while is not a change
        try:
            same = content_hash_of(snapshot) == entry.get("content")
        except OSError:
            return None
        if same:
            self.state.note(arrival.name, DONE, signature=snapshot.signature, **about)
            return None
        self.state.note(arrival.name, CHANGED, signature=snapshot.signature, **about)
        if self.options.again:
            return self._answer_if_complete(arrival, snapshot, self.state.entries[arrival.name])
        message = "its content changed since it was answered; the answer is left alone (--again replaces it)."
        return StudyEvent(arrival.name, CHANGED, message, self.state.folder / str(entry["folder"]))

    def _answer_if_complete(self, arrival: Arrival, snapshot: Snapshot, entry: Mapping[str, Any]) -> StudyEvent | None:
        """Answer a settled study if it is complete; else wait for it, until patience ends and it has failed."""
        waits = entry.get("state") == WAITING and entry["signature"] == snapshot.signature
        patience = self.options.patience_seconds
        late = not patience or (waits and time.time() - float(entry["since"]) >= patience)
        if waits and not late:
            return None
        reason = why_incomplete(arrival, snapshot, self.channels, self.options.predict.channels, self.rules, late)
        if reason is None:
            return self._answer(arrival, snapshot)
        if late:
            return self._fail(arrival, snapshot, reason)
        since, problem = round(time.time(), 1), self._without_identifiers(reason)
        self.state.note(arrival.name, WAITING, signature=snapshot.signature, since=since, problem=problem)
        return StudyEvent(arrival.name, WAITING, reason)

    def _answer(self, arrival: Arrival, snapshot: Snapshot) -> StudyEvent | None:
        """Answer a study; the answer is dropped if the study changed meanwhile."""
        start = time.monotonic()
        try:
            folder = self.state.folder_for(arrival.name, arrival.stem)
            partial = self.state.make_partial_folder(folder)
        except (DataError, OSError) as error:  # OSError: the hidden folder's name may be too long
            return self._fail(arrival, snapshot, str(error))
        try:
            content = content_hash_of(snapshot)
            result = predict_with(self.predictors, arrival.path, partial, self.options.predict, self.callback)
            if take_snapshot(arrival).signature != snapshot.signature:
                return None  # the next round sees the change, and waits until it has settled
            problem = "; ".join(f"{case}: {reason}" for case, reason in result.failed.items())
            if not result.files:
                return self._fail(arrival, snapshot, problem)
            about = {"signature": snapshot.signature, "content": content, "folder": folder, "model": self.model}
            then = FAILED if problem else DONE
            self.state.publish(arrival.name, about | {"then": then, "problem": self._without_identifiers(problem)})
            self._decided_now.add(arrival.name)
        except (Cancelled, PlanError, ModelError):
            raise  # what is wrong with the request is wrong with every study
        except (MedsegError, OSError) as error:
            return self._fail(arrival, snapshot, str(error))
        except Exception as error:  # a defect that one study brings to light must not end the watch for all others
            return self._fail(arrival, snapshot, _defect(error))
        finally:
            # an answer that is complete is kept: if this watch was stopped, the next one moves it to its folder
            if self.state.entries.get(arrival.name, {}).get("state") != ANSWERED:
                shutil.rmtree(partial, ignore_errors=True)
        final = self.state.folder / folder
        files = {case: final / path.relative_to(partial) for case, path in result.files.items()}
        # notes name files, too, and commands on them that are to be pasted later
        notes = tuple(note.replace(str(partial), str(final)) for note in result.notes)
        page = final / result.page.relative_to(partial) if result.page is not None else None
        result = replace(result, files=files, notes=notes, page=page)
        return StudyEvent(arrival.name, then, problem or None, final, result, time.monotonic() - start)

    def _fail(self, arrival: Arrival, snapshot: Snapshot, reason: str) -> StudyEvent:
        """Record that a study has no answer, and why; it is tried again when it changes."""
        problem = self._without_identifiers(reason)
        self.state.note(arrival.name, FAILED, signature=snapshot.signature, problem=problem)
        self._decided_now.add(arrival.name)
        return StudyEvent(arrival.name, FAILED, reason)

    def _without_identifiers(self, message: str) -> str:
        """Return a message as the journal holds it: without UIDs and without the folders above the watched one."""
        return str(without_uids(message, (self.source.absolute(), self.state.folder.absolute())))


def _defect(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"{type(error).__name__}: {error} ({line}). This is an error in medseg itself; please report it."
