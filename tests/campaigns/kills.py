"""Kill every verb that writes with SIGKILL, at every rename and at random moments, and start it again.

    python tests/campaigns/kills.py --count 200

A verb is killed just before a change to the file system: each rename in turn, then any (a file opened for writing, a
folder made, a file removed), drawn at random, or at a random time. Then:

- every file with its final name is as it was, as the undisturbed command leaves it, or readable line by line or as
  JSON if it grows: nothing half-written is there to be taken for whole;
- the command, started again as its message says, ends well;
- what it leaves is what the undisturbed command leaves: images, weights and tables bit for bit, records and pages
  apart from times;
- no temporary file is left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from campaign import Answer, Fault, Settings, Tally, load_everything, main, outcome, run

MODEL = "runs/toy/main"
SCENARIOS: dict[str, list[str]] = {
    "check": ["check", "set", "--output", "made"],
    "labelme": ["labelme", "drawn", "made"],
    "plan": ["plan", "set", "--name", "made", "--preset", "cpu"],
    "train": ["train", "--plan", "other", "--steps", "6"],
    "plan --force": ["plan", "data", "--name", "toy", "--preset", "cpu", "--force"],
    "train --extend --set": ["train", "--plan", "toy", "--extend", "6", "--set=training.patience=3"],
    "train --extend": ["train", "--plan", "toy", "--extend", "6"],
    "predict": ["predict", "scans", "made", "--model", MODEL],
    "predict --write seg": ["predict", "study", "made", "--model", MODEL, "--generic-codes", "--write", "nifti,seg"],
    "evaluate": ["evaluate", "answers", "references", "--output", "made"],
    "watch": ["watch", "scans", "made", "--once", "--model", MODEL],
    "report": ["report", f"{MODEL}/fold_0"],
    "package": ["package", MODEL, "made.medseg"],
    "crossval": ["crossval", "--plan", "other", "--steps", "6"],
    "select": ["select", "--workspace", "judged"],
    "rank": ["rank", "judged/new", "made", "--workspace", "judged"],
    "view": ["view", "scans/case_0_0000.nii.gz", "answers/case_0.nii.gz", "--output", "made.html"],
    "export": ["export", MODEL, "made.onnx", "--folds", "0"],
    "import-nnunet": ["import-nnunet", "nnunet", "--name", "made"],
    "import-nnunet (zip)": ["import-nnunet", "nnunet.zip", "--name", "made"],
    "import-nnunet (plan)": ["import-nnunet", "raw", "--name", "made"],
    "dicom": [
        *("dicom", "study_labels.nii.gz", "study", "made", "--algorithm", "toy 1", "--generic-codes"),
        *("--structures", "liver=1", "--write", "seg,rtstruct,report"),
    ],
}
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\..+|\..+\.(partial|old)")
_GROWS = (".jsonl", ".json", ".lock", ".csv")
"""Files that a verb extends or replaces while it runs; after a kill they must be readable."""
_TIMES = (
    *("seconds", "train_seconds", "started", "ended", "time", "created", "written", "resumed", "interruptions"),
    *("memory_gb", "step_seconds", "seconds_per_step", "measured", "path", "host", "process", "sha256", "bytes"),
    *("elapsed", "when", "git", "made", "notes"),
)
"""Keys of records that say when, how fast and where; hashes of files that hold such are left out, too."""


# --- where the verbs work ---


def write_base(folder: Path, scenarios: Sequence[str]) -> None:
    """Write what the scenarios read: trained and cross-validated toys, answers, a study, nnU-Net's folders.

    What takes long, the trained models, is made only where one of the scenarios names it.
    """
    from judged_workspace import STEPS, write_judged_workspace
    from nnunet_folders import dataset, plans, write_model
    from small_sets import write_labelme, write_map, write_study
    from toy_workspace import write_toy_workspace

    write_toy_workspace(folder)
    for kind in ("plans/other.yaml", "plans/other.cases.csv", "plans/other.splits.json"):
        toy = folder / kind.replace("other", "toy")
        (folder / kind).write_text(toy.read_text().replace("name: toy", "name: other"))
    for target, kind, name in (
        ("set/imagesTr", "image", "{}_0000"),
        ("set/labelsTr", "label", "{}"),
        ("scans", "image", "{}_0000"),
        ("references", "label", "{}"),
    ):
        (folder / target).mkdir(parents=True)
        for number in range(4):
            source = folder / "data" / f"{number}_{kind}.nii.gz"
            shutil.copy(source, folder / target / f"{name.format(f'case_{number}')}.nii.gz")
    declared = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "one": 1, "two": 2}, "numTraining": 4}
    (folder / "set" / "dataset.json").write_text(json.dumps({**declared, "file_ending": ".nii.gz"}))
    write_labelme(folder / "drawn")
    for name in "bc":
        shutil.copy(folder / "drawn" / "a.png", folder / "drawn" / f"{name}.png")
        text = (folder / "drawn" / "a.json").read_text().replace("a.png", f"{name}.png")
        (folder / "drawn" / f"{name}.json").write_text(text)
    write_study(folder / "study")
    write_map(folder / "study_labels.nii.gz")
    (folder / "raw").mkdir()
    raw = {"plans": plans(), "dataset": dataset(), "splits_final": [{"train": ["a"], "val": ["b"]}]}
    for name, values in raw.items():
        (folder / "raw" / f"{name}.json").write_text(json.dumps(values))
    write_model(folder / "nnunet", folds=("0", "1"))
    shutil.make_archive(str(folder / "nnunet"), "zip", folder / "nnunet")
    named = " ".join(word for name in scenarios for word in SCENARIOS[name])
    commands: list[list[str]] = []
    if re.search(rf"toy|{MODEL}|answers", named):
        commands.append(["train", "--plan", "toy", "--steps", "6"])
        commands.append(["predict", "scans", "answers", "--model", MODEL])
    if "judged" in named:
        write_judged_workspace(folder / "judged")
        commands.append(["crossval", "--workspace", "judged", "--steps", str(STEPS)])
        commands.append(["select", "--workspace", "judged"])
    for words in commands:
        answer = run(words, folder, often, more_bytes=None)
        if outcome(answer) != "worked":
            raise Fault(f"{words} did not work:\n{answer.text}")


def often() -> None:
    """Write checkpoints all the time."""
    from medseg.training.run import fit

    fit.CHECKPOINT_SECONDS = -1.0


# --- moments ---


@dataclass(frozen=True)
class Moment:
    """When to kill: before the change number `change` of a kind, or after some seconds.

    Attributes:
        kind: rename, change or time.
        number: of the change, from 0.
        seconds: after the start of the command.
    """

    kind: str
    number: int = 0
    seconds: float = 0.0


_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def is_change(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    """Return whether an audit event is a change to files in a folder."""
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return bool(writes) and isinstance(path, str | bytes) and not os.fsdecode(path).startswith(("/dev", "/proc"))
    return event in _CHANGES


def watch_changes(folder: Path, moment: Moment | None, log: Path | None) -> None:
    """Count the changes of this process, and kill it at a moment, or write at its end how many there were."""
    often()
    counts = {"rename": 0, "change": 0}
    lock = threading.Lock()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if log else -1

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not is_change(event, arguments, str(folder)):
            return
        with lock:
            for kind in ("rename", "change") if event == "os.rename" else ("change",):
                if moment is not None and (moment.kind, moment.number) == (kind, counts[kind]):
                    os.kill(os.getpid(), signal.SIGKILL)
                counts[kind] += 1
            if log:
                os.pwrite(descriptor, json.dumps(counts).encode(), 0)

    sys.addaudithook(hook)
    if moment is not None and moment.kind == "time":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process without any clean-up, as SIGKILL does
        signal.setitimer(signal.ITIMER_REAL, max(moment.seconds, 1e-3))


# --- contents ---


def plain(value: Any) -> Any:
    """Return a record without what says when and how fast."""
    if isinstance(value, dict):
        kept = {key: content for key, content in value.items() if key not in _TIMES and not key.endswith(".dcm")}
        return {key: plain(content) for key, content in kept.items()}
    return [plain(content) for content in value] if isinstance(value, list) else value


def content(path: Path) -> Any:
    """Return what a file says, less times."""
    data = path.read_bytes()
    if path.suffix == ".json":
        return plain(json.loads(data))
    if path.name == "selection.yaml":
        from ruamel.yaml import YAML

        return plain(YAML(typ="safe").load(data))
    if path.suffix == ".jsonl":
        return [plain(json.loads(line)) for line in data.decode().splitlines() if line.strip()]
    if path.suffix == ".html":
        # a session's notes say what it found, such as a run to go on with; the chart shows the loss of log.jsonl
        data = re.sub(rb"<svg.*?</svg>", b"", data, flags=re.DOTALL)
        text = re.sub(
            rb"data:image/[^\"']*|<dt>note</dt><dd>[^<]*</dd>|\d[\d.,:]*( ?(s|ms|min|h|GB|MB|kB)\b)?", b"", data
        )
        return re.sub(rb"\s+", b" ", text)
    if path.suffix == ".pt":
        return "a checkpoint"
    if path.suffix == ".dcm":
        import pydicom

        elements = pydicom.dcmread(path)
        return [str(elements.get("Modality")), elements.get("PixelData"), len(elements)]
    return data


def files_of(folder: Path) -> dict[str, Path]:
    """Return every file below a folder by its path in it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def snapshot(folder: Path) -> dict[str, Any]:
    """Return what all files say."""
    return {name: content(path) for name, path in files_of(folder).items()}


def temporaries(folder: Path) -> list[str]:
    """Return the temporary files and folders."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if _TEMPORARY.fullmatch(path.name)]


def check_nothing_half(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Refuse a file that is neither as before nor as it will be, unless it grows and can be read."""
    for name, path in files_of(folder).items():
        if any(_TEMPORARY.fullmatch(part) or part.startswith(".next.") for part in Path(name).parts):
            continue  # half-written, or whole and yet to be moved into place
        try:
            if path.suffix == ".jsonl":
                lines = path.read_text().splitlines()
                for line in lines[:-1]:
                    json.loads(line)
                continue
            now = content(path)
        except Exception as error:
            raise Fault(f"{name} is half-written: {error!r}") from None
        known = [known[name] for known in (before, after) if name in known]
        if path.suffix == ".pt":
            import torch

            torch.load(path, weights_only=True)
        elif now not in known and not name.endswith(_GROWS) and path.suffix != ".html" and "cache/" not in name:
            raise Fault(f"{name}, of {path.stat().st_size} bytes, is neither as before nor as it will be")


# --- tries ---


@dataclass(frozen=True)
class Undisturbed:
    """What a command does when nothing happens.

    Attributes:
        files: {path: what it says} afterwards.
        counts: how many renames and changes it makes.
        seconds: how long it takes.
    """

    files: dict[str, Any]
    counts: dict[str, int]
    seconds: float


class Kills:
    """The campaign's folders and what commands do undisturbed."""

    def __init__(self, folder: Path, scenarios: Sequence[str]) -> None:
        self.folder = folder
        self.base, self.work = folder / "base", folder / "work"
        write_base(self.base, scenarios)
        self.before = snapshot(self.base)

    def fresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.base, self.work)

    def start(self, words: Sequence[str], moment: Moment | None = None, log: Path | None = None) -> Answer:
        return run(words, self.work, partial(watch_changes, self.work, moment, log), more_bytes=None)

    def undisturbed(self, words: Sequence[str]) -> Undisturbed:
        self.fresh()
        log, start_time = self.folder / "counts.json", time.monotonic()
        answer = self.start(words, log=log)
        if outcome(answer) != "worked":
            raise Fault(f"does not work undisturbed:\n{answer.text}")
        return Undisturbed(snapshot(self.work), json.loads(log.read_text()), time.monotonic() - start_time)

    def kill(self, words: Sequence[str], moment: Moment, expected: Undisturbed) -> str:
        self.fresh()
        answer = self.start(words, moment)
        if answer.code not in (-signal.SIGKILL, -signal.SIGALRM):
            if outcome(answer) != "worked":
                raise Fault(f"was not killed, and did not work:\n{answer.text}")
            result = "had ended"
        else:
            check_nothing_half(self.work, self.before, expected.files)
            result = self._start_again(words)
        self._compare(expected.files)
        return result

    def _start_again(self, words: Sequence[str]) -> str:
        """Give the command again or, where it says so, with another option."""
        again: list[tuple[str, list[str]]] = [("again", [*words])]
        if words[0] == "train":
            plain_words = [word for word in words if word not in ("--steps", "--extend", "6") and "--set" not in word]
            again.insert(0, ("--resume", [*plain_words, "--resume"]))
        text = ""
        for how, retry in again:
            answer = self.start(retry)
            result = outcome(answer)
            if result == "worked" and not (how == "--resume" and "--extend" in words and not self._extended()):
                return how
            if result == "worked":
                continue  # it was killed before it began: the finished run is as it was
            if result != "refused":
                raise Fault(f"{' '.join(retry)} {result} after a kill:\n{answer.text}")
            text += answer.text
        if "--force" in text and outcome(answer := self.start([*words, "--force"])) == "worked":
            return "again with --force"
        raise Fault(f"cannot be started again:\n{text}")

    def _extended(self) -> bool:
        return bool(json.loads((self.work / MODEL / "fold_0" / "run.json").read_text()).get("extended"))

    def _compare(self, expected: dict[str, Any]) -> None:
        found = snapshot(self.work)
        if rest := temporaries(self.work):
            raise Fault(f"temporary files are left: {', '.join(rest)}")
        missing, more = expected.keys() - found.keys(), found.keys() - expected.keys()
        if missing or more:
            raise Fault(f"files missing: {sorted(missing)}, files more: {sorted(more)}")
        differing = [name for name in expected if expected[name] != found[name]]
        if differing:
            shown = "\n".join(f"{name}\n{_difference(expected[name], found[name])}" for name in differing[:3])
            raise Fault(f"{len(differing)} files differ from an undisturbed run:\n{shown}")


def _difference(first: Any, second: Any) -> str:
    """Return the places where two contents begin to differ, as text."""
    texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value) for value in (first, second)]
    same = next((k for k, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(same - 60, 0)
    return "\n".join(f"  {text[start : start + 400]!r}" for text in texts)


def campaign(settings: Settings, tally: Tally) -> None:
    """Kill the verbs in turn: at every rename first, then at random moments, until the tries are spent."""
    load_everything()
    names = [*SCENARIOS]
    kills = Kills(settings.folder, sorted({names[number % len(names)] for number, _ in settings.tries()}))
    known: dict[str, Undisturbed] = {}
    used = dict.fromkeys(names, 0)
    for number, rng in settings.tries():
        name = names[number % len(names)]
        words = SCENARIOS[name]
        turn = number // len(names)

        def attempt(name: str = name, words: list[str] = words, turn: int = turn, rng: Any = rng) -> str:
            if name not in known:
                known[name] = kills.undisturbed(words)
            return kills.kill(words, moment_of(turn, known[name], rng), known[name])

        used[name] += 1
        tally.try_it(name, number, attempt, " ".join(words))


def moment_of(turn: int, expected: Undisturbed, rng: Any) -> Moment:
    """Return the moment of a verb's try: its renames in turn, then changes and times drawn at random."""
    if turn < expected.counts["rename"]:
        return Moment("rename", turn)
    if rng.random() < 0.6 and expected.counts["change"]:
        return Moment("change", int(rng.integers(expected.counts["change"])))
    return Moment("time", seconds=float(rng.uniform(0, expected.seconds)))


if __name__ == "__main__":
    sys.exit(main(campaign, __doc__, 200))
