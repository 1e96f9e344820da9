"""Weights of cases in a data set's own description, and weight maps beside label files, in every layout."""

import json
from pathlib import Path

import pytest
from sets.coco_files import annotation, box, image, write_coco, write_images
from sets.layout_files import touch, write_json

from medseg.core.case import read_cases, write_cases
from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases

DECLARED = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
LAYOUTS = {
    "nnunet": ({**DECLARED, "file_ending": ".nii.gz"}, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
    "pairs": (None, "images/{}.png", "labels/{}.png"),
    "voc": (None, "JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
    "case folders": (None, "{}/ct.nii.gz", "{}/seg.nii.gz"),
    "flat folder": (None, "{}_ct.nii.gz", "{}_seg.nii.gz"),
    "split folders": (None, "train/images/{}.png", "train/labels/{}.png"),
    "patterns": (None, "scans/{}.mha", "marks/{}.mha"),
}
NAMING = {"patterns": Naming(images=("scans/*.mha",), labels="marks/*.mha")}


def lay_out(folder: Path, layout: str) -> dict[str, Path]:
    """Write the layout with the cases a, b and c; returns their label files."""
    declared, scan, label = LAYOUTS[layout]
    if declared is not None:
        write_json(folder, **declared)
    touch(folder, *(name.format(case) for case in "abc" for name in (scan, label)))
    return {case: folder / label.format(case) for case in "abc"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_map_beside_the_label_is_found_and_is_no_case_or_channel(layout: str, tmp_path: Path) -> None:
    labels = lay_out(tmp_path, layout)
    naming = NAMING.get(layout, Naming())
    plain = find_cases(tmp_path, naming=naming)
    name = labels["b"].name.partition(".")[0]
    touch(labels["b"].parent, f"{name}_weight_map.nii.gz")
    weighed = find_cases(tmp_path, naming=naming)
    assert len(plain.cases) == 3
    assert weighed.channels == plain.channels
    assert [(case.id, case.channels, case.label) for case in weighed.cases] == [
        (case.id, case.channels, case.label) for case in plain.cases
    ]
    maps = {case.label: case.weight_map for case in weighed.cases if case.weight_map is not None}
    assert maps == {labels["b"]: labels["b"].parent / f"{name}_weight_map.nii.gz"}
    assert sum("1 weight map (*_weight_map) beside label files" in text for text in weighed.problems) == 1
    write_cases(tmp_path / "table.csv", weighed.cases, tmp_path)
    assert [case.weight_map for case in read_cases(tmp_path / "table.csv", tmp_path)] == [
        case.weight_map for case in weighed.cases
    ]


def test_the_map_of_a_label_in_a_json_file_lies_beside_its_image(tmp_path: Path) -> None:
    """Two parts of a set may have images of one name, of which only the image's own folder tells."""
    names = ["train/a.png", "train/b.png", "val/a.png"]
    for part in ("train", "val"):
        images = [image(number, name) for number, name in enumerate(names) if name.startswith(part)]
        drawn = [annotation(entry["id"], box(0, 0, 2, 2)) for entry in images]
        write_coco(tmp_path / "annotations" / f"instances_{part}.json", images, drawn)
    write_images(tmp_path, *names)
    touch(tmp_path, "val/a_weight_map.png", "annotations/b_weight_map.png")
    data = find_cases(tmp_path)
    maps = {case.channels[0].relative_to(tmp_path).as_posix(): case.weight_map for case in data.cases}
    assert maps == {"train/a.png": None, "train/b.png": None, "val/a.png": tmp_path / "val" / "a_weight_map.png"}
    touch(tmp_path, "val/a_weight_map.nii.gz")
    assert "two weight maps beside its image" in " ".join(find_cases(tmp_path).problems)


def test_a_label_with_two_maps_is_left_out_by_name(tmp_path: Path) -> None:
    labels = lay_out(tmp_path, "pairs")
    touch(labels["a"].parent, "a_weight_map.png", "a_weight_map.nii.gz")
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["b", "c"]
    assert data.problems == [
        "a: it has two weight maps beside its label, a_weight_map.nii.gz and a_weight_map.png; keep one of them"
    ]


def test_dataset_json_states_weights_by_id(tmp_path: Path) -> None:
    lay_out(tmp_path, "nnunet")
    declared = LAYOUTS["nnunet"][0]
    write_json(tmp_path, **declared, loss_weight={"a": 0.5, "b": 0}, weight={"a": 3})
    cases = find_cases(tmp_path).cases
    assert [(case.id, case.loss_weight, case.weight) for case in cases] == [("a", 0.5, 3), ("b", 0, 1), ("c", 1, 1)]


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"loss_weight": {"d": 1}}, "weights of d, which is no case here"),
        ({"loss_weight": {"a": -1}}, "a: loss_weight is -1; expected a number of 0 or more"),
        ({"weight": {"a": "2"}}, "a: weight is '2'"),
        ({"loss_weight": {"a": True}}, "a: loss_weight is True"),
        ({"loss_weight": 2}, "loss_weight is 2"),
    ],
)
def test_weights_that_cannot_be_are_refused(stated: dict[str, object], why: str, tmp_path: Path) -> None:
    lay_out(tmp_path, "nnunet")
    write_json(tmp_path, **LAYOUTS["nnunet"][0], **stated)
    with pytest.raises(DataError, match=why):
        find_cases(tmp_path)


@pytest.mark.parametrize("name", ["dataset.json", "datalist.json"])
def test_the_entries_of_a_list_state_weights(name: str, tmp_path: Path) -> None:
    entries = [{"image": f"images/{case}.nii.gz", "label": f"masks/{case}.nii.gz"} for case in "ab"]
    touch(tmp_path, *(file for entry in entries for file in entry.values()))
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}} if name == "dataset.json" else {}
    training = [{**entries[0], "loss_weight": 0.25, "weight": 2}, entries[1]]
    (tmp_path / name).write_text(json.dumps({**content, "training": training}))
    cases = find_cases(tmp_path).cases
    assert [(case.loss_weight, case.weight) for case in cases] == [(0.25, 2), (1, 1)]


def test_a_table_of_facts_changes_only_what_it_has_columns_for(tmp_path: Path) -> None:
    labels = lay_out(tmp_path, "nnunet")
    write_json(tmp_path, **LAYOUTS["nnunet"][0], loss_weight={"a": 0.5, "b": 0.5})
    touch(labels["a"].parent, "a_weight_map.nii.gz")
    (tmp_path / "facts.csv").write_text("id,weight,loss_weight\na,2,\nb,,0.75\n")
    cases = find_cases(tmp_path, naming=Naming(table=tmp_path / "facts.csv")).cases
    assert [(case.weight, case.loss_weight) for case in cases] == [(2, 0.5), (1, 0.75), (1, 1)]
    assert cases[0].weight_map == labels["a"].parent / "a_weight_map.nii.gz"
