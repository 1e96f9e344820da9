"""Watches that are stopped or killed: no answer is lost, and none is made twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import contents

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
from paths import HELPERS, ROOT
from watching import once, scan, states, times

from medseg.commands.watch.state import JOURNAL


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_watch_that_is_stopped_while_an_answer_moves_loses_none(
    place: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """SIGTERM may come at any moment, also when the journal says that an answer is whole and it is not in its place."""
    path = scan(place / "in" / "a.nii.gz")
    once(place, small_model)
    old = (place / "out" / "a" / "a.nii.gz").read_bytes()
    scan(path, seed=1)
    move = Path.rename

    def stopped(self: Path, target: Path) -> Path:
        if self.name == ".a.partial" and moment == "after":
            raise KeyboardInterrupt
        if self.name == "a" and moment == "before":
            raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        once(place, small_model, again=True)
    monkeypatch.undo()
    assert states(once(place, small_model)) == {}
    assert (place / "out" / "a" / "a.nii.gz").read_bytes() != old
    assert sorted(path.name for path in (place / "out").iterdir()) == ["a", JOURNAL]


def test_an_answer_that_was_whole_when_the_watch_was_killed_counts(place: Path, small_model: Path) -> None:
    scan(place / "in" / "a.nii.gz")
    once(place, small_model)
    (place / "out" / "a").rename(place / "out" / ".a.partial")
    lines = (place / "out" / JOURNAL).read_text().splitlines(keepends=True)
    (place / "out" / JOURNAL).write_text(lines[0] + lines[1][:40])  # killed before the answer was moved to its place
    (place / "out" / ".b.partial").mkdir()
    before = times(place / "out")
    assert states(once(place, small_model)) == {}
    assert list(times(place / "out").values()) == list(before.values())
    assert sorted(path.name for path in (place / "out").iterdir()) == ["a", JOURNAL]


KILLED = """
import os, signal, sys, torch
import watching
from pathlib import Path
torch.set_num_threads(1)
place, model = Path(sys.argv[1]), Path(sys.argv[2])
def die(event):
    if any(path.name == ".b.partial" for path in (place / "out").iterdir()) and event.info.get("share"):
        os.kill(os.getpid(), signal.SIGKILL)
watching.once(place, model, die)
"""


@pytest.mark.slow
def test_the_next_watch_continues_a_killed_one(place: Path, small_model: Path) -> None:
    for number, name in enumerate("abc"):
        scan(place / "in" / f"{name}.nii.gz", number)
    path = os.pathsep.join([str(HELPERS), str(ROOT)])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(place), str(small_model)],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    before = times(place / "out" / "a")
    assert sorted(path.name for path in (place / "out").iterdir()) == [".b.partial", "a", JOURNAL]
    assert states(once(place, small_model)) == {"b.nii.gz": "done", "c.nii.gz": "done"}
    assert times(place / "out" / "a") == before
    (place / "out").rename(place / "in_two")
    once(place, small_model)
    for name in "abc":
        assert contents(place / "in_two" / name) == contents(place / "out" / name)
    assert sorted(path.name for path in (place / "in_two").iterdir()) == ["a", "b", "c", JOURNAL]


@pytest.mark.slow
def test_the_command_ends_cleanly_and_speaks_json(place: Path, small_model: Path) -> None:
    scan(place / "in" / "a.nii.gz")
    command = [
        sys.executable,
        "-m",
        "medseg",
        "watch",
        "in",
        "out",
        "-m",
        str(small_model),
        "--settle",
        "0.2s",
        "--json",
    ]
    running = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        first = json.loads(running.stdout.readline())
        running.send_signal(signal.SIGTERM)
        rest, messages = running.communicate()
    finally:
        running.kill()
    assert (first["kind"], first["study"], first["state"], first["folder"]) == ("study", "a.nii.gz", "done", "out/a")
    assert set(first["cases"][0]["volumes"]) == {"one", "two"}
    # the signal may come before or after the notes on the study, which follow its record
    *notes, last = map(json.loads, rest.splitlines())
    assert {note["kind"] for note in notes} <= {"note"}
    assert last == {"kind": "result", "verb": "watch", "exit_code": 0, "folder": "out", "done": 1, "failed": 0,
                    "changed": 0, "waiting": 0}  # fmt: skip
    assert "Stopped." in messages
    assert "Traceback" not in messages
    assert running.returncode == 0
