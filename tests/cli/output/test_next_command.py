"""Repeated notes are one, and verbs end with a command that works as it stands."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom.answers import MEMBERS, labels, meaning, written_series
from small_sets import run, write_data

from medseg.cli.output.next_command import show_next_view, words_for
from medseg.commands.predict.result import PredictResult
from medseg.core.labels import Labels
from medseg.core.wording import fold_repeated
from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.delivery.pictures.overlay import draw_overlay
from medseg.io.dicom.listing.find import find_series

_TINY = "--set configurations.3d_fullres.patch_voxels=[16,16,16] --set configurations.3d_fullres.batch_size=2"
_TINY += " --set configurations.3d_fullres.network.features=[4,8,8] --set training.validation_cases=1"


def test_notes_that_differ_in_the_case_are_one() -> None:
    notes = [f"case_{n}: dataset.json lists imagesTr/case_{n}.nii.gz, which is not there." for n in range(12)]
    notes.insert(3, "5 folds of 9 cases, divided by patient")
    assert fold_repeated(notes, total=21) == [
        "12 of 21 cases: dataset.json lists imagesTr/CASE.nii.gz, which is not there; the first is case_0",
        "5 folds of 9 cases, divided by patient",
    ]
    (failures,) = fold_repeated([note for note in notes if note.startswith("case_")], name_all=True)
    assert failures.endswith("which is not there; they are " + ", ".join(f"case_{n}" for n in range(12)))
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


def test_the_hint_to_view_has_the_frame_of_the_plan_and_works(
    tmp_path: Path, small_model: Path, save_nifti: Callable[..., Path], command_line: Callable[..., Any]
) -> None:
    scan = save_nifti(tmp_path / "scans" / "a.nii.gz", np.random.default_rng(0).normal(size=(2, 14, 18, 17)))
    done = command_line(
        *("predict", scan, tmp_path / "out", "--model", small_model, "--device", "cpu", "--folds", "0", "--no-page"),
        *("--set", "data.reading.frame=1"),
    )
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("next: medseg view ")]
    assert line.endswith("--frame 1")
    page = tmp_path / "page.html"
    assert command_line(*shlex.split(line)[2:], "--no-open", "--output", page).returncode == 0
    assert page.is_file()


@pytest.mark.parametrize(("form", "hinted"), [("seg", True), ("rtstruct", True), ("sheet", False)])
def test_no_hint_leads_to_what_view_cannot_read(
    tmp_path: Path, form: str, hinted: bool, capsys: pytest.CaptureFixture[str], command_line: Callable[..., Any]
) -> None:
    volume = written_series(tmp_path / "study")
    (series,) = find_series(tmp_path / "study").series
    answer = volume.image.with_array(labels()[np.newaxis])
    declared = Labels(structures={name: values[0] for name, values in MEMBERS.items()})
    paths = object_paths(tmp_path, "a", [form])
    volumes = dict.fromkeys(MEMBERS, 1.0)
    write_objects(
        answer.array[0], series, meaning(), paths, volumes, None, draw_overlay(volume.image, answer, declared)
    )
    scan = Path(series.path)
    show_next_view(PredictResult({"a": paths[form]}, {"a": volumes}, {"a": "ml"}, {}, scans={"a": scan}))
    assert ("next: medseg view" in capsys.readouterr().out) == hinted
    seen = command_line("view", scan, paths[form], "--no-open", "--output", tmp_path / "page.html")
    assert (seen.returncode == 0) == hinted
