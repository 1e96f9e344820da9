"""Scans to segment in data sets that list their files: each that is there is found, and each that is not is named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from sets.coco_files import annotation, box, image, write_coco

from medseg.core.errors import DataError
from medseg.io.layouts.scans import find_scans, unread_scans

PAIRS = ("a", "b", "gone")
"""Listed with a label; the image of the last is not there, nor is the label of `b`."""


def _draw(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pillow.fromarray(np.zeros((4, 5), np.uint8)).save(folder / f"{name}.png")


def _pairs(folder: Path) -> list[dict[str, str]]:
    """Write two listed images and one that is not, and return the entries of a list."""
    _draw(folder / "raw", "a", "b", "more")
    _draw(folder / "truth", "a")
    return [{"image": f"raw/{name}.png", "label": f"truth/{name}.png"} for name in PAIRS]


def _table(folder: Path) -> None:
    rows = "".join(
        f"{name},{entry['image']},{entry['label']}\n" for name, entry in zip(PAIRS, _pairs(folder), strict=True)
    )
    (folder / "cases.csv").write_text(f"id,image,label\n{rows}")


def _datalist(folder: Path) -> None:
    (folder / "task.json").write_text(json.dumps({"training": _pairs(folder)}))


def _datalist_for_testing(folder: Path) -> None:
    test = [{"image": entry["image"]} for entry in _pairs(folder)]
    lost = {"image": "raw/not there.png", "label": "truth/x.png"}  # of training: not asked for, and not missed
    training = [{"image": "raw/t.png", "label": "truth/t.png"}, lost]
    _draw(folder / "raw", "t")
    (folder / "task.json").write_text(json.dumps({"training": training, "testing": test}))


def _decathlon(folder: Path) -> None:
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "organ"}, "training": _pairs(folder)}
    (folder / "dataset.json").write_text(json.dumps(content))


def _nnunet_map(folder: Path) -> None:
    entries = {
        name: {"images": [entry["image"]], "label": entry["label"]}
        for name, entry in zip(PAIRS, _pairs(folder), strict=True)
    }
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, "dataset": entries}
    (folder / "dataset.json").write_text(json.dumps(content | {"file_ending": ".png"}))


def _coco(folder: Path) -> None:
    _draw(folder / "valid", "a", "b", "more")
    _draw(folder / "train", "t")
    listed = [image(number, f"{name}.png") for number, name in enumerate(PAIRS)]
    write_coco(folder / "valid" / "_annotations.coco.json", listed, [annotation(0, box(0, 0, 2, 2))])
    lost = [image(1, "t.png"), image(2, "lost.png")]
    write_coco(folder / "train" / "_annotations.coco.json", lost, [annotation(1, box(0, 0, 2, 2))])


def _labelme(folder: Path) -> None:
    for name in PAIRS:
        path = folder / f"{name}_json"
        _draw(path, *(["img"] if name != "gone" else []), *(["label"] if name != "b" else []))
        (path / "label_names.txt").write_text("_background_\ncell\n")


def _mist(folder: Path) -> None:
    for name in PAIRS:
        _draw(folder / "train" / name, *(["ct"] if name != "gone" else []), *(["mask"] if name != "b" else []))
    content = {"train-data": "train", "mask": ["mask"], "images": {"ct": ["ct"]}, "labels": [0, 1]}
    (folder / "mist.json").write_text(json.dumps(content))


LISTS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "table": (_table, True),
    "datalist": (_datalist, True),
    "datalist for testing": (_datalist_for_testing, True),
    "decathlon": (_decathlon, True),
    "nnunet map": (_nnunet_map, True),
    "coco": (_coco, True),
    "labelme": (_labelme, False),
    "mist": (_mist, False),
}
"""What writes each layout, and whether images may lie there that no list names."""


@pytest.mark.parametrize("layout", LISTS)
def test_each_listed_scan_is_found_or_named_with_or_without_a_label(tmp_path, layout):
    write, has_others = LISTS[layout]
    write(tmp_path)
    cases, problems = find_scans(tmp_path, ["CT"])
    assert [case.id for case in cases] == ["a", "b"]
    assert [Path(name).stem for name in problems] == ["gone"]
    notes = unread_scans(tmp_path, cases, problems).notes
    assert any("1 image not listed in" in note and "more.png" in note for note in notes) == has_others
    assert has_others or not notes


def test_two_files_of_one_scene_are_named(tmp_path):
    images = tmp_path / "leftImg8bit" / "val"
    for number in (1, 2):
        _draw(images / "ulm", f"ulm_00000{number}_000019_leftImg8bit")
    pillow.fromarray(np.zeros((4, 5), np.uint8)).save(images / "ulm" / "ulm_000002_000019_leftImg8bit.bmp")
    cases, problems = find_scans(tmp_path, ["image"])
    assert [case.id for case in cases] == ["ulm_000001_000019"]
    assert [*problems] == ["ulm_000002_000019_leftImg8bit"]


def _of_channels(folder: Path, names: tuple[str, ...]) -> None:
    stems = [f"p1_{letter}" for letter in "xyz"[: len(names)]]
    _draw(folder / "raw", *stems)
    files = ",".join(f"raw/{stem}.png" for stem in stems)
    (folder / "cases.csv").write_text(f"id,{','.join(names)}\np1,{files}\n")


@pytest.mark.parametrize(
    ("columns", "channels", "expected"),
    [
        (("t1", "flair"), ["t1", "flair"], ["p1_x.png", "p1_y.png"]),
        (("t1", "flair"), ["FLAIR", "T1"], ["p1_y.png", "p1_x.png"]),
        (("t1", "flair"), ["flair"], ["p1_y.png"]),
        (("t1", "flair"), ["channel_0", "channel_1"], ["p1_x.png", "p1_y.png"]),
        (("one", "other"), ["t1", "flair"], None),
        (("t1", "t2"), ["t1", "flair"], None),
        (("t1", "t2", "pd"), ["t1", "flair"], None),
    ],
)
def test_columns_are_taken_by_the_names_of_the_channels(tmp_path, columns, channels, expected):
    _of_channels(tmp_path, columns)
    if expected is None:
        with pytest.raises(DataError, match=r"cases.csv lists the channels .*; the model takes t1, flair"):
            find_scans(tmp_path, channels)
    else:
        [case] = find_scans(tmp_path, channels)[0]
        assert [path.name for path in case.channels] == expected


def test_the_other_files_of_a_scan_that_is_left_out_are_listed(tmp_path):
    _draw(tmp_path / "raw", "a_x", "a_y", "b_x")
    (tmp_path / "cases.csv").write_text("id,t1,t2\na,raw/a_x.png,raw/a_y.png\nb,raw/b_x.png,raw/b_y.png\n")
    cases, problems = find_scans(tmp_path, ["t1", "t2"])
    assert ([case.id for case in cases], [*problems]) == (["a"], ["b"])
    assert unread_scans(tmp_path, cases, problems).notes == []


def test_of_a_table_with_a_test_part_only_that_is_missed(tmp_path):
    _draw(tmp_path / "raw", "a")
    rows = "a,raw/a.png,test\nb,raw/b.png,test\nc,raw/c.png,train\n"
    (tmp_path / "cases.csv").write_text(f"id,image,split\n{rows}")
    cases, problems = find_scans(tmp_path, ["CT"])
    assert [case.id for case in cases] == ["a"]
    assert [*problems] == ["b"]


def test_what_is_wrong_with_a_description_above_is_no_matter(tmp_path):
    (tmp_path / "dataset.json").write_text('{"channel_names": 3}')
    _draw(tmp_path / "scans", "p1_0000", "p1_0001")
    assert [case.id for case in find_scans(tmp_path / "scans", ["T1", "FLAIR"])[0]] == ["p1"]


@pytest.mark.parametrize("given", ["imagesTs", ""])
@pytest.mark.parametrize("stems", [("p1_0000", "p1_0001"), ("p1",)])
def test_channels_in_another_order_are_refused(tmp_path, given, stems):
    _draw(tmp_path / "imagesTs", *stems)
    declared = {"channel_names": {"0": "FLAIR", "1": "T1"}, "labels": {"background": 0, "x": 1}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(declared))
    with pytest.raises(DataError, match="has the channels flair, t1; the model takes them as t1, flair") as raised:
        find_scans(tmp_path / given, ["T1", "FLAIR"])
    patterns = "*_0001.nii.gz,*_0000.nii.gz" if len(stems) > 1 else "*_t1.nii.gz,*_flair.nii.gz"
    assert f"--channels '{patterns}'" in str(raised.value.hint)
    assert len(find_scans(tmp_path / given, ["FLAIR", "T1"])[0]) == 1


def test_a_listed_file_of_all_channels_in_another_order_is_refused(tmp_path):
    _draw(tmp_path / "raw", "a")
    listed = {"modality": {"0": "FLAIR", "1": "T1"}, "training": [{"image": "raw/a.png", "label": "b.png"}]}
    (tmp_path / "task.json").write_text(json.dumps(listed))
    assert len(find_scans(tmp_path, ["FLAIR", "T1"])[0]) == 1
    with pytest.raises(DataError, match="has the channels flair, t1; the model takes them as t1, flair"):
        find_scans(tmp_path, ["T1", "FLAIR"])


def test_a_list_that_is_not_valid_leaves_the_images_of_a_folder(tmp_path):
    _draw(tmp_path, "a")
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"training": [{"image": "a.png", "label": "b.png"}]}))
    assert [case.id for case in find_scans(tmp_path, ["CT"])[0]] == ["a"]
