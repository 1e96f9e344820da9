"""Nothing that looks like a scan vanishes: what no reader uses is named, and what is no scan is not."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sets.layout_files import touch

from medseg.commands.evaluate.pairing import find_sides
from medseg.io.layouts.dataset import LeftOut, Naming
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.scans import find_scans


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
    "a study of links": (lambda folder: link(folder / "p9" / "IM0001"), "is a link to"),
    "a study of links to .dcm": (lambda folder: link(folder / "p9" / "1.dcm"), ""),
    "another compression": (lambda folder: touch(folder, "p9.nii.bz2"), "in no format that medseg reads (.nii.bz2)"),
    "another format": (lambda folder: touch(folder, "p9_0000.webp"), "in no format that medseg reads (.webp)"),
    "a folder of another format": (lambda folder: touch(folder, "p9/ct.mif.gz", "p9/notes.txt"), "(.mif.gz)"),
    "a zip of volumes": (lambda folder: packed(folder / "p9.zip"), "Unpack it"),
}
DEEPER = {"a folder deeper": (lambda folder: touch(folder, "p9/a/b/scan.nii.gz"), "lie at another depth")}
SIDE_FILES = (
    *("README", "README.md", "LICENSE", "info.json", "participants.tsv", "p1.json", "p1.xml", "p1.webp", "p1.txt"),
    *("p1_thumb.webp", "thumbnails/p1.png", "previews/p1/a.png", "report/index.html", "report/p1.png", "Thumbs.db"),
    *("p9_seg.nii.bz2", ".git/p9.nii.gz", ".hidden/p9.nii.gz", "answers/manifest.json"),
    *("answers/p1.nii.gz", "workspace/plans/a.yaml", "workspace/runs/a/p9.png", "code/p9.nii.gz", "notes/a.docx"),
    *("p1.mat", "surface.stl"),
)


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


def named_by_plan(folder: Path) -> dict[str, str]:
    return {problem.id: problem.why for problem in find_cases(folder).problems if isinstance(problem, LeftOut)}


def named_by_predict(folder: Path) -> dict[str, str]:
    return find_scans(folder, ("CT",))[1]


@pytest.mark.parametrize("verb", [named_by_plan, named_by_predict])
@pytest.mark.parametrize("layout", ["right in the folder", "folders", "images", "nnunet", "bids", "split"])
@pytest.mark.parametrize("what", [*SCANS, *DEEPER])
def test_what_looks_like_a_scan_and_is_not_used_is_named(tmp_path, layout, what, verb):
    folder, among = scan_set(tmp_path, layout)
    assert verb(folder) == {}
    write, reason = (SCANS | DEEPER)[what]
    write(among)
    named = verb(folder)
    assert {*named} <= {"p9", "1.2.840.9", "train"}  # where a study may be in the part or be it, both are named
    assert any(reason in why for why in named.values())


@pytest.mark.parametrize("verb", [named_by_plan, named_by_predict])
@pytest.mark.parametrize("layout", ["folders", "images", "nnunet", "bids", "split"])
def test_what_is_no_scan_is_not_named(tmp_path, layout, verb):
    folder, among = scan_set(tmp_path, layout)
    first = "sub-p1" if layout == "bids" else "p1"
    touch(among, *(name.replace("p1", first) for name in SIDE_FILES))
    for name in ("CHANGES", "p1.md5", "CITATION.cff"):  # annexed, and not fetched
        link(among / name)
    assert verb(folder) == {}


def test_test_images_wait_for_predict(tmp_path):
    folder, among = scan_set(tmp_path, "folders")
    touch(among, "test/p8/ct.nii.gz", "imagesTs/p8.nii.bz2")
    assert named_by_plan(folder) == {}
    touch(folder / "flat", "p1.nii.gz", "test/p8.nii.gz")
    assert [*named_by_predict(folder / "flat")] == ["test"]


def test_a_scan_beside_folders_of_cases_is_named(tmp_path):
    folder, _ = scan_set(tmp_path, "folders")
    touch(folder, "p9.nii.gz", "logo.png")
    assert "lies beside the folders of the cases" in named_by_plan(folder)["p9"]


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


def test_a_volume_beside_the_slices_of_a_study_is_named(tmp_path):
    pytest.importorskip("pydicom")
    from dicom.builders import write_series

    folder = tmp_path / "study"
    write_series(folder)
    assert find_scans(folder, ("CT",))[1] == {}
    np.save(folder / "array.npy", np.zeros(1))
    touch(folder, "p9.nii.gz", "p1_seg.nii.gz", "shot.png", "README.txt")
    assert [*find_scans(folder, ("CT",))[1]] == ["p9"]


def test_entries_are_looked_at_once_however_many(tmp_path):
    """A link back to its own folder ends, and a folder of many other files counts as one without scans."""
    folder, among = scan_set(tmp_path, "folders")
    (among / "loop").mkdir()
    os.symlink(among, among / "loop" / "back")
    touch(among, *(f"many/{number:05d}.dat" for number in range(1500)))
    assert named_by_plan(folder) == {}
