"""Scans to segment in data sets that list their files: each that is there is found, and each that is not is named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from sets.coco_files import annotation, box, image, write_coco

from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases
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
    notes = unread_scans(tmp_path, cases, problems, ["CT"]).notes
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
    (folder / "cases.csv").write_text(f"id,{','.join(names)},label\np1,{files},truth/p1.png\n")


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
        (("one", "other"), ["ONE", "OTHER"], ["p1_x.png", "p1_y.png"]),
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
    assert unread_scans(tmp_path, cases, problems, ["t1", "t2"]).notes == []


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
    patterns = "*_0001.png,*_0000.png" if len(stems) > 1 else "*_t1.nii.gz,*_flair.nii.gz"
    assert f"--channels '{patterns}'" in str(raised.value.hint)
    assert len(find_scans(tmp_path / given, ["FLAIR", "T1"])[0]) == 1


def test_a_listed_file_of_all_channels_in_another_order_is_refused(tmp_path):
    _draw(tmp_path / "raw", "a")
    listed = {"modality": {"0": "FLAIR", "1": "T1"}, "training": [{"image": "raw/a.png", "label": "b.png"}]}
    (tmp_path / "task.json").write_text(json.dumps(listed))
    assert len(find_scans(tmp_path, ["FLAIR", "T1"])[0]) == 1
    with pytest.raises(DataError, match="has the channels flair, t1; the model takes them as t1, flair"):
        find_scans(tmp_path, ["T1", "FLAIR"])


def test_channels_of_one_name_keep_the_order_of_the_list(tmp_path):
    _draw(tmp_path / "raw", "c_0000", "c_0001")
    listed = {"modality": {"0": "MRI", "1": "MRI"}, "labels": {"0": "background", "1": "x"}}
    entry = {"image": "raw/c.png", "label": "truth/c.png"}
    (tmp_path / "dataset.json").write_text(json.dumps(listed | {"training": [entry]}))
    [case] = find_scans(tmp_path, ["MRI", "MRI"])[0]
    assert [path.name for path in case.channels] == ["c_0000.png", "c_0001.png"]


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (("p_t1", "p_flair"), ["p_t1.png", "p_flair.png"]),
        (("p_flair", "p_t1"), ["p_t1.png", "p_flair.png"]),
        (("a", "b"), ["a.png", "b.png"]),
        (("p_flair", "x"), None),
        (("p_t1", "p_t2"), None),
    ],
)
def test_where_a_list_names_no_channels_names_of_files_do(tmp_path, stems, expected):
    _draw(tmp_path / "raw", *stems)
    entry = {"image": [f"raw/{stem}.png" for stem in stems], "label": "truth/p.png"}
    (tmp_path / "task.json").write_text(json.dumps({"training": [entry, {**entry, "label": "truth/q.png"}]}))
    if expected is None:
        with pytest.raises(DataError, match="say other channels than t1, flair"):
            find_scans(tmp_path, ["t1", "flair"])
    else:
        assert [path.name for path in find_scans(tmp_path, ["t1", "flair"])[0][0].channels] == expected


def test_a_case_of_another_number_of_files_fails_alone(tmp_path):
    _draw(tmp_path / "raw", "a_x", "a_y", "b")
    two = {"image": ["raw/a_x.png", "raw/a_y.png"], "label": "truth/a.png"}
    one = {"image": "raw/b.png", "label": "truth/b.png"}
    content = {"modality": {"0": "flair", "1": "t1"}, "training": [two, one]}
    (tmp_path / "task.json").write_text(json.dumps(content))
    cases, problems = find_scans(tmp_path, ["t1", "flair"])
    assert [[path.name for path in case.channels] for case in cases] == [["a_y.png", "a_x.png"]]
    assert problems == {"b": "task.json lists 1 file of it; expected flair, t1"}


def test_a_table_of_facts_with_previews_lists_no_scans(tmp_path):
    _draw(tmp_path, "a", "b")
    _draw(tmp_path / "thumbs", "a")
    (tmp_path / "cases.csv").write_text("id,preview\na,thumbs/a.png\n")
    assert [case.channels for case in find_scans(tmp_path, ["image"])[0]] == [
        (tmp_path / "a.png",),
        (tmp_path / "b.png",),
    ]


def test_a_table_with_one_id_twice_is_refused_whichever_file_is_there(tmp_path):
    _draw(tmp_path / "raw", "a")
    (tmp_path / "cases.csv").write_text("id,image\nA,raw/gone.png\nA,raw/a.png\n")
    with pytest.raises(DataError, match="the id 'A' appears more than once"):
        find_scans(tmp_path, ["CT"])


def test_scans_have_the_names_of_their_references(tmp_path):
    """Images of training and of the test are called alike, so that their labels' names tell them apart."""
    entries = {
        part: [{"image": f"{part}/{n}.png", "label": f"{part}_labels/{n}.png"} for n in (0, 1)] for part in ("tr", "ts")
    }
    for part, listed in entries.items():
        _draw(tmp_path / part, "0", "1")
        _draw(tmp_path / f"{part}_labels", *(entry["label"][-5] for entry in listed))
    (tmp_path / "task.json").write_text(json.dumps({"training": entries["tr"], "testing": entries["ts"]}))
    planned = {case.channels: case.id for case in find_cases(tmp_path).cases}
    scans = find_scans(tmp_path, ["CT"])[0]
    assert len(scans) == 2
    assert all(planned[scan.channels] == scan.id for scan in scans)


def test_test_images_may_be_listed_by_themselves(tmp_path):
    _draw(tmp_path / "raw", "a", "t")
    training = [{"image": "raw/t.png", "label": "truth/t.png"}]
    (tmp_path / "task.json").write_text(json.dumps({"training": training, "test": ["raw/a.png"]}))
    assert [case.id for case in find_scans(tmp_path, ["CT"])[0]] == ["a"]


@pytest.mark.parametrize("content", [{"training": []}, {"dataset": {"name": "x"}}, {"training": ["a", "b"]}])
def test_a_description_that_lists_no_images_is_no_list(tmp_path, content):
    _draw(tmp_path / "imagesTr", "a")
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}} | content))
    assert [case.id for case in find_scans(tmp_path, ["CT"])[0]] == ["a"]


def test_images_of_coco_in_one_folder_are_missed_where_they_are_listed(tmp_path):
    _draw(tmp_path / "images", "a", "b")
    _draw(tmp_path / "overlays", "a", "b")
    listed = [image(1, "a.png"), image(2, "gone.png")]
    write_coco(tmp_path / "annotations" / "instances.json", listed, [annotation(1, box(0, 0, 2, 2))])
    cases, problems = find_scans(tmp_path, ["CT"])
    assert ([case.id for case in cases], [*problems]) == (["a", "b"], ["gone.png"])
    assert not any("not listed" in note for note in unread_scans(tmp_path, cases, problems, ["CT"]).notes)


def test_an_image_of_two_parts_of_coco_is_answered_with_the_part_that_is_asked_for(tmp_path):
    _draw(tmp_path / "train", "a", "b")
    _draw(tmp_path / "val", "c")
    for part, names in (("train", ["train/a.png", "train/b.png"]), ("val", ["train/b.png", "val/c.png"])):
        listed = [image(number, name) for number, name in enumerate(names)]
        write_coco(tmp_path / "annotations" / f"instances_{part}.json", listed, [annotation(0, box(0, 0, 2, 2))])
    assert sorted(case.id for case in find_scans(tmp_path, ["CT"])[0]) == ["b", "c"]


def test_folders_of_something_else_are_no_cases(tmp_path):
    _labelme(tmp_path / "labelme")
    _draw(tmp_path / "labelme" / "extra", "other")
    _mist(tmp_path / "mist")
    (tmp_path / "mist" / "train" / "notes").mkdir()
    for layout in ("labelme", "mist"):
        assert [*find_scans(tmp_path / layout, ["CT"])[1]] == ["gone"]


def test_a_list_that_is_not_valid_leaves_the_images_of_a_folder(tmp_path):
    _draw(tmp_path, "a")
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"training": [{"image": "a.png", "label": "b.png"}]}))
    assert [case.id for case in find_scans(tmp_path, ["CT"])[0]] == ["a"]
