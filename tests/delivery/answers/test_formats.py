"""Every format that answers can be asked for in goes the whole way: written, named, read, scored, listed, kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import make_plan, network_values
from PIL import Image as pillow

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.records.verify import verify
from medseg.core.case import Case
from medseg.core.colours import rgb_number
from medseg.core.errors import PlanError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.dicom_objects import prepare_writer
from medseg.delivery.answers.formats import (
    ANSWER_FORMATS,
    answer_path,
    format_named,
    layers_of,
    segments_of,
    value_names,
    write_answer_labels,
)
from medseg.delivery.answers.options import WriteOptions
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.table import FORMATS
from medseg.io.images import read_label, write_label
from medseg.io.values.named_values import named_values
from medseg.models.model import Model, make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, RunFolder
from medseg.plans.file import save_plan
from medseg.plans.sections.reading import Reading
from medseg.plans.terminology import Coding

ORGANS = Labels(structures={"liver": 3, "left kidney": 1})
REGIONS = Labels(structures={"whole": [1, 4], "core": [4]}, activation="sigmoid", region_values=[1, 4])
LIVER = Coding(category="SCT 91723000 Anatomical Structure", type="SCT 10200004 Liver")


@pytest.fixture(scope="session")
def flat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a fold of random weights for 2D images."""
    folder = tmp_path_factory.mktemp("flat") / "toy" / "2d"
    configuration = {"patch_voxels": [16, 16], "network": network_values(2, 2, features=[4, 8]), "spacing_mm": [1, 1]}
    plan = make_plan(2, configuration, data={**make_plan(2).data.model_dump(), "spacing_known": False})
    torch.manual_seed(1)
    save_plan(plan, folder / "fold_0" / PLAN)
    name = plan.default_configuration
    save_weights(
        make_network(plan, plan.configuration(name)), RunFolder(folder).fold("0"), RunRecord(configuration=name)
    )
    return folder


@pytest.fixture
def scans(tmp_path: Path, write_scans: Callable[[Path, int], Path]) -> dict[bool, Path]:
    """A folder of volumes, and one of pictures: {whether they are flat: folder}."""
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        grey = np.random.default_rng(number).integers(0, 255, (24, 20)).astype(np.uint8)
        pillow.fromarray(grey).save(tmp_path / "pictures" / f"p{number}.png")
    return {False: write_scans(tmp_path / "volumes", 2), True: tmp_path / "pictures"}


def test_a_format_is_refused_where_no_label_map_is_written() -> None:
    model = Model(make_plan(), "main", ("0",), (), Path())
    slicer = format_named("seg.nrrd", ORGANS, 3)
    with pytest.raises(
        PlanError, match=r"label maps \(\.seg\.nrrd\), and --write rtstruct,seg writes no label"
    ) as error:
        prepare_writer(WriteOptions(forms=("seg", "rtstruct")), [], model, form=slicer)
    assert error.value.hint == "--write nifti,rtstruct,seg writes both; or leave --format out."
    assert prepare_writer(WriteOptions(forms=("nifti",)), [], model, form=slicer).meaning is None


@pytest.mark.parametrize("name", ANSWER_FORMATS)
def test_a_format_goes_the_whole_way(
    name: str, tmp_path: Path, scans: dict[bool, Path], small_model: Path, flat_model: Path
) -> None:
    form = ANSWER_FORMATS[name]
    model, source = (flat_model, scans[True]) if form.flat else (small_model, scans[False])
    plain = predict(source, tmp_path / "plain", model, options=PredictOptions(device="cpu"))
    options = PredictOptions(device="cpu", format=name, instances=True, keep_finished=True)
    result = predict(source, tmp_path / "out", model, options=options)
    assert not result.failed
    for case, path in result.files.items():
        assert path.name == case + form.suffix
        answer, expected = read_label(path), read_label(plain.files[case])
        assert np.array_equal(answer.array, expected.array)
        assert answer.same_grid(expected)
        assert (tmp_path / "out" / "instances" / f"{case}{form.numbers}").is_file()
        if FORMATS[form.suffix].names is not None:
            named = {(segment.name, segment.value, segment.colour) for segment in named_values(path)}
            assert named == {("one", 1, rgb_number(0)), ("two", 2, rgb_number(1))}
    scores = evaluate(tmp_path / "out", tmp_path / "plain")
    assert scores.summary.dice_mean == 1.0
    assert {case.case for case in scores.summary.cases} == {*plain.files}
    assert verify(tmp_path / "out").changes == []
    again = predict(source, tmp_path / "out", model, options=options)
    assert sorted(again.kept) == sorted(plain.files)


@pytest.mark.parametrize("name", [name for name, form in ANSWER_FORMATS.items() if form.flat])
def test_a_flat_scan_with_axes_in_lps_is_answered_in_every_flat_format(
    name: str, tmp_path: Path, flat_model: Path
) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (20, 24, 1)).astype(np.uint8)
    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(grey, np.diag([-0.5, -0.7, 1, 1])), tmp_path / "scans" / "a.nii.gz")
    options = PredictOptions(device="cpu", overrides=["inference.spacing=[1,1,1]"])  # the model is one of pictures
    plain = predict(tmp_path / "scans", tmp_path / "plain", flat_model, options=options)
    options = replace(options, format=name)
    result = predict(tmp_path / "scans", tmp_path / "out", flat_model, options=options)
    assert not result.failed
    assert np.array_equal(read_label(result.files["a"]).array, read_label(plain.files["a"]).array)


def test_an_answer_in_another_format_replaces_the_earlier_one(
    tmp_path: Path, scans: dict[bool, Path], small_model: Path
) -> None:
    for name in ("nrrd", None):
        predict(scans[False], tmp_path / "out", small_model, options=PredictOptions(device="cpu", format=name))
    assert sorted(path.name for path in (tmp_path / "out").glob("scan*")) == ["scan000.nii.gz", "scan001.nii.gz"]


@pytest.mark.parametrize(
    ("name", "labels", "dimensions", "message"),
    [
        ("dicom", ORGANS, 3, "valid are nifti"),
        ("png", ORGANS, 3, "holds 2D images"),
        ("geojson", REGIONS, 2, "overlap"),
        ("geojson", Labels(structures={"road": 0, "car": 1}, background=None), 2, "no background of 0"),
        ("slicer", Labels(structures={"road": 0, "car": 1}, background=None), 3, "road has the value 0"),
    ],
)
def test_a_format_that_cannot_be_is_refused_at_once(name: str, labels: Labels, dimensions: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        format_named(name, labels, dimensions)


def test_a_format_may_be_called_by_its_suffix() -> None:
    case = Case("a", "a", (Path("a.png"),))
    for name, form in ANSWER_FORMATS.items():
        for typed in (name, form.suffix, form.suffix.upper()):
            assert format_named(typed, ORGANS, 2) is form
        assert answer_path(case, Path("out"), form) == Path("out") / f"a{form.suffix}"


def test_a_structure_of_value_0_keeps_its_name(tmp_path: Path) -> None:
    scene = Labels(structures={"road": 0, "car": 1}, background=None)
    image = Image(np.array([[[[0, 1, 0]]]], np.uint8), np.eye(4))
    for name in ("nifti", "nrrd"):
        path = tmp_path / f"a{ANSWER_FORMATS[name].suffix}"
        assert format_named(name, scene, 3) is ANSWER_FORMATS[name]
        write_answer_labels(path, image, None, scene, {}, ANSWER_FORMATS[name])
        assert [(segment.name, segment.value) for segment in named_values(path)] == [("road", 0), ("car", 1)]
        assert read_label(path, Reading(segments={"car": 0, "road": 1})).array.ravel().tolist() == [1, 0, 1]
    assert b"Segment0_Extent:=0 2 0 0 0 0\n" in path.read_bytes()


def test_the_background_that_a_header_names_is_no_structure(tmp_path: Path) -> None:
    for name in ("background", "Clear Label", "???"):
        image = Image(np.array([[[[0, 1]]]], np.uint8), np.eye(4))
        write_label(tmp_path / "a.nii.gz", image, None, [Segment(name, 0), Segment("liver", 1)])
        assert [segment.name for segment in named_values(tmp_path / "a.nii.gz")] == ["liver"]


def test_the_header_of_nifti_holds_what_totalsegmentator_writes(tmp_path: Path) -> None:
    image = Image(np.array([[[[0, 1, 3]]]], np.uint8), np.diag([-2.0, 1, 1, 1]))
    write_answer_labels(tmp_path / "a.nii.gz", image, None, ORGANS, {}, None)
    header = nib.load(tmp_path / "a.nii.gz").header
    (extension,) = header.extensions
    assert extension.get_code() == 0
    text = extension.get_content().rstrip(b"\0 ").decode()
    assert text.startswith("<?xml version=")
    assert '<VolumeInformation Index="0"><LabelTable><Label Key="1" ' in text
    assert 'Alpha="1">left kidney</Label>' in text
    assert text.endswith("<VolumeType>Label</VolumeType></VolumeInformation></CaretExtension>")


def test_a_segmentation_of_slicer_has_extents_and_codes(tmp_path: Path) -> None:
    array = np.zeros((1, 4, 5, 6), np.uint8)
    array[0, 1:3, 2, 3:6] = 3
    path = tmp_path / "a.seg.nrrd"
    write_answer_labels(path, Image(array, np.eye(4)), None, ORGANS, {"liver": LIVER}, ANSWER_FORMATS["seg.nrrd"])
    lines = path.read_bytes().split(b"\n\n")[0].decode().splitlines()
    assert "Segment1_Name:=liver" in lines
    assert "Segment1_LabelValue:=3" in lines
    assert "Segment1_Extent:=3 5 2 2 1 2" in lines  # first and last along x, y, z
    assert "Segment0_Extent:=0 -1 0 -1 0 -1" in lines  # no voxel
    category, type_ = "SCT^91723000^Anatomical Structure", "SCT^10200004^Liver"
    entry = f"Segmentation category and type - medseg~{category}~{type_}~^^~Anatomic codes - medseg~^^~^^"
    assert f"Segment1_Tags:=TerminologyEntry:{entry}|" in lines
    assert named_values(path)[1].terminology == entry


def test_structures_that_overlap_lie_in_layers_and_are_scored_as_they_are_meant(tmp_path: Path) -> None:
    array = np.zeros((1, 2, 5, 6), np.uint8)
    array[0, :, :3], array[0, 1, 1, 2:4] = 1, 4
    image, seg = Image(array, np.eye(4)), ANSWER_FORMATS["seg.nrrd"]
    (tmp_path / "in_layers").mkdir()
    write_answer_labels(tmp_path / "in_layers" / "a.seg.nrrd", image, None, REGIONS, {}, seg)
    write_label(tmp_path / "values" / "a.nii.gz", image)
    layers, segments = layers_of(image, REGIONS, {})
    assert [(part.name, part.value, part.layer) for part in segments] == [("whole", 1, 0), ("core", 1, 1)]
    assert [int(layer.sum()) for layer in layers.array] == [36, 2]
    scores = evaluate(tmp_path / "in_layers", tmp_path / "values", REGIONS)
    assert not scores.failed
    assert [scores.summary.structures[name].figures["dice"].mean for name in REGIONS.names] == [1.0, 1.0]


def test_a_value_of_several_structures_has_no_name_in_headers() -> None:
    assert segments_of(REGIONS, {}) == []
    assert value_names(REGIONS) == {1: "whole", 4: "whole + core"}
    assert [segment.name for segment in segments_of(ORGANS, {})] == ["left kidney", "liver"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".geojson"])
def test_names_decide_where_they_are_asked_for_whatever_the_values(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    image = Image(np.array([[[[0, 1, 2]]]], np.uint8), np.eye(4))
    write_label(path, image, None, [Segment("spleen", 1), Segment("Liver", 2)])
    assert read_label(path).array.ravel().tolist() == [0, 1, 2]
    assert read_label(path, Reading(segments={"liver": 5, "spleen": 7})).array.ravel().tolist() == [0, 7, 5]
    assert read_label(path, Reading(segments={"liver": 2, "spleen": 1})).array.ravel().tolist() == [0, 1, 2]
    assert read_label(path, Reading(segments={"liver": 1})).array.ravel().tolist() == [0, 0, 1]


def test_outlines_are_polygons_with_holes_that_fill_to_the_same_pixels(tmp_path: Path) -> None:
    values = np.zeros((6, 7), np.uint8)
    values[1:5, 1:5], values[2:4, 2:4], values[5, 5] = 3, 0, 3  # a frame, and a pixel that touches its corner
    path = tmp_path / "a.geojson"
    image = Image(values[None, None], np.eye(4), spacing_known=False)
    write_answer_labels(path, image, None, ORGANS, {}, ANSWER_FORMATS["geojson"])
    content = json.loads(path.read_text())
    (feature,) = content["features"]
    assert feature["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "liver", "color": [*rgb_number(1)]},
    }
    assert feature["geometry"]["type"] == "MultiPolygon"
    (outer, hole), (pixel,) = feature["geometry"]["coordinates"]
    assert outer == [[1, 1], [5, 1], [5, 5], [1, 5], [1, 1]]
    assert sorted(hole[:-1]) == [[2, 2], [2, 4], [4, 2], [4, 4]]
    assert pixel == [[5, 5], [6, 5], [6, 6], [5, 6], [5, 5]]
    assert np.array_equal(read_label(path).array[0, 0], values)


def test_names_that_differ_in_spaces_alone_keep_their_values_in_outlines(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    image = Image(np.array([[[[0, 1, 2, 3]]]], np.uint8), np.eye(4))
    write_label(path, image, None, [Segment("a b", 1), Segment("label 3", 2)])  # 3 has no name
    assert read_label(path).array.ravel().tolist() == [0, 1, 2, 3]
    write_label(path, image, None, [Segment("a b", 1), Segment("a  b", 2), Segment("a b (2)", 3)])
    assert read_label(path).array.ravel().tolist() == [0, 1, 2, 3]
    assert [segment.name for segment in named_values(path)] == ["a b", "a b (2)", "a b (2) (3)"]


@pytest.mark.parametrize("seed", range(20))
def test_any_mask_comes_back_from_its_outlines(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.random((1, 1, 9, 12)) < rng.uniform(0.2, 0.8)) * rng.integers(1, 4, (1, 1, 9, 12))
    write_label(tmp_path / "a.geojson", Image(values.astype(np.uint8), np.eye(4)))
    assert np.array_equal(read_label(tmp_path / "a.geojson").array, values)
    for feature in json.loads((tmp_path / "a.geojson").read_text())["features"]:
        kind, coordinates = feature["geometry"].values()
        for ring in (ring for part in (coordinates if kind == "MultiPolygon" else [coordinates]) for ring in part):
            assert len({tuple(corner) for corner in ring}) == len(ring) - 1  # no ring meets itself


def test_geojson_of_other_programs_is_no_image_and_says_what_to_do(tmp_path: Path) -> None:
    from medseg.core.errors import DataError
    from medseg.io.formats.table import is_image

    path = tmp_path / "a.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    assert not is_image(path)
    with pytest.raises(DataError, match="how large its image is") as error:
        read_label(path)
    assert "labelled image" in str(error.value)
    path.write_text('{"type": "FeatureCollection", "medseg": {"size": [2')
    with pytest.raises(DataError, match=r"cannot be read as \.geojson"):
        read_label(path)


def test_references_with_other_values_are_scored_by_their_names(
    tmp_path: Path, scans: dict[bool, Path], small_model: Path
) -> None:
    """3D Slicer numbers segments in the order in which they were drawn: the values differ, the names do not."""
    result = predict(scans[False], tmp_path / "out", small_model, options=PredictOptions(device="cpu"))
    for case, path in result.files.items():
        answer = read_label(path)
        swapped = np.array([0, 2, 1], np.uint8)[answer.array]
        named = [Segment("two", 1), Segment("ONE", 2)]
        write_label(tmp_path / "drawn" / f"{case}.seg.nrrd", answer.with_array(swapped), None, named)
    scores = evaluate(tmp_path / "out", tmp_path / "drawn")
    assert not scores.failed
    assert scores.summary.dice_mean == 1.0


def test_extents_of_values_of_any_size(tmp_path: Path) -> None:
    array = np.zeros((1, 2, 3, 4), np.int32)
    array[0, 1, 1:, 2], array[0, 0, 0, 0] = 1 << 20, 7
    named = [Segment("a", 1 << 20), Segment("b", 7), Segment("c", 5)]
    write_label(tmp_path / "a.seg.nrrd", Image(array, np.eye(4)), None, named)
    lines = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode().splitlines()
    extents = [line.partition(":=")[2] for line in lines if "_Extent:=" in line]
    assert extents == ["2 2 1 2 1 1", "0 0 0 0 0 0", "0 -1 0 -1 0 -1"]
