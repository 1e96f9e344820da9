"""Repeated notes are one, and verbs end with a command that works as it stands."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from small_sets import run, write_data

from medseg.cli.output.next_command import words_for
from medseg.core.wording import fold_repeated

_TINY = "--set configurations.3d_fullres.patch_voxels=[16,16,16] --set configurations.3d_fullres.batch_size=2"
_TINY += " --set configurations.3d_fullres.network.features=[4,8,8] --set training.validation_cases=1"


def test_notes_that_differ_in_the_case_are_one() -> None:
    notes = [f"case_{n}: dataset.json lists imagesTr/case_{n}.nii.gz, which is not there." for n in range(12)]
    notes.insert(3, "5 folds of 9 cases, divided by patient")
    assert fold_repeated(notes, total=21) == [
        "12 of 21 cases: dataset.json lists imagesTr/CASE.nii.gz, which is not there; the first is case_0",
        "5 folds of 9 cases, divided by patient",
    ]
    assert fold_repeated(notes[:4]) == notes[:4], "a few are left as they are"
    others = [f"case_{n}: it has {n} channels" for n in range(9)]
    assert fold_repeated(others) == others, "they say different things"
    assert fold_repeated(["a note: on nothing"] * 9) == ["a note: on nothing"] * 9


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("check data --strict --output c --images *_t1.nii.gz", "data --strict --images *_t1.nii.gz"),
        (
            "check data --structures liver=1 --structures=spleen=2 --json",
            "data --structures liver=1 --structures=spleen=2",
        ),
        ("check --no-background data", "--no-background data"),
    ],
)
def test_what_was_typed_goes_on_to_the_next_verb(typed: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["medseg", *typed.split()])
    assert words_for("check", "plan") == kept.split()


@pytest.mark.slow
def test_each_verb_leads_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a check to the page of an answer, by nothing but what was printed (with small settings in place)."""
    write_data(tmp_path / "my data")
    monkeypatch.chdir(tmp_path)
    line, verbs, more = "check 'my data'", [], {"plan": _TINY, "train": "--steps 1", "view": "--no-open"}
    for _ in range(5):
        monkeypatch.setattr(sys, "argv", ["medseg", *shlex.split(line)])
        assert run(line) == 0, (line, capsys.readouterr())
        verbs.append(line.split()[0])
        nexts = [text for text in capsys.readouterr().out.splitlines() if text.startswith("next: medseg ")]
        if not nexts:
            break
        line = nexts[-1].removeprefix("next: medseg ")
        line += " " + more.get(line.split()[0], "")
    assert verbs == ["check", "plan", "train", "predict", "view"]
