"""Of a data set with a split of its own, `medseg predict` segments what training has not seen."""

from pathlib import Path

from sets.layout_files import touch

from medseg.commands.predict.unseen_cases import unseen_cases
from medseg.core.case import Case
from medseg.io.layouts.scans import find_scans

NAMES = ["a", "b", "c", "d"]


def scans_of(folder: Path) -> tuple[list[str], str | None]:
    cases, note = unseen_cases(folder, find_scans(folder, ["image"])[0])
    return [case.id for case in cases], note


def voc(folder: Path, **lists: str) -> Path:
    for name in NAMES:
        touch(folder, f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png")
    for name, ids in lists.items():
        path = folder / f"ImageSets/Segmentation/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(ids))
    return folder


def test_the_test_part_else_the_validation_part(tmp_path: Path) -> None:
    ids, note = scans_of(voc(tmp_path / "voc", train="ab", val="c", test="d"))
    assert ids == ["d"]
    assert note is not None
    assert "(column image_set): only its 1 test case is segmented, not the other 3" in note
    ids, note = scans_of(voc(tmp_path / "other", train="ab", val="cd"))
    assert ids == ["c", "d"]
    assert note is not None
    assert "2 validation cases are segmented" in note


def test_pets_that_test_txt_names(tmp_path: Path) -> None:
    for name in NAMES:
        touch(tmp_path, f"images/{name}.jpg", f"annotations/trimaps/{name}.png")
    (tmp_path / "annotations/trainval.txt").write_text("a 1 1 1\nb 1 1 1\n")
    (tmp_path / "annotations/test.txt").write_text("c 1 1 1\n")
    assert scans_of(tmp_path)[0] == ["c"]


def test_without_a_split_or_in_a_folder_of_images_all_are_segmented(tmp_path: Path) -> None:
    folder = voc(tmp_path / "voc", train="ab", val="c", test="d")
    assert scans_of(folder / "JPEGImages") == (NAMES, None)
    assert scans_of(voc(tmp_path / "plain")) == (NAMES, None)
    torn = voc(tmp_path / "torn", train="ab", test="b")
    assert scans_of(torn) == (NAMES, None)
    elsewhere = [Case("x", "x", (tmp_path / "x.jpg",))]
    assert unseen_cases(folder, elsewhere) == (elsewhere, None)
