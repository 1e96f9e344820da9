"""Nothing that looks like a scan vanishes: what no reader uses is named, and what is no scan is not."""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sets.layout_files import touch

from medseg.commands.evaluate.pairing import find_sides
from medseg.io.layouts.dataset import LeftOut, Naming
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.scans import find_scans, unread_scans
from medseg.io.layouts.unread_entries import unread_entries
from medseg.plans.file import SCHEMA_LINE


def link(path: Path) -> None:
    """Make a link that leads nowhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("../store/nothing")


def packed(path: Path) -> None:
    """Write a zip with a volume that is no DICOM."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scan.nii.gz", b"")


SCANS = {
    "a link to a folder": (lambda folder: link(folder / "p9"), "is a link to ../store/nothing"),
    "a link to a folder named by a UID": (lambda folder: link(folder / "1.2.840.9"), "is a link to"),
    "a link to a zip": (lambda folder: link(folder / "p9.zip"), "is a link to"),
    "a link onto itself": (lambda folder: (folder / "p9").symlink_to("p9"), "is a link to p9"),
    "a study of links": (lambda folder: link(folder / "p9" / "IM0001"), "is a link to"),
    "a study of links to .dcm": (lambda folder: link(folder / "p9" / "1.dcm"), ""),
    "another compression": (lambda folder: touch(folder, "p9.nii.bz2"), "in no format that medseg reads (.nii.bz2)"),
    "a folder of another format": (lambda folder: touch(folder, "p9/ct.mif.gz", "p9/notes.txt"), "(.mif.gz)"),
}
OTHERS = {
    "another format": (lambda folder: touch(folder, "p9_0000.webp"), "in no format that medseg reads (.webp)"),
    "a zip of volumes": (lambda folder: packed(folder / "p9.zip"), "Unpack it"),
    "a folder deeper": (lambda folder: touch(folder, "p9/a/b/scan.nii.gz"), "lie at another depth"),
    "a pipe": (lambda folder: os.mkfifo(folder / "pipe"), "is a pipe, a socket or a device"),
}
SIDE_FILES = (
    *("README", "README.md", "LICENSE", "info.json", "participants.tsv", "p1.json", "p1.xml", "p1.webp", "p1.txt"),
    *("p1_thumb.webp", "thumbnails/p1.png", "previews/p1/a.png", "report/index.html", "report/p1.png", "Thumbs.db"),
    *("p9_seg.nii.bz2", ".git/p9.nii.gz", ".hidden/p9.nii.gz"),
    *("answers/p1.nii.gz", "workspace/runs/a/p9.png", "code/p9.nii.gz", "notes/a.docx"),
    *("p1.mat", "surface.stl"),
)


MHD = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"


def scan_set(folder: Path, layout: str) -> tuple[Path, Path]:
    """Write cases p1 and p2, and return the data set and the folder in which a ninth patient would lie."""
    names = {
        "right in the folder": ("{}.nii.gz", "{}_seg.nii.gz"),
        "folders": ("{}/ct.nii.gz", "{}/seg.nii.gz"),
        "images": ("images/{}.nii.gz", "labels/{}.nii.gz"),
        "nnunet": ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
        "bids": ("sub-{0}/anat/sub-{0}_T1w.nii.gz", "derivatives/x/sub-{0}/anat/sub-{0}_dseg.nii.gz"),
        "split": ("train/{}/ct.nii.gz", "train/{}/seg.nii.gz"),
    }[layout]
    for case in ("p1", "p2", "p3"):
        touch(folder, *(name.format(case) for name in names))
    return folder, folder / {"images": "images", "nnunet": "imagesTr", "split": "train"}.get(layout, ".")


def named_by_plan(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return {case: why it is left out}, and the notes."""
    problems = find_cases(folder).problems
    left_out = {problem.id: problem.why for problem in problems if isinstance(problem, LeftOut)}
    return left_out, [problem for problem in problems if not isinstance(problem, LeftOut)]


def named_by_predict(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return {case: why it is left out}, and the notes."""
    cases, failed = find_scans(folder, ("image",))
    unread = unread_scans(folder, cases, failed, ("image",))
    return {**unread.lost, **failed}, unread.notes


NOTHING: tuple[dict[str, str], list[str]] = ({}, [])


@pytest.mark.parametrize("verb", [named_by_plan, named_by_predict])
@pytest.mark.parametrize("layout", ["right in the folder", "folders", "images", "nnunet", "bids", "split"])
@pytest.mark.parametrize("what", [*SCANS, *OTHERS])
def test_what_looks_like_a_scan_and_is_not_used_is_named(tmp_path, layout, what, verb):
    folder, among = scan_set(tmp_path, layout)
    assert verb(folder) == NOTHING
    write, reason = (SCANS | OTHERS)[what]
    write(among)
    lost, notes = verb(folder)
    assert {*lost} <= {"p9", "1.2.840.9", "train"}  # where a study may be in the part or be it, both are named
    assert bool(lost) == (what in SCANS), "what may be something else does not count as a case"
    assert any(reason in why for why in [*lost.values(), *notes])


@pytest.mark.parametrize("verb", [named_by_plan, named_by_predict])
@pytest.mark.parametrize("layout", ["folders", "images", "nnunet", "bids", "split"])
def test_what_is_no_scan_is_not_named(tmp_path, layout, verb):
    folder, among = scan_set(tmp_path, layout)
    first = "sub-p1" if layout == "bids" else "p1"
    touch(among, *(name.replace("p1", first) for name in SIDE_FILES))
    for name in ("CHANGES", "p1.md5", "CITATION.cff"):  # annexed, and not fetched
        link(among / name)
    (among / "answers" / "manifest.json").write_text('{"schema_version": 1, "commands": {}}')
    (among / "workspace" / "plans").mkdir()
    (among / "workspace" / "plans" / "a.yaml").write_text(SCHEMA_LINE)
    assert verb(folder) == NOTHING


def test_test_images_wait_for_predict(tmp_path):
    folder, among = scan_set(tmp_path, "folders")
    touch(among, "test/p8/ct.nii.gz", "imagesTs/p8.nii.bz2")
    assert named_by_plan(folder) == NOTHING
    touch(folder / "flat", "p1.nii.gz", "test/p8.nii.gz")
    (note,) = named_by_predict(folder / "flat")[1]
    assert f"the scans in {folder / 'flat' / 'test'} (such as p8.nii.gz) lie at another depth" in note


def test_a_scan_beside_folders_of_cases_is_named(tmp_path):
    folder, _ = scan_set(tmp_path, "folders")
    touch(folder, "p9.nii.gz", "logo.png")
    (note,) = named_by_plan(folder)[1]
    assert f"{folder / 'p9.nii.gz'} lies beside the folders of the cases" in note


def test_patterns_keep_links_to_nowhere_and_name_other_formats(tmp_path):
    folder, _ = scan_set(tmp_path, "folders")
    (folder / "p2" / "ct.nii.gz").unlink()
    link(folder / "p2" / "ct.nii.gz")
    cases, _ = find_scans(folder, ("CT",), ["*/ct.nii.gz"])
    assert [case.id for case in cases] == ["p1", "p2", "p3"]  # reading names p2
    assert len(find_cases(folder, naming=Naming(("*/ct.nii.gz",), "*/seg.nii.gz")).cases) == 3
    touch(folder / "flat", "a.png", "b.webp", "README")
    link(folder / "flat" / "c")
    assert sorted(find_scans(folder / "flat", ("CT",), ["*"])[1]) == ["b.webp", "c"]


@pytest.mark.parametrize("side", ["predictions", "references", "both"])
def test_evaluate_names_label_files_that_it_cannot_read(tmp_path, side):
    for folder in ("predictions", "references"):
        touch(tmp_path / folder, "p1.nii.gz", "README.md")
        if side in (folder, "both"):
            touch(tmp_path / folder, "p9_seg.nii.bz2")
            link(tmp_path / folder / "p8")
    predictions, references = find_sides(tmp_path / "predictions", tmp_path / "references")
    for name, found in (("predictions", predictions), ("references", references)):
        assert sorted(found.failed) == (["p8", "p9_seg"] if side in (name, "both") else [])


def test_evaluate_notes_what_may_be_no_label_file(tmp_path):
    for folder in ("predictions", "references"):
        touch(tmp_path / folder, "p1.nii.gz", "p9.webp")
    for side in find_sides(tmp_path / "predictions", tmp_path / "references"):
        assert side.failed == {}
        assert ["p9.webp in" in note for note in side.notes] == [True]


def test_a_volume_beside_the_slices_of_a_study_is_named(tmp_path):
    pytest.importorskip("pydicom")
    from dicom.builders import write_series

    folder = tmp_path / "study"
    write_series(folder)
    assert named_by_predict(folder) == NOTHING
    np.save(folder / "array.npy", np.zeros(1))
    touch(folder, "p9.nii.gz", "p1_seg.nii.gz", "shot.png", "README.txt")
    lost, (note,) = named_by_predict(folder)
    assert lost == {}
    assert "p9.nii.gz lies beside" in note


def test_entries_are_looked_at_once_however_many(tmp_path):
    """A link back to its own folder ends, and a folder of many other files counts as one without scans."""
    folder, among = scan_set(tmp_path, "folders")
    (among / "loop").mkdir()
    os.symlink(among, among / "loop" / "back")
    touch(among, *(f"many/{number:05d}.dat" for number in range(1500)))
    assert named_by_plan(folder) == NOTHING


@pytest.mark.parametrize("verb", [named_by_plan, named_by_predict])
def test_many_entries_share_a_note(tmp_path, verb):
    folder, among = scan_set(tmp_path, "images")
    touch(among, *(f"movie{number}.mp4" for number in range(6)))
    lost, notes = verb(folder)
    assert lost == {}
    assert len(notes) == 4
    assert notes[-1].endswith("look like scans and are not used: movie3, movie4, movie5")


@pytest.mark.parametrize(
    ("header", "text", "voxels"),
    [
        ("ct.mhd", f"{MHD}ElementDataFile = data/voxels.raw\n", ["data/voxels.raw"]),
        ("ct.mhd", f"{MHD}ElementDataFile = voxels.raw\n", ["voxels.raw"]),
        (
            "ct.nhdr",
            "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: vol_%03d.raw 0 1 1\n",
            ["vol_000.raw", "vol_001.raw"],
        ),
    ],
)
def test_voxels_that_a_header_names_are_used(tmp_path, header, text, voxels):
    (tmp_path / header).write_text(text)
    touch(tmp_path, *voxels)
    assert named_by_predict(tmp_path) == NOTHING
    assert find_scans(tmp_path, ("CT",), ["*"])[1] == {}
    touch(tmp_path, "other.raw")
    lost, (note,) = named_by_predict(tmp_path)
    assert lost == {}
    assert note.startswith("other.raw in")
    assert [*find_scans(tmp_path, ("CT",), ["*"])[1]] == ["other.raw"]


def test_a_folder_at_the_depth_of_the_cases_has_none_of_their_scans(tmp_path):
    folder, among = scan_set(tmp_path, "bids")
    touch(among, "sub-p4/func/sub-p4_bold.nii.gz")
    (note,) = named_by_plan(folder)[1]
    assert "sub-p4 holds scans (such as func/sub-p4_bold.nii.gz), but none that the cases have" in note


def test_folders_of_patients_are_no_side_folders_by_what_others_write_too(tmp_path):
    folder, among = scan_set(tmp_path, "folders")
    touch(
        among, "p5_report/a/b/ct.nii.gz", "p8/a/b/ct.nii.gz", "p8/manifest.json", "p9/a/b/ct.nii.gz", "p9/plans/a.yaml"
    )
    notes = named_by_plan(folder)[1]
    for name in ("p5_report", "p8", "p9"):
        assert any(f"the scans in {folder / name} (" in note for note in notes)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse such names")
@pytest.mark.parametrize("odd", [b"a\nb", b"a\x1b[2J", b"a\xe4"])
def test_signs_that_cannot_be_printed_are_escaped(tmp_path, odd):
    folder, among = scan_set(tmp_path, "images")
    for suffix in (b".webp", b".nii.bz2"):
        Path(os.fsdecode(os.fsencode(among) + b"/" + odd + suffix)).touch()
    for verb in (named_by_plan, named_by_predict):
        lost, notes = verb(folder)
        assert [*lost, *lost.values(), *notes]
        assert all(text.isprintable() for text in [*lost, *lost.values(), *notes])
        assert [why.file for why in lost.values()] == [None]


def test_files_that_are_used_are_not_looked_at(tmp_path, monkeypatch):
    """Of thousands of scans with a note beside each, none is asked for its kind: the list of the folder has it."""
    touch(tmp_path, *(f"p{number:03d}{suffix}" for number in range(200) for suffix in (".nii.gz", ".json")))
    cases, _ = find_scans(tmp_path, ("CT",))
    stat, asked = os.stat, []
    monkeypatch.setattr(os, "stat", lambda path, *args, **options: asked.append(path) or stat(path, *args, **options))
    assert unread_entries(tmp_path, {case.id: case.channels for case in cases}).notes == []
    assert len(asked) < 20


def test_scans_that_could_be_read_are_told_from_others(tmp_path):
    folder, _ = scan_set(tmp_path, "right in the folder")
    touch(folder, "extra/c.nii.gz", "movie.mp4")
    cases, failed = find_scans(folder, ("CT",))
    unread = unread_scans(folder, cases, failed, ("CT",))
    assert unread.readable == [folder / "extra"]
    (note,) = unread.without(unread.readable).notes
    assert "movie.mp4" in note
