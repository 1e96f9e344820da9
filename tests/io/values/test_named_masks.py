"""Labels that name their structures: a folder with a mask for each, and `.seg.nrrd` with several layers."""

import gzip

import numpy as np
import pytest

from medseg.commands.evaluate.evaluate import evaluate
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_label

SHAPE = (4, 8, 8)
TABLE = {"liver": 1, "spleen": 2}


def cube(first, value=1, length=2):
    """Return a mask of a cube that begins at x = first."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 1:3, first : first + length] = value
    return array


def save_layers(path, segments, with_values=True):
    """Write a 3D Slicer segmentation; `segments` is name -> (value, layer, mask)."""
    layers = np.zeros((1 + max(layer for _, layer, _ in segments.values()), *SHAPE), np.uint8)
    for value, layer, mask in segments.values():
        layers[layer][mask > 0] = value
    lines = ["NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior"]
    lines += [f"sizes: {len(layers)} {' '.join(map(str, SHAPE[::-1]))}", "kinds: list domain domain domain"]
    lines += ["space directions: none (1,0,0) (0,1,0) (0,0,1)", "encoding: gzip", "space origin: (0,0,0)"]
    for number, (name, (value, layer, _)) in enumerate(segments.items()):
        lines += [f"Segment{number}_Name:={name}"]
        lines += [f"Segment{number}_LabelValue:={value}", f"Segment{number}_Layer:={layer}"] * with_values
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(np.moveaxis(layers, 0, -1).tobytes()))


@pytest.fixture
def make(tmp_path, save_nifti):
    """Write `CASE/ct.nii.gz` beside `CASE/segmentations/NAME.nii.gz` for each table {name: mask}."""

    def write(tables, layout="{case}/segmentations/{name}.nii.gz", image="{case}/ct.nii.gz"):
        for number, masks in enumerate(tables):
            scan = np.random.default_rng(number).normal(0, 1, SHAPE)
            save_nifti(tmp_path / "set" / image.format(case=f"s{number}"), scan)
            for name, mask in masks.items():
                save_nifti(tmp_path / "set" / layout.format(case=f"s{number}", name=name), mask)
        return tmp_path / "set"

    return write


@pytest.mark.parametrize(
    ("layout", "image"),
    [
        ("{case}/segmentations/{name}.nii.gz", "{case}/ct.nii.gz"),
        ("{case}/masks/{name}.nii.gz", "{case}/{case}.nii.gz"),
        ("labels/{case}/{name}.nii.gz", "images/{case}.nii.gz"),
        ("labels/{name}/{case}.nii.gz", "images/{case}.nii.gz"),
        ("labels/{name}/{case}_{name}.nii.gz", "images/{case}_0000.nii.gz"),
    ],
)
@pytest.mark.parametrize("stored", [1, 255])
def test_a_mask_for_each_structure(make, layout, image, stored):
    tables = [{"liver": cube(0, stored), "spleen": cube(4)}, {"spleen": cube(4)}, {"liver": cube(0, stored)}]
    data = find_data(make(tables, layout, image), DataOptions())
    assert data.labels.structures == TABLE
    assert any("liver (2 of 3), spleen (2 of 3)" in problem for problem in data.problems)
    for case, masks in zip(data.cases, tables, strict=True):
        expected = sum((cube(0) if name == "liver" else cube(4, 2)) for name in masks)
        np.testing.assert_array_equal(read_label(case.label, data.reading).array[0], expected)


@pytest.mark.parametrize("order", ["{case}/{name}", "{name}/{case}"])
def test_masks_that_overlap(make, order):
    tables = [{"liver": cube(0, length=4), "spleen": cube(3)}] * 2
    folder = make(tables, f"labels/{order}.nii.gz", "images/{case}.nii.gz")
    data = find_data(folder, DataOptions())
    with pytest.raises(DataError, match="liver and spleen overlap in 4 voxels"):
        read_label(data.cases[0].label, data.reading)
    data = find_data(folder, DataOptions(overlaps="regions"))
    assert {name: sorted(data.labels.members[name]) for name in TABLE} == {"liver": [1, 3], "spleen": [2, 3]}
    assert read_label(data.cases[0].label, data.reading).array[0, 1, 1].tolist() == [1, 1, 1, 3, 2, 0, 0, 0]
    data = find_data(folder, DataOptions(overlaps="later", segments=["liver", "spleen"]))
    assert read_label(data.cases[0].label, data.reading).array[0, 1, 1].tolist() == [1, 1, 1, 2, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"liver": cube(0) + cube(4, 2), "spleen": cube(6)}, r"liver.nii.gz holds the values 0, 1, 2"),
        ({"liver": cube(0)[1:], "spleen": cube(6)}, r"liver.nii.gz and .*spleen.nii.gz lie on different grids"),
    ],
)
def test_files_that_are_no_masks_of_the_case_are_refused_by_name(make, masks, message):
    data = find_data(make([masks] * 2), DataOptions())
    with pytest.raises(DataError, match=message):
        read_label(data.cases[0].label, data.reading)


def test_values_beside_names_are_refused_unless_they_are_declared(tmp_path, save_nifti):
    for number in range(2):
        save_nifti(tmp_path / f"images/s{number}.nii.gz", np.random.default_rng(number).normal(0, 1, SHAPE))
    save_nifti(tmp_path / "labels/s0.nii.gz", cube(0, 2))
    save_layers(tmp_path / "labels/s1.seg.nrrd", {"liver": (1, 0, cube(0)), "spleen": (1, 1, cube(1))})
    with pytest.raises(DataError, match=r"s1.seg.nrrd names its structures, and .*s0.nii.gz does not"):
        find_data(tmp_path, DataOptions())


@pytest.mark.parametrize("with_values", [True, False])
def test_layers_are_read_as_overlapping_segments(tmp_path, save_nifti, with_values):
    for number in range(2):
        save_nifti(tmp_path / f"images/s{number}.nii.gz", np.random.default_rng(number).normal(0, 1, SHAPE))
        segments = {"liver": (1, number, cube(0, length=4)), "spleen": (1, 1 - number, cube(3))}
        save_layers(
            tmp_path / f"labels/s{number}.seg.nrrd",
            dict(sorted(segments.items(), key=lambda item: item[1][1])),
            with_values,
        )
    data = find_data(tmp_path, DataOptions(overlaps="regions"))
    assert {name: sorted(data.labels.members[name]) for name in TABLE} == {"liver": [1, 3], "spleen": [2, 3]}
    for case in data.cases:
        assert read_label(case.label, data.reading).array[0, 1, 1].tolist() == [1, 1, 1, 3, 2, 0, 0, 0]
    data = find_data(tmp_path, DataOptions())
    with pytest.raises(DataError, match="liver and spleen overlap in 4 voxels"):
        read_label(data.cases[0].label, data.reading)


def test_values_that_a_header_does_not_name_are_refused(tmp_path):
    path = tmp_path / "s0.seg.nrrd"
    save_layers(path, {"liver": (1, 0, cube(0)), "spleen": (2, 1, cube(0))})
    path.write_bytes(path.read_bytes().replace(b"LabelValue:=2", b"LabelValue:=3"))
    with pytest.raises(DataError, match="has voxels of the value 2 in layer 1, which its header does not name"):
        read_label(path, find_data_reading())


def find_data_reading():
    """Return how names are read that are looked up in TABLE."""
    from medseg.plans.sections.reading import Reading

    return Reading(segments=TABLE)


def test_evaluate_compares_answers_with_a_folder_of_masks(make, tmp_path, save_nifti):
    folder = make([{"liver": cube(0), "spleen": cube(4)}] * 2)
    for number in range(2):
        save_nifti(tmp_path / f"answers/s{number}.nii.gz", cube(0) + cube(4, 2))
    (tmp_path / "answers/labels.json").write_text('{"labels": {"structures": {"liver": 1, "spleen": 2}}}')
    result = evaluate(tmp_path / "answers", folder)
    assert {name: scores.figures["dice"].mean for name, scores in result.summary.structures.items()} == dict.fromkeys(
        TABLE, 1
    )
