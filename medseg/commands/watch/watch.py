"""`medseg watch`: studies are answered as they arrive in a folder, each once, whole, and none half-copied.

What becomes of a study stands in `watch.jsonl` in the folder of the answers (`watch_state`), so that a watch goes on
where the one before it ended or was killed. An answer is made in a hidden folder and moved to its place when it is
whole.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medseg.commands.predict.predict import load_predictors, predict_with, series_rules
from medseg.commands.predict.result import PredictResult
from medseg.commands.watch.arrivals import Arrival, Look, arrivals_in, content_of, look_at, why_not_whole
from medseg.commands.watch.options import WatchOptions
from medseg.commands.watch.state import ANSWERED, WatchState
from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError, PlanError
from medseg.core.progress import Callback, silent
from medseg.delivery.provenance.manifest import without_uids
from medseg.inference.predictor import Predictor
from medseg.models.identity import identity

WAITING, DONE, FAILED, CHANGED = "waiting", "done", "failed", "changed"
_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.02, 5.0
_DECIDED_LOOKS = 6
"""Settling times between two looks at a study that is done or failed."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class StudyEvent:
    """What happened to a study.

    Attributes:
        study: the name of its folder or file; empty for a note on the watched folder itself.
        state: `waiting`, `done`, `failed`, `changed` (since it was answered, and left alone) or `note`.
        message: why; of a note, the note.
        folder: of the answers, if there are any.
        result: of the prediction that was just made.
        seconds: that it took.
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
    """Answer the studies in a folder, and yield what becomes of each; without `once` until it is closed.

    Each subfolder, zip or scan of `source` is answered as `predict` would, into a folder of its own in `output`.

    Args:
        source: the watched folder; nothing is changed in it.
        output: where the answers and `watch.jsonl` go; not in `source`.
        model, workspace: as `predict` has them; the model is loaded once.
        options: how.
        callback: as `predict` has it, for each study; may raise `Cancelled`, which ends the watch.

    Raises:
        MedsegError: there is no such folder or model, or another watch works in `output`. No study raises.
    """
    options, source, output = options or WatchOptions(), Path(source), Path(output)
    _check_folders(source, output)
    output.mkdir(parents=True, exist_ok=True)
    with WatchState(output) as state:
        predictors = load_predictors(model, workspace, options.predict)
        watcher = _Watcher(source, state, options, predictors, callback)
        yield from watcher.round()
        while not options.once:
            time.sleep(min(max(options.settle_seconds / 2, _SHORTEST_POLL_SECONDS), _LONGEST_POLL_SECONDS))
            yield from watcher.round()
        if watcher.open:
            time.sleep(options.settle_seconds)
            yield from watcher.round()


def _check_folders(source: Path, output: Path) -> None:
    if not source.is_dir():
        raise DataError(f"There is no folder {source}.", "Expected a folder into which studies are copied.")
    outer = source.resolve()
    places = output.resolve(), output.absolute().parent.resolve() / output.name  # a link to elsewhere lies in a folder
    if any(inner == outer or outer in inner.parents or inner in outer.parents for inner in places):
        raise DataError(
            f"{output} and {source} lie in one another: answers would be taken for studies.",
            "Name a folder for the answers beside the watched one.",
        )


@dataclass
class _Seen:
    """What a study looked like when it was last seen to change, and when (by this machine's steady clock)."""

    signature: str
    since: float
    looked: float


class _Watcher:
    """Looks round after round at what lies in a folder.

    Attributes:
        open: whether the last round left a study that may be answered later.
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
        self.open = False
        self._seen: dict[str, _Seen] = {}
        self._decided_here: set[str] = set()
        self._noted: set[str] = set()

    def round(self) -> Iterator[StudyEvent]:
        """Look at every study once."""
        self.open = False
        try:
            found, others = arrivals_in(self.source, len(self.channels))
        except OSError as error:
            yield from self._note(f"{self.source} cannot be listed ({error.strerror}); it is tried again.")
            return
        if others:
            named = ", ".join(others[:_MOST_NAMED]) + ", ..." * (len(others) > _MOST_NAMED)
            yield from self._note(
                f"{named}: no study by the name. Each DICOM study needs a folder or a zip of its own."
            )
        for name in self._seen.keys() - {arrival.name for arrival in found}:
            del self._seen[name]
        for arrival in found:
            event = self._step(arrival)
            if event is not None:
                yield event

    def _note(self, message: str) -> Iterator[StudyEvent]:
        """Say something of the folder, once."""
        if message not in self._noted:
            self._noted.add(message)
            yield StudyEvent("", "note", message)

    def _step(self, arrival: Arrival) -> StudyEvent | None:
        """Look at a study, and do what is to be done now."""
        known = self.state.entries.get(arrival.name, {})
        decided = known.get("state") in (DONE, FAILED, CHANGED) and not self._to_do_again(arrival.name, known)
        seen, now = self._seen.get(arrival.name), time.monotonic()
        if decided and seen and now - seen.looked < _DECIDED_LOOKS * self.options.settle_seconds:
            return None
        look = look_at(arrival)
        if decided and look.signature == known["signature"]:
            self._seen[arrival.name] = _Seen(look.signature, now, now)
            return None
        self.open = True
        if seen is None or seen.signature != look.signature:
            self._seen[arrival.name] = _Seen(look.signature, now, 0.0)
            return None
        if now - seen.since < self.options.settle_seconds:
            return None
        if decided and known["state"] != FAILED:
            return self._compare(arrival, look, known)
        return self._consider(arrival, look, known)

    def _to_do_again(self, name: str, known: Mapping[str, Any]) -> bool:
        """Whether --again asks for a study that is decided; what failed is tried once a start."""
        if not self.options.again:
            return False
        failed = known["state"] == FAILED and name not in self._decided_here
        return failed or known["state"] == CHANGED or known.get("model", self.model) != self.model

    def _compare(self, arrival: Arrival, look: Look, known: Mapping[str, Any]) -> StudyEvent | None:
        """A study that was answered and looks different now: by its content it may be the same as ever."""
        about = {key: known[key] for key in ("content", "model") if key in known}
        if look.problem is not None:
            return None  # a drive that is away for a while is no change
        try:
            same = content_of(look) == known.get("content")
        except OSError:
            return None
        if same:
            self.state.note(arrival.name, DONE, signature=look.signature, **about)
            return None
        self.state.note(arrival.name, CHANGED, signature=look.signature, **about)
        if self.options.again:
            return self._consider(arrival, look, self.state.entries[arrival.name])
        message = "its content changed since it was answered; the answer is left alone (--again makes it anew)."
        return StudyEvent(arrival.name, CHANGED, message, self.state.folder / str(known["folder"]))

    def _consider(self, arrival: Arrival, look: Look, known: Mapping[str, Any]) -> StudyEvent | None:
        """A study that has settled: answered if it is whole, else waited for, until it has failed."""
        waits = known.get("state") == WAITING and known["signature"] == look.signature
        patience = self.options.patience_seconds
        late = not patience or (waits and time.time() - float(known["since"]) >= patience)
        if waits and not late:
            return None
        why = why_not_whole(arrival, look, self.channels, self.options.predict.channels, self.rules, late)
        if why is None:
            return self._answer(arrival, look)
        if late:
            return self._failed(arrival, look, why)
        since, problem = round(time.time(), 1), self._printable(why)
        self.state.note(arrival.name, WAITING, signature=look.signature, since=since, problem=problem)
        return StudyEvent(arrival.name, WAITING, why)

    def _answer(self, arrival: Arrival, look: Look) -> StudyEvent | None:
        """Answer a study; the answer counts if the study has not changed meanwhile."""
        began = time.monotonic()
        try:
            folder = self.state.folder_for(arrival.name, arrival.stem)
            place = self.state.workplace(folder)
        except (DataError, OSError) as error:  # OSError: such as a name that is too long with what is put before it
            return self._failed(arrival, look, str(error))
        try:
            content = content_of(look)
            result = predict_with(self.predictors, arrival.path, place, self.options.predict, self.callback)
            if look_at(arrival).signature != look.signature:
                return None  # the next round sees it, and waits until it has settled
            why = "; ".join(f"{case}: {problem}" for case, problem in result.failed.items())
            if not result.files:
                return self._failed(arrival, look, why)
            about = {"signature": look.signature, "content": content, "folder": folder, "model": self.model}
            then = FAILED if why else DONE
            self._publish(arrival, about | {"then": then, "problem": self._printable(why)})
        except (Cancelled, PlanError, ModelError):
            raise  # what is wrong with the request is wrong with every study
        except (MedsegError, OSError) as error:
            return self._failed(arrival, look, str(error))
        except Exception as error:  # a defect that one study brings to light must not end the watch for all others
            return self._failed(arrival, look, _defect(error))
        finally:
            if self.state.entries.get(arrival.name, {}).get("state") != ANSWERED:  # else it is whole, and the next
                shutil.rmtree(place, ignore_errors=True)  # start moves it to its place, if this one was stopped
        final = self.state.folder / folder
        result = replace(result, files={case: final / path.relative_to(place) for case, path in result.files.items()})
        return StudyEvent(arrival.name, then, why or None, final, result, time.monotonic() - began)

    def _publish(self, arrival: Arrival, about: Mapping[str, Any]) -> None:
        self.state.publish(arrival.name, about)
        self._decided_here.add(arrival.name)

    def _failed(self, arrival: Arrival, look: Look, why: str) -> StudyEvent:
        """Write down that a study has no answer, and why; it is tried anew when it changes."""
        self.state.note(arrival.name, FAILED, signature=look.signature, problem=self._printable(why))
        self._decided_here.add(arrival.name)
        return StudyEvent(arrival.name, FAILED, why)

    def _printable(self, message: str) -> str:
        """A message as the journal holds it: without UIDs and without names of folders above."""
        return str(without_uids(message, (self.source.absolute(), self.state.folder.absolute())))


def _defect(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    return f"{type(error).__name__}: {error} ({place}). This is an error in medseg itself; please report it."
