"""Scans that are passed over are counted, and told with a command that answers them, wherever people look."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from sets.layout_files import touch
from small_sets import run

from medseg.commands.predict.passed_over import PassedOver, find_passed_over
from medseg.io.layouts.scans import find_scans, unread_scans
from medseg.io.layouts.studies import SeriesRules

WriteScans = Callable[[Path, int], Path]


def found_in(folder: Path) -> tuple[tuple[PassedOver, ...], list[str]]:
    cases, failed = find_scans(folder, ("image",))
    found, others = find_passed_over(unread_scans(folder, cases, failed, ("image",)), ("image",), SeriesRules())
    return found, others.notes


@pytest.mark.parametrize("where", ["extra", "extra/deeper/still"])
def test_scans_in_a_folder_beside_the_others_are_counted(tmp_path: Path, write_scans: WriteScans, where: str) -> None:
    scans = write_scans(tmp_path / "scans", 2)
    write_scans(scans / where, 3)
    assert found_in(scans) == ((PassedOver(scans / where, 3),), [])
    assert len(find_scans(scans / where, ("image",))[0]) == 3


def test_folders_of_patients_beside_a_scan_that_has_none_are_counted(tmp_path: Path, write_scans: WriteScans) -> None:
    scans = tmp_path / "scans"
    for patient in ("p1", "p2"):
        write_scans(scans / patient, 1)
    (scan,) = write_scans(tmp_path / "one", 1).iterdir()
    scan.rename(scans / "p3.nii.gz")
    assert [case.id for case in find_scans(scans, ("image",))[0]] == ["p3"]
    (entry, other), notes = found_in(scans)
    assert (entry, other, notes) == (PassedOver(scans / "p1", 1), PassedOver(scans / "p2", 1), [])
    told = f"1 scan in {scans / 'p1'} was passed over, as its name or place is unlike those of the answered scans: "
    assert entry.told("do") == f"{told}do"
    assert entry.told() == f"{told}give {scans / 'p1'} by itself"


def test_a_scan_beside_the_slices_of_a_study_is_counted(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from dicom.builders import write_series

    write_series(tmp_path / "study")
    touch(tmp_path / "study", "p9.nii.gz")
    assert found_in(tmp_path / "study") == ((PassedOver(tmp_path / "study" / "p9.nii.gz", 1),), [])


def test_what_no_command_would_answer_stays_a_note(tmp_path: Path, write_scans: WriteScans) -> None:
    scans = write_scans(tmp_path / "scans", 2)
    for name in ("one/a", "two/b"):
        write_scans(scans / "tree" / name, 1)
    found, notes = found_in(scans)
    cases = [case for entry in found for case in find_scans(entry.path, ("image",))[0]]
    assert len(cases) == sum(entry.scans for entry in found)
    assert found or notes


def test_the_summary_counts_them_and_its_command_answers_them(
    tmp_path: Path,
    write_scans: WriteScans,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_scans(Path("scans"), 2)
    write_scans(Path("scans/more scans"), 3)
    assert run(f"predict --folds 0 scans out -m {small_model} --device=cpu") == 0
    out = capsys.readouterr().out
    assert "2 scans segmented in" in out
    assert ", 3 passed over;" in out
    told = "warning: 3 scans in scans/more scans were passed over, as their names or places are unlike "
    told += "those of the answered scans: "
    (command,) = [line.removeprefix(told) for line in out.splitlines() if line.startswith(told)]
    page = Path("out/index.html").read_text()
    assert "3 scans in more scans were passed over" in page
    assert str(tmp_path) not in page
    assert shlex.split(command)[:6] == ["medseg", "predict", "--folds", "0", "scans/more scans", "out_more scans"]
    entry = json.loads(Path("out/manifest.json").read_text())["commands"]["predict"]
    assert entry["passed_over"] == [{"file": "more scans", "scans": 3}]
    assert run(command.removeprefix("medseg ")) == 0
    assert len([*Path("out_more scans").glob("*.nii.gz")]) == 3
    assert "passed over" not in capsys.readouterr().out
    assert "passed_over" not in Path("out_more scans/manifest.json").read_text()
    assert run(f"predict scans out -m {small_model} --device=cpu --no-page --json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[-1]["passed_over"] == 3
    assert [record for record in records if record["kind"] == "note" and "more scans" in record["message"]]
