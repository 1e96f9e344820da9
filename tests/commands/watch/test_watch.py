"""`medseg watch`: studies are answered when they are complete, and once, also where another watch was killed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
import highdicom as hd
import pydicom
from dicom.builders import uid
from typer.testing import CliRunner
from watching import PREDICT, SETTLE, folders, journal, once, scan, states, study, times

from medseg.cli.app import app
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.watch import watch as watch_module
from medseg.commands.watch.arrivals import Arrival, Snapshot, take_snapshot
from medseg.commands.watch.options import WatchOptions
from medseg.commands.watch.state import ANSWERED, JOURNAL, WatchState
from medseg.commands.watch.watch import watch
from medseg.core.errors import DataError, PlanError
from medseg.core.progress import Progress
from medseg.delivery.answers.options import WriteOptions


def test_each_study_has_a_folder_of_answers_and_is_answered_once(place: Path, small_model: Path) -> None:
    study(place / "in", "folder")
    study(place / "packed", "zipped")
    shutil.make_archive(str(place / "in" / "zipped"), "zip", place / "packed")
    scan(place / "in" / "single_0000.nii.gz")
    (place / "in" / "readme.txt").write_text("no study")
    events = once(place, small_model)
    assert states(events) == dict.fromkeys(("folder", "single_0000.nii.gz", "zipped.zip"), "done")
    assert [event.message for event in events if "readme.txt" in str(event.message)]
    there = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in folders(place / "out")}
    record = {
        *("README.txt", "index.html", "labels.itksnap.txt", "labels.json", "labels.slicer.ctbl", "manifest.json"),
        *("predict.jsonl", "view", "volumes.csv", "volumes_wide.csv"),
    }
    assert there == {
        "folder": sorted({"folder.nii.gz", "folder.seg.dcm", *record}),
        "single": sorted({"single.nii.gz", *record}),
        "zipped": sorted({"zipped.nii.gz", "zipped.seg.dcm", *record}),
    }
    predict(place / "in" / "folder", place / "alone", small_model, options=PREDICT)
    labels = [nib.load(folder / "folder.nii.gz").get_fdata() for folder in (place / "out" / "folder", place / "alone")]
    np.testing.assert_array_equal(*labels)
    before = times(place / "out")
    assert states(once(place, small_model)) == {}
    assert times(place / "out") == before


def test_one_look_names_what_is_no_study_also_where_nothing_else_is_there(place: Path, small_model: Path) -> None:
    (place / "in" / "IM1.dcm").write_text("a slice")
    (event,) = once(place, small_model)
    assert (event.state, event.message) == (
        "note",
        "IM1.dcm: not a study, by the name. Each DICOM study needs a folder or a zip of its own.",
    )


def test_two_studies_of_one_name_and_a_folder_that_no_watch_made(place: Path, small_model: Path) -> None:
    scan(place / "in" / "a.nii.gz", 1)
    scan(place / "in" / "a.nii", 2)
    scan(place / "in" / "mine.nii.gz", 3)
    (place / "out" / "mine").mkdir(parents=True)
    (place / "out" / "mine" / "notes.txt").write_text("keep")
    events = once(place, small_model)
    assert states(events) == {"a.nii": "done", "a.nii.gz": "done", "mine.nii.gz": "failed"}
    assert sorted(path.name for path in (place / "out").glob("a*")) == ["a", "a.nii.gz"]
    assert [path.name for path in (place / "out" / "mine").iterdir()] == ["notes.txt"]


def test_a_study_under_way_is_left_until_all_of_it_is_there(
    place: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices come from the first to the last, so that no position says that some are missing; one for each look."""
    slices = iter(study(place / "sent"))
    (place / "in" / "study").mkdir()

    def send_and_look(arrival: Arrival) -> Snapshot:
        for path in islice(slices, 1):
            shutil.copy(path, place / "in" / "study")
        return take_snapshot(arrival)

    monkeypatch.setattr(watch_module, "take_snapshot", send_and_look)
    shutil.copy(next(slices), place / "in" / "study")
    options = WatchOptions(PREDICT, settle_seconds=SETTLE, patience_seconds=60)
    with closing(watch(place / "in", place / "out", small_model, options=options)) as events:
        event = next(one for one in events if one.state in ("done", "failed"))
    assert event.state == "done", event.message
    assert event.result is not None
    assert nib.load(event.result.files["study"]).shape == (16, 16, 8)
    assert hd.seg.segread(place / "out" / "study" / "study.seg.dcm").get_source_image_uids()
    assert [entry["state"] for entry in journal(place)] == [ANSWERED, "done"]


def test_a_gap_waits_for_its_slice_and_fails_when_nothing_comes(place: Path, small_model: Path) -> None:
    slices = study(place / "in")
    moved = slices[3].rename(place / "late.dcm")
    (event,) = once(place, small_model)
    assert (event.state, "1 slice missing" in str(event.message)) == ("waiting", True)
    assert states(once(place, small_model)) == {}, "it was said"
    shutil.copytree(place / "in" / "study", place / "in" / "never")
    assert states(once(place, small_model)) == {"never": "waiting"}
    moved.rename(slices[3])
    assert states(once(place, small_model, patience_seconds=0.01)) == {"never": "failed", "study": "done"}
    assert "1 slice missing" in journal(place)[-3]["problem"]
    assert states(once(place, small_model, patience_seconds=0.01)) == {}, "it is not tried again"
    shutil.copy(slices[3], place / "in" / "never")
    assert states(once(place, small_model)) == {"never": "done"}


def test_a_gap_that_is_allowed_is_waited_for_all_the_same(place: Path, small_model: Path) -> None:
    study(place / "in")[3].unlink()
    options = {"predict": PredictOptions(device="cpu", mirror=False, allow_gaps=True, write=PREDICT.write)}
    assert states(once(place, small_model, **options)) == {"study": "waiting"}
    assert states(once(place, small_model, patience_seconds=0.01, **options)) == {"study": "done"}


def test_of_two_studies_in_one_folder_the_whole_one_is_answered(place: Path, small_model: Path) -> None:
    study(place / "in" / "both", "whole")
    study(place / "in" / "both", "gap")[3].unlink()
    assert states(once(place, small_model)) == {"both": "waiting"}
    (event,) = (one for one in once(place, small_model, patience_seconds=0.01) if one.state != "note")
    assert event.state == "failed"
    assert str(event.message).startswith("gap: ")
    assert event.result is not None
    assert event.result.files == {"whole": place / "out" / "both" / "whole.nii.gz"}
    assert event.result.files["whole"].exists()
    assert states(once(place, small_model)) == {}


@pytest.mark.parametrize("patience", [0, 60])
def test_what_lies_beside_a_scan_holds_no_answer_back(place: Path, small_model: Path, patience: float) -> None:
    scan(place / "in" / "p1" / "scan.nii.gz")
    (place / "in" / "p1" / "cine.mp4").write_text("a video")
    study(place / "in", "p2")
    scan(place / "in" / "p2" / "converted.nii.gz")
    events = once(place, small_model, patience_seconds=patience)
    assert states(events) == {"p1": "done", "p2": "done"}
    notes = {event.study: "".join(event.result.notes) for event in events if event.result is not None}
    assert "cine.mp4 in " in notes["p1"]
    (p2,) = [event.result for event in events if event.study == "p2" and event.result is not None]
    assert [(entry.path.name, entry.scans) for entry in p2.passed_over] == [("converted.nii.gz", 1)]


def cut_zip(folder: Path) -> None:
    study(folder / "packed")
    packed = Path(shutil.make_archive(str(folder / "in" / "study"), "zip", folder / "packed"))
    packed.write_bytes(packed.read_bytes()[:-30])


def rest_to_come(folder: Path) -> None:
    study(folder / "in", ImagesInAcquisition=8)[-1].unlink()


def part_file(folder: Path) -> None:
    study(folder / "in")[-1].rename(folder / "in" / "study" / "IM0007.dcm.filepart")


def rsyncs_file(folder: Path) -> None:
    study(folder / "in")
    (folder / "in" / "study" / ".IM0008.dcm.aX31bZ").write_bytes(b"")


def half_slice(folder: Path) -> None:
    last = study(folder / "in")[-1]
    last.write_bytes(last.read_bytes()[:400])


@pytest.mark.parametrize(
    ("half", "why"),
    [
        (cut_zip, "does not open"),
        (rest_to_come, "7 images there; its headers count 8"),
        (part_file, "IM0007.dcm.filepart"),
        (rsyncs_file, ".IM0008.dcm.aX31bZ"),
        (half_slice, "damaged"),
        (lambda folder: (folder / "in" / "study").mkdir(), "no scans"),
    ],
)
def test_incomplete_studies_are_never_answered(
    place: Path, small_model: Path, half: Callable[[Path], object], why: str
) -> None:
    half(place)
    (event,) = once(place, small_model)
    assert (event.state, why in str(event.message)) == ("waiting", True)
    (event,) = once(place, small_model, patience_seconds=0.01)
    assert event.state == "failed"
    assert why in journal(place)[-1]["problem"]
    assert folders(place / "out") == []


def test_a_scan_that_changes_while_it_is_read_is_read_again(place: Path, small_model: Path) -> None:
    path = scan(place / "in" / "a.nii.gz")
    options = WatchOptions(PREDICT, SETTLE)
    changed = []

    def change(event: Progress) -> None:
        if not changed:
            changed.append(scan(path, seed=1))

    with closing(watch(place / "in", place / "out", small_model, options=options, callback=change)) as events:
        assert next(events).state == "done"
    predict(path, place / "alone", small_model, options=PREDICT)
    answers = [nib.load(folder / "a.nii.gz").get_fdata() for folder in (place / "out" / "a", place / "alone")]
    np.testing.assert_array_equal(*answers)
    assert [entry["state"] for entry in journal(place)] == [ANSWERED, "done"]


def test_a_study_that_waits_again_keeps_its_folder(place: Path, small_model: Path) -> None:
    study(place / "in" / "both", "whole")
    slices = study(place / "in" / "both", "gap")
    moved = slices[3].rename(place / "late.dcm")
    once(place, small_model)
    assert states(once(place, small_model, patience_seconds=0.01)) == {"both": "failed"}
    half = slices[3].with_suffix(".part")
    half.write_bytes(b"half")
    assert states(once(place, small_model)) == {"both": "waiting"}
    half.unlink()
    moved.rename(slices[3])
    assert states(once(place, small_model)) == {"both": "done"}
    assert sorted(path.name for path in (place / "out" / "both").glob("*.nii.gz")) == ["gap.nii.gz", "whole.nii.gz"]


def test_odd_names_do_not_end_the_watch(place: Path, small_model: Path) -> None:
    names = ["watch.jsonl", "x [bold] \n y.zip", "n" * 250, os.fsdecode(b"caf\xe9"), "z", "p\\1", "C:x"]
    for number, name in enumerate(names):
        scan(place / "in" / name / "scan.nii.gz", number)
    latin = os.fsdecode(b"caf\xe9.nii.gz")
    scan(place / "in" / "plain.nii.gz").rename(place / "in" / latin)
    events = once(place, small_model)
    found = states(events)
    assert [found[name] for name in (*names, latin)] == ["done", "done", "failed", *["done"] * 5]
    manifest = json.loads((place / "out" / latin / "manifest.json").read_text())
    assert "caf\udce9" in json.dumps(manifest, ensure_ascii=False)
    assert states(once(place, small_model)) == {}
    assert (place / "out" / "watch.jsonl_2" / "scan.nii.gz").exists()


def test_however_the_folders_are_written(place: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "in" / "bad").mkdir()
    assert states(once(place, small_model, patience_seconds=0.0)) == {"bad": "failed"}
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), np.nan), np.eye(4)), place / "in" / "nan.nii.gz")
    assert states(once(place, small_model)) == {"nan.nii.gz": "failed"}
    monkeypatch.chdir(place)
    assert states(once(Path(), small_model)) == {}


def test_a_drive_that_is_away_for_a_while_is_no_change(place: Path, small_model: Path) -> None:
    folder = place / "in" / "a"
    scan(folder / "a.nii.gz")
    once(place, small_model)
    scan_there = (folder / "a.nii.gz").rename(place / "a.nii.gz")
    (folder / "a.nii.gz").symlink_to(place / "nowhere")
    assert states(once(place, small_model, again=True, patience_seconds=0.01)) == {}
    (folder / "a.nii.gz").unlink()
    scan_there.rename(folder / "a.nii.gz")
    assert states(once(place, small_model, again=True)) == {}


def test_an_answer_is_only_replaced_when_that_is_asked_for(place: Path, small_model: Path) -> None:
    path = scan(place / "in" / "a.nii.gz")
    once(place, small_model)
    answer = (place / "out" / "a" / "a.nii.gz").read_bytes()
    os.utime(path)
    assert states(once(place, small_model)) == {}, "the content is the same"
    scan(path, seed=1)
    assert states(once(place, small_model)) == {"a.nii.gz": "changed"}
    assert states(once(place, small_model)) == {}
    assert (place / "out" / "a" / "a.nii.gz").read_bytes() == answer
    assert states(once(place, small_model, again=True)) == {"a.nii.gz": "done"}
    assert (place / "out" / "a" / "a.nii.gz").read_bytes() != answer
    assert states(once(place, small_model, again=True)) == {}
    assert not [path for path in (place / "out").iterdir() if path.name.startswith(".")]


def test_another_models_answer_is_kept_as_well(place: Path, small_model: Path) -> None:
    scan(place / "in" / "a.nii.gz")
    once(place, small_model)
    one_fold = PredictOptions(device="cpu", mirror=False, folds=["0"])
    assert states(once(place, small_model, predict=one_fold)) == {}
    assert states(once(place, small_model, predict=one_fold, again=True)) == {"a.nii.gz": "done"}
    assert states(once(place, small_model, predict=one_fold, again=True)) == {}
    models = [entry["model"] for entry in journal(place) if entry["state"] == "done"]
    assert len(set(models)) == 2


def test_scans_with_a_channel_number_are_answered_without(place: Path, small_model: Path) -> None:
    scan(place / "in" / "a_0000.nii.gz", 1)
    scan(place / "in" / "b" / "b_0000.nii.gz", 2)
    assert states(once(place, small_model)) == {"a_0000.nii.gz": "done", "b": "done"}
    assert (place / "out" / "a" / "a.nii.gz").exists()
    assert (place / "out" / "b" / "b.nii.gz").exists()


def test_a_bad_scan_is_named_and_does_not_end_the_watch(place: Path, small_model: Path) -> None:
    bad = place / "in" / "bad.nii.gz"
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), np.nan), np.eye(4)), bad)
    scan(place / "in" / "good.nii.gz")
    assert states(once(place, small_model)) == {"bad.nii.gz": "failed", "good.nii.gz": "done"}
    assert "NaN" in journal(place)[0]["problem"]
    assert states(once(place, small_model)) == {}
    assert states(once(place, small_model, again=True)) == {"bad.nii.gz": "failed"}
    scan(bad)
    assert states(once(place, small_model)) == {"bad.nii.gz": "done"}


def test_a_model_without_codes_does_not_end_the_watch(place: Path, small_model: Path) -> None:
    study(place / "in")
    events = once(place, small_model, predict=PredictOptions(device="cpu", mirror=False))
    assert states(events) == {"study": "done"}
    notes = [note for event in events if event.result is not None for note in event.result.notes]
    (note,) = [note for note in notes if "No DICOM SEG is written" in note]
    command = shlex.split(note.partition("structures: ")[2])
    assert CliRunner().invoke(app, command[1:]).exit_code == 0
    assert (place / "out" / "study" / "study.seg.dcm").exists()


def test_what_is_wrong_with_the_request_ends_the_watch(place: Path, small_model: Path) -> None:
    study(place / "in")
    with pytest.raises(PlanError, match="No DICOM codes"):
        once(place, small_model, predict=PredictOptions(device="cpu", mirror=False, write=WriteOptions(("seg",))))
    assert states(once(place, small_model)) == {"study": "done"}
    (place / "in" / "link").symlink_to(place / "elsewhere")
    for output in (place / "in", place / "in" / "out", place, place / "in" / "link"):
        with pytest.raises(DataError, match="is inside the other"):
            list(watch(place / "in", output, small_model))
    with pytest.raises(DataError, match="no folder"):
        list(watch(place / "nowhere", place / "out", small_model))


def test_a_folder_that_cannot_be_listed_ends_one_look_with_an_error(
    place: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied")  # the user of the tests may list any folder

    monkeypatch.setattr(watch_module, "arrivals_in", closed)
    with pytest.raises(DataError, match="in cannot be listed: Permission denied"):
        once(place, small_model)


def test_one_watch_a_folder_of_answers(place: Path, small_model: Path) -> None:
    (place / "out").mkdir()
    with WatchState(place / "out"), pytest.raises(DataError, match="Another `medseg watch`"):
        once(place, small_model)
    assert once(place, small_model) == []


def test_no_identifier_stands_in_the_journal(place: Path, small_model: Path) -> None:
    slices = study(place / "in")
    pydicom.dcmread(slices[0]).save_as(place / "in" / "study" / "copy.dcm")
    once(place, small_model)
    text = (place / "out" / JOURNAL).read_text()
    assert "SECRET" not in text
    assert uid("study") not in text
    assert str(place) not in text
