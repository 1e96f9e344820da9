"""The record of a run: what was ever written loads, and comes back as it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from medseg.core.errors import ModelError
from medseg.models.record import ChangeRecord, Leg, RecordFile, RunRecord, read_record
from medseg.models.run_files import FoldFolder

TRAINED: dict[str, Any] = {  # as medseg wrote it before records had a version
    "configuration": "3d_fullres",
    "fold": "0",
    "steps": 60,
    "budget_seconds": None,
    "repeat_with": None,
    "overrides": ["training.patience=1"],
    "recipe": None,
    "init": {
        "source": "runs/other/3d_fullres",
        "model": "0123456789abcdef",
        "fold": "0",
        "parts": [{"name": "stem", "taken": 1, "weights": 2, "detail": "channels: CT taken"}],
        "notes": ["the source's voxels are larger"],
        "share": 0.5,
        "asked": "other/3d_fullres",
    },
    "device": "cpu",
    "processes": 1,
    "precision": "float32",
    "network_factory": None,
    "plan_hash": "abc",
    "medseg": "0.1.0",
    "torch": "2.8.0",
    "python": "3.12.0",
    "schedule": [[0, 40, 0.0, 0.2], [40, 60, 0.2, 1.0]],
    "changes": [
        {"step": 10, "key": "training.learning_rate", "old": 0.01, "new": 0.002},
        {"step": 40, "key": "steps", "old": 200, "new": 60, "why": "no better Dice in 1 validation"},
    ],
    "extended": [{"from_step": 20, "to_step": 60, "asked": "3x"}],
    "ended_early": True,
    "train_seconds": 12.5,
    "finished": True,
    "seconds": 20.0,
    "notes": ["about 6:40 for 1000 steps"],
    "failed": {"case7": "it cannot be read"},
}
IMPORTED: dict[str, Any] = {
    "configuration": "3d_fullres",
    "fold": "3",
    "imported_from": {"what": "nnU-Net v2", "source": "model.zip", "sha256": {"plans.json": "abc"}},
    "network_factory": None,
    "medseg": "0.1.0",
    "scores": {"cases": 2, "dice": {"one": 0.75, "two": None}},
}


def write(folder: Path, values: Any) -> FoldFolder:
    files = FoldFolder(folder)
    files.record.write_text(json.dumps(values))
    return files


@pytest.mark.parametrize("values", [TRAINED, IMPORTED, {}, {"of a later version": 1, "steps": 3}])
def test_a_record_without_a_version_loads_and_is_written_as_it_was(tmp_path: Path, values: dict[str, Any]) -> None:
    files = write(tmp_path, values)
    record = read_record(files)
    assert record is not None
    record.write(files)
    assert json.loads(files.record.read_text()) == {"schema_version": 1, **values}
    assert read_record(files) == record


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "no keys and values"),
        ('{"schema_version": 2}', "schema_version 2; this medseg reads 1"),
        ('{"steps": "many"}', "steps is 'many'"),
        ('{"changes": [{"step": 1, "key": "a", "old": 1}]}', "changes.0.new"),
    ],
)
def test_a_damaged_record_is_refused_with_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    files = FoldFolder(tmp_path)
    files.record.write_text(text)
    with pytest.raises(ModelError, match=r"run\.json") as caught:
        read_record(files)
    assert words in caught.value.message


def test_a_changed_run_is_repeated_by_no_command() -> None:
    record = RunRecord(steps=100, repeat_with="--steps 100")
    assert record.changed([]) is record
    change = ChangeRecord(step=40, key="steps", old=100, new=60, why="to keep to the budget")
    legs = (Leg(0, 40, 0.0, 0.4), Leg(40, 60, 0.4, 1.0))
    assert record.redirected(legs, change, ended_early=False) == RunRecord(
        steps=60, repeat_with=None, changes=(change,), schedule=legs, extended=None, ended_early=False
    )


def test_an_extended_run_is_not_finished_any_more(tmp_path: Path) -> None:
    record = RunRecord(steps=20, repeat_with="--steps 20", finished=True, ended_early=True, seconds=9.0)
    longer = record.with_extension((Leg(0, 20), Leg(20, 40)), "2x", None, "medseg train --extend 20")
    assert longer.as_json() == {
        "schema_version": 1,
        "steps": 40,
        "budget_seconds": None,
        "repeat_with": "--steps 20 && medseg train --extend 20",
        "schedule": [[0, 20, 0.0, 1.0], [20, 40, 0.0, 1.0]],
        "extended": [{"from_step": 20, "to_step": 40, "asked": "2x"}],
    }
    change = ChangeRecord(step=20, key="steps", old=40, new=30, why="to keep to the budget")
    shorter = longer.redirected((Leg(0, 20), Leg(20, 30)), change, ended_early=False)
    assert shorter.extended is not None
    assert shorter.extended[0].to_step == 30
    again = shorter.with_extension((Leg(0, 20), Leg(20, 30), Leg(30, 60)), "2x", None, "medseg train --extend 30")
    assert again.repeat_with is None


@pytest.mark.parametrize("writes", [True, False])
def test_every_change_is_written_by_the_process_that_writes(tmp_path: Path, writes: bool) -> None:
    file = RecordFile(FoldFolder(tmp_path), RunRecord(steps=1), writes)
    assert not (tmp_path / "run.json").exists()
    file.update(file.content.updated(seconds=2.0))
    assert file.content.seconds == 2.0
    assert (tmp_path / "run.json").exists() == writes
