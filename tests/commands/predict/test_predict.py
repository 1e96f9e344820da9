"""Scans in, answers out: what is written, what is named, what a second run leaves alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from builders import contents

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.predict.result import PredictResult
from medseg.core.errors import Cancelled, DataError, ModelError, PlanError
from medseg.core.progress import Progress
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME

WriteScans = Callable[[Path, int], Path]


@pytest.fixture
def scans(tmp_path: Path, write_scans: WriteScans) -> Path:
    return write_scans(tmp_path / "scans", 5)


def run(scans: Path, out: Path, model: Path, **options: object) -> PredictResult:
    return predict(scans, out, model, options=PredictOptions(**{"device": "cpu", **options}))  # type: ignore[arg-type]


def test_every_scan_is_answered_on_its_own_grid(tmp_path: Path, scans: Path, small_model: Path) -> None:
    result = run(scans, tmp_path / "out", small_model)
    assert list(result.files) == [f"scan{number:03d}" for number in range(5)]
    assert not result.failed
    for case, path in result.files.items():
        answer, scan = nib.load(path), nib.load(scans / f"{case}_0000.nii.gz")
        assert answer.shape == scan.shape
        np.testing.assert_array_equal(answer.affine, scan.affine)
        values, counts = np.unique(np.asarray(answer.dataobj), return_counts=True)
        voxels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        expected = {"one": voxels.get(1, 0) * 1.5e-3, "two": voxels.get(2, 0) * 1.5e-3}
        assert result.volumes[case] == pytest.approx(expected)
    assert len({path.read_bytes() for path in result.files.values()}) == 5, "the answers differ"
    rows = list(csv.DictReader((tmp_path / "out" / "volumes.csv").open()))
    assert [row["case"] for row in rows[::2]] == list(result.files)
    names = json.loads((tmp_path / "out" / "labels.json").read_text())["names"]
    assert names == {"one": 1, "two": 2}


def test_a_palette_that_no_answer_can_have_is_noted(tmp_path: Path, scans: Path, small_model: Path) -> None:
    [note] = [note for note in run(scans, tmp_path, small_model, palette=True).notes if "palette" in note]
    assert note.startswith("--palette had no effect: only PNG files have one, and the answers are .nii.gz")


def test_equal_runs_give_equal_files(tmp_path: Path, scans: Path, small_model: Path) -> None:
    for name in ("a", "b"):
        run(scans, tmp_path / name, small_model)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_several_devices_share_the_scans_and_answer_alike(tmp_path: Path, scans: Path, small_model: Path) -> None:
    one = run(scans, tmp_path / "one", small_model)
    two = run(scans, tmp_path / "two", small_model, device="cpu,cpu")
    assert list(two.files) == list(one.files)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_bad_case_is_named_and_ends_nothing(tmp_path: Path, scans: Path, small_model: Path, device: str) -> None:
    good = scans / "scan003_0000.nii.gz"
    (scans / "scan001_0000.nii.gz").write_bytes(good.read_bytes()[:400])
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), np.nan), np.eye(4)), scans / "scan002_0000.nii.gz")
    result = run(scans, tmp_path / "out", small_model, device=device)
    assert list(result.files) == ["scan000", "scan003", "scan004"]
    assert list(result.failed) == ["scan001", "scan002"]
    assert "scan001_0000.nii.gz" in result.failed["scan001"]
    assert "NaN" in result.failed["scan002"]
    assert not (tmp_path / "out" / "scan001.nii.gz").exists()


def test_a_scan_is_never_replaced_by_its_answer(scans: Path, small_model: Path) -> None:
    scan = scans / "other.nii.gz"
    (scans / "scan000_0000.nii.gz").rename(scan)
    before = scan.read_bytes()
    with pytest.raises(DataError, match="would replace the scan itself"):
        run(scan, scans, small_model)
    assert scan.read_bytes() == before


def test_answers_do_not_go_among_the_scans(scans: Path, small_model: Path) -> None:
    with pytest.raises(DataError, match="would be written among the scans"):
        run(scans, scans / ".." / "scans", small_model)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, scans: Path, small_model: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"out is a file; expected a folder"):
        run(scans, tmp_path / "out", small_model)


def test_folds_and_devices_that_are_not_there(tmp_path: Path, scans: Path, small_model: Path) -> None:
    with pytest.raises(ModelError, match="fold 7"):
        run(scans, tmp_path / "out", small_model, folds=["7"])
    with pytest.raises(PlanError, match="cuda:99"):
        run(scans, tmp_path / "out", small_model, device="cpu,cuda:99")


def test_fast_makes_its_trades_unless_told_otherwise(tmp_path: Path, scans: Path, small_model: Path) -> None:
    def settings(name: str, **options: object) -> dict[str, object]:
        run(scans, tmp_path / name, small_model, **options)
        return dict(json.loads((tmp_path / name / LEDGER_NAME).read_text().splitlines()[0]))

    usual, fast = settings("usual", mirror=True), settings("fast", fast=True)
    assert (usual["inference.mirror"], usual["inference.step_fraction"]) == (True, 0.5)
    assert (fast["inference.mirror"], fast["inference.step_fraction"]) == (False, 0.75)
    mixed = settings("mixed", fast=True, mirror=True, overrides=["inference.step_fraction=0.6"])
    assert (mixed["inference.mirror"], mixed["inference.step_fraction"]) == (True, 0.6)


# --- going on with an earlier run ---


def test_what_is_finished_and_whole_is_left_alone(tmp_path: Path, scans: Path, small_model: Path) -> None:
    out = tmp_path / "out"
    run(scans, out, small_model)
    whole = contents(out)
    (out / "scan000.nii.gz").unlink()
    (out / "scan001.nii.gz").write_bytes(whole["scan001.nii.gz"][:-20])
    (out / ".0123abcd.scan002.nii.gz").write_bytes(b"half")
    (out / ".0123abcd.mine.txt").write_bytes(b"not ours")
    result = run(scans, out, small_model, keep_finished=True)
    assert result.kept == ("scan002", "scan003", "scan004")
    assert list(result.files) == [f"scan{number:03d}" for number in range(5)]
    (earlier,) = out.glob("earlier-*")
    assert any(f"No run of medseg left scan001.nii.gz in {out} as it is" in note for note in result.notes)
    assert contents(earlier) == {"scan001.nii.gz": whole["scan001.nii.gz"][:-20]}, "perhaps corrected by hand"
    shutil.rmtree(earlier)
    whole["README.txt"] = (out / "README.txt").read_bytes()  # it names that folder
    assert contents(out) == {**whole, ".0123abcd.mine.txt": b"not ours"}


def test_what_somebody_put_among_the_answers_is_moved_aside(tmp_path: Path, scans: Path, small_model: Path) -> None:
    out, bad = tmp_path / "out", scans / "scan003_0000.nii.gz"
    out.mkdir()
    (out / "volumes.csv").write_text("mine")
    scan = bad.read_bytes()
    bad.write_bytes(b"not there in full")
    assert list(run(scans, out, small_model).failed) == ["scan003"]
    (out / "scan003.nii.gz").write_bytes(b"drawn by hand")
    bad.write_bytes(scan)
    notes = run(scans, out, small_model).notes
    assert [note for note in notes if note.startswith(f"No run of medseg left scan003.nii.gz in {out} as it is; it is")]
    moved = {name: text for folder in out.glob("earlier-*") for name, text in contents(folder).items()}
    assert moved == {"volumes.csv": b"mine", "scan003.nii.gz": b"drawn by hand"}


def test_a_scan_that_was_replaced_is_segmented_again(tmp_path: Path, scans: Path, small_model: Path) -> None:
    out = tmp_path / "out"
    run(scans, out, small_model)
    (scans / "scan004_0000.nii.gz").write_bytes((scans / "scan001_0000.nii.gz").read_bytes())
    result = run(scans, out, small_model, keep_finished=True)
    assert result.kept == ("scan000", "scan001", "scan002", "scan003")
    assert (out / "scan004.nii.gz").read_bytes() == (out / "scan001.nii.gz").read_bytes()


def test_failed_cases_are_tried_again(tmp_path: Path, scans: Path, small_model: Path) -> None:
    out, scan = tmp_path / "out", scans / "scan001_0000.nii.gz"
    good = scan.read_bytes()
    scan.write_bytes(good[:400])
    assert list(run(scans, out, small_model).failed) == ["scan001"]
    scan.write_bytes(good)
    result = run(scans, out, small_model, keep_finished=True)
    assert (len(result.kept), result.failed) == (4, {})
    run(scans, tmp_path / "undisturbed", small_model)
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("options", "named"),
    [({"folds": ["0"]}, "folds: ['0', '1'] then, ['0'] now"), ({"mirror": True}, "inference.mirror: False then")],
)
def test_answers_made_otherwise_are_not_mistaken(
    tmp_path: Path, scans: Path, small_model: Path, options: dict[str, object], named: str
) -> None:
    out = tmp_path / "out"
    run(scans, out, small_model)
    before = contents(out)
    with pytest.raises(DataError) as caught:
        run(scans, out, small_model, keep_finished=True, **options)
    assert named in str(caught.value)
    assert contents(out) == before
    assert run(scans, out, small_model, **options).kept == (), "without --continue, all is made anew"


def test_another_model_is_not_mistaken(tmp_path: Path, scans: Path, small_model: Path) -> None:
    run(scans, tmp_path / "out", small_model / "fold_0")
    record = (tmp_path / "out" / LEDGER_NAME).read_text()
    (tmp_path / "out" / LEDGER_NAME).write_text(record.replace('"folds": ["0"]', '"folds": ["1"]'))
    with pytest.raises(DataError, match=r"model: \w+ then, \w+ now"):
        run(scans, tmp_path / "out", small_model / "fold_1", keep_finished=True)


@pytest.mark.parametrize("keep", [True, False])
def test_files_of_unknown_origin_are_neither_kept_nor_replaced(
    tmp_path: Path, scans: Path, small_model: Path, keep: bool
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scan003.nii.gz").write_bytes(b"drawn by hand")
    for _ in range(2):  # the refusal leaves no record that would allow it
        with pytest.raises(DataError, match=r"holds scan003\.nii\.gz where an answer would go, but no record"):
            run(scans, tmp_path / "out", small_model, keep_finished=keep)
    assert contents(tmp_path / "out") == {"scan003.nii.gz": b"drawn by hand"}
    assert run(scans, tmp_path / "new", small_model, keep_finished=True).kept == (), "nothing to go on with is fine"


def test_a_cancelled_run_leaves_whole_answers_and_can_go_on(
    tmp_path: Path, write_scans: Callable[[Path, int], Path], small_model: Path
) -> None:
    count = 32  # more than are on their way at once, and than are answered before the callback is asked
    scans, out = write_scans(tmp_path / "many", count), tmp_path / "out"

    def stop(event: Progress) -> None:
        if event.stage == "predict" and event.done >= 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        predict(scans, out, small_model, options=PredictOptions(device="cpu"), callback=stop)
    finished = sorted(path.name for path in out.glob("*.nii.gz"))
    assert 2 <= len(finished) < count
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    result = run(scans, out, small_model, keep_finished=True)
    assert [f"{case}.nii.gz" for case in result.kept] == finished
    run(scans, tmp_path / "undisturbed", small_model)
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("keep", [False, True])
def test_an_earlier_answer_to_a_scan_that_fails_now_does_not_stay(
    tmp_path: Path, scans: Path, small_model: Path, keep: bool
) -> None:
    """It would lie beside answers of another run, and be scored as one of them."""
    out = tmp_path / "out"
    run(scans, out, small_model)
    before = (out / "scan001.nii.gz").read_bytes()
    (scans / "scan001_0000.nii.gz").write_bytes(b"\x1f\x8b")
    result = run(scans, out, small_model, keep_finished=keep)
    assert list(result.failed) == ["scan001"]
    assert not (out / "scan001.nii.gz").exists()
    (moved,) = out.glob("earlier-*/scan001.nii.gz")
    assert moved.read_bytes() == before
    assert any("scan001.nii.gz" in note and "have no answer now" in note for note in result.notes)
    assert "scan001" not in (out / "predict.jsonl").read_text()
    assert not [path for path in out.glob("earlier-*") if path != moved.parent]


def test_a_second_run_says_what_it_replaces(tmp_path: Path, scans: Path, small_model: Path) -> None:
    notes: list[str] = []

    def callback(event: Progress) -> None:
        notes.extend([event.info["note"]] if "note" in event.info else [])

    run(scans, tmp_path / "out", small_model)
    (scans / "scan004_0000.nii.gz").unlink()
    options = PredictOptions(device="cpu")
    predict(scans, tmp_path / "out", small_model, options=options, callback=callback)
    assert notes == [
        f"4 answers of an earlier run in {tmp_path / 'out'} will be replaced; 1 answer to other scans stays in "
        f"{tmp_path / 'out'}, without a line in its tables"
    ]
    notes.clear()
    predict(scans, tmp_path / "new", small_model, options=options, callback=callback)
    assert notes == []


def test_a_workbook_of_an_earlier_run_does_not_outlive_a_run_that_goes_on_without_one(
    tmp_path: Path, write_scans: Callable[[Path, int], Path], small_model: Path
) -> None:
    pytest.importorskip("xlsxwriter")
    scans, out = write_scans(tmp_path / "scans", 2), tmp_path / "out"
    run(scans, out, small_model, xlsx=True)
    assert (out / "volumes.xlsx").exists()
    result = run(sorted(scans.iterdir())[0], out, small_model, keep_finished=True)
    assert len(result.kept) == 1
    assert not (out / "volumes.xlsx").exists()
    assert "volumes.xlsx" not in (out / "manifest.json").read_text()


def test_what_may_be_no_scan_is_a_note_and_a_lost_volume_a_failure(
    tmp_path: Path, scans: Path, small_model: Path
) -> None:
    os.mkfifo(scans / "pipe")
    (scans / "movie.mp4").touch()
    (scans / os.fsdecode(b"a\xe4.webp")).touch()
    result = run(scans, tmp_path / "out", small_model)
    assert len(result.files) == 5
    assert result.failed == {}
    for text in ("pipe is a pipe", "movie.mp4 in ", "a\\udce4.webp in "):
        assert any(text in note for note in result.notes)
    (scans / os.fsdecode(b"b\xe4.nii.bz2")).touch()
    result = run(scans, tmp_path / "again", small_model, xlsx=True)
    assert [*result.failed] == ["b\\udce4"]
    assert (tmp_path / "again" / "volumes.xlsx").is_file()


def test_what_is_no_path_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Scans were given as list; expected the path of a scan or a folder"):
        predict(["a.nii.gz"], tmp_path / "out")  # type: ignore[arg-type]
