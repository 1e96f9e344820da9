"""What is said about a data set: which cases there are, and how their files are read."""

import csv
import json

import numpy as np
import pytest
from PIL import Image as pillow
from typer.testing import CliRunner

import medseg
from medseg.cli.app import app
from medseg.core.errors import DataError, PlanError
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.datasets.label_options import labels_of, notes_on_values
from medseg.datasets.option_values import parse_structures, reading_from_options
from medseg.io.load import load_case_image, load_case_label
from medseg.io.values.class_names import number_names

RED, GREEN, BLACK = [255, 0, 0], [0, 255, 0], [0, 0, 0]
SHAPE = (6, 24, 24)


def block(*values: float, dtype: type = np.uint8) -> np.ndarray:
    """(z, y, x) with a block of 6 x 6 x 6 voxels for each value."""
    label = np.zeros(SHAPE, dtype)
    for number, value in enumerate(values):
        label[:, 2:8, 1 + 7 * number : 7 + 7 * number] = value
    return label


@pytest.fixture
def volumes(tmp_path, save_nifti):
    """Make a set of paired volumes from label maps by id."""

    def make(**labels):
        for number, (id, label) in enumerate(labels.items()):
            noise = np.random.default_rng(number).normal(100, 10, SHAPE).astype(np.float32)
            save_nifti(tmp_path / f"set/images/{id}.nii.gz", noise)
            save_nifti(tmp_path / f"set/labels/{id}.nii.gz", label)
        return tmp_path / "set"

    return make


@pytest.fixture
def pictures(tmp_path):
    """Make a set of paired pictures from masks by id."""

    def make(**masks):
        for number, (id, mask) in enumerate(masks.items()):
            pixels = np.repeat(np.repeat(np.array(mask, np.uint8), 8, axis=0), 8, axis=1)
            noise = np.random.default_rng(number).integers(0, 255, pixels.shape[:2], dtype=np.uint8)
            for folder, array in (("images", noise), ("masks", pixels)):
                (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
                pillow.fromarray(array).save(tmp_path / "set" / folder / f"{id}.png")
        return tmp_path / "set"

    return make


def planned(folder, **data):
    options = medseg.PlanOptions(preset="cpu", data=DataOptions(**data), replace=True)
    return medseg.plan(folder, folder.parent, None, options)


def test_colours_become_structures_and_are_read_alike_from_then_on(pictures, tmp_path):
    folder = pictures(a=[[BLACK, RED]], b=[[BLACK, GREEN]], c=[[RED, BLACK]])
    made = planned(folder).plan
    assert made.labels.structures == {"colour_00ff00": 1, "colour_ff0000": 2}
    assert made.data.reading.colours == {"#000000": 0, "#00ff00": 1, "#ff0000": 2}
    assert made.data.structure_cases == {"colour_00ff00": 1, "colour_ff0000": 2}
    again = medseg.load_plan(tmp_path / "plans/set.yaml")
    assert again.data.reading == made.data.reading
    case = find_data(folder, DataOptions()).cases[0]
    label, _ = load_case_label(case, load_case_image(case, 1), again.data.reading)
    assert set(np.unique(label.array).tolist()) == {0, 2}


def test_colours_are_named_on_the_command_line_or_by_a_table_in_the_folder(pictures):
    folder = pictures(a=[[BLACK, RED, GREEN]], b=[[BLACK, GREEN, RED]])
    named = planned(folder, colours=["spleen=#0f0", "liver=255,0,0"]).plan
    assert named.labels.structures == {"spleen": 1, "liver": 2}
    (folder / "colours.csv").write_text("name,r,g,b\nliver,255,0,0\nspleen,0,255,0\n")
    assert planned(folder).plan.labels.structures == {"liver": 1, "spleen": 2}
    kept = planned(folder, structures=["liver=9", "spleen=4"]).plan
    assert kept.data.reading.colours == {"#000000": 0, "#ff0000": 9, "#00ff00": 4}
    with pytest.raises(DataError, match=r"1 colour that no structure has: #00ff00"):
        planned(folder, colours=["liver=#ff0000"])
    (folder / "colours.csv").unlink()
    with pytest.raises(DataError, match="which of them is which of the structures spleen, liver is not known"):
        planned(folder, structures=["liver=9", "spleen=4"])


def test_a_soft_mask_is_refused_and_settled_by_a_threshold(volumes):
    ramp = np.broadcast_to(np.linspace(0, 1, 24, dtype=np.float32), SHAPE)
    folder = volumes(a=ramp, b=ramp)
    with pytest.raises(DataError, match="not whole numbers"):
        planned(folder)
    made = planned(folder, threshold=0.5).plan
    assert (made.labels.structures, made.data.reading.threshold) == ({"foreground": 1}, 0.5)


def test_smoothed_masks_of_8_bits_are_refused_where_nothing_is_declared(volumes):
    ramp = np.broadcast_to(np.clip(np.arange(24) * 25 - 150, 0, 255).astype(np.uint8), SHAPE)
    folder = volumes(a=ramp, b=block(255))
    result = planned(folder)
    assert list(result.failed) == ["a"]
    assert "--threshold 128" in result.failed["a"]
    assert planned(folder, threshold=128).failed == {}


def test_values_beyond_those_declared_are_refused_and_settled_by_a_map(volumes):
    folder = volumes(a=block(1, 2), b=block(1, 2, 7))
    asked = {"structures": ["liver=1", "spleen=2"]}
    assert "label value 7, which no structure declares" in planned(folder, **asked).failed["b"]
    assert "--map 7=0" in planned(folder, **asked).failed["b"]
    made = planned(folder, **asked, map=["7=0"])
    assert made.failed == {}
    assert made.plan.data.reading.map == {7: 0}
    merged = planned(folder, structures=["organ=1"], map=["2-7=1"]).plan
    assert merged.data.structure_cases == {"organ": 2}


def test_gaps_ignore_and_activation(volumes):
    folder = volumes(a=block(3, 117, 255), b=block(3, 117))
    made = planned(folder, ignore=255, activation="sigmoid").plan
    assert made.labels.structures == {"label_3": 3, "label_117": 117}
    assert (made.labels.ignore, made.labels.activation) == (255, "sigmoid")
    assert made.request.options == {"ignore": 255, "activation": "sigmoid"}
    with pytest.raises(PlanError, match="--ignore 3 does not fit the structures"):
        planned(folder, ignore=3, structures=["a=3", "b=117", "c=255"])
    with pytest.raises(PlanError, match="activation is 'tanh'; valid are softmax and sigmoid"):
        planned(folder, activation="tanh")


def test_what_was_annotated_is_taken_from_the_values_only_with_consent(volumes):
    folder = volumes(a=block(1, 2), b=block(1, 2), c=block(1), d=block(2), e=block())
    without = planned(folder)
    assert {row["annotated"] for row in csv.DictReader(without.cases_path.open())} == {""}
    without.cases_path.unlink()
    result = planned(folder, annotated_from_values=True)
    rows = {row["id"]: row["annotated"] for row in csv.DictReader(result.cases_path.open())}
    assert rows == {"a": "", "b": "", "c": "label_1", "d": "label_2"}
    assert "nothing was annotated in this case" in result.failed["e"]
    assert result.plan.data.cases == 4
    out = str(folder.parent / "out")
    done = CliRunner().invoke(app, ["check", str(folder), "--annotated-from-values", "--output", out])
    written = json.loads((folder.parent / "out/check.json").read_text())
    assert (done.exit_code, written["left_out"]) == (1, ["e"])
    assert written["counts"] == {"missing label": 1, "duplicate label": 1}


def test_no_case_is_left_where_nothing_was_annotated(volumes):
    folder = volumes(a=block(), b=block())
    with pytest.raises(DataError, match=r"None of the cases(.|\n)*nothing was annotated in this case"):
        planned(folder, annotated_from_values=True)


def test_a_table_says_what_was_annotated(volumes):
    folder = volumes(a=block(1, 2), b=block(1))
    (folder / "cases.csv").write_text("id,patient,annotated\nb,p,label_1\n")
    result = planned(folder)
    rows = {row["id"]: (row["patient"], row["annotated"]) for row in csv.DictReader(result.cases_path.open())}
    assert rows == {"a": ("a", ""), "b": ("p", "label_1")}


def test_structures_misspelt_in_the_table_are_refused_before_a_scan_is_read(volumes):
    folder = volumes(a=block(1, 2), b=block(1))
    (folder / "cases.csv").write_text("id,annotated\nb,Liver\n")
    (folder / "images/a.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="b says that Liver was annotated; the structures are liver, spleen"):
        find_data(folder, DataOptions(structures=["liver=1", "spleen=2"]))


def test_label_maps_that_were_resampled_are_named(volumes, save_nifti):
    folder = volumes(a=block(1), b=block(1))
    save_nifti(folder / "labels/b.nii.gz", block(1)[:, :, :-2])
    result = planned(folder, resample_labels=True)
    assert "label maps brought to the grid of their scan: 1 of 2 (b)" in result.notes
    checked = medseg.check(folder, folder.parent, medseg.CheckOptions(data=DataOptions(resample_labels=True)))
    assert "label maps brought to the grid of their scan: 1 of 2 (b)" in checked.notes


def test_files_that_are_named_anew_replace_those_of_an_earlier_plan(tmp_path, save_nifti):
    for case in "abc":
        for role in ("t1", "t2"):
            save_nifti(tmp_path / f"set/{case}/{case}_{role}.nii.gz", np.random.default_rng(0).normal(size=SHAPE))
        save_nifti(tmp_path / f"set/{case}/{case}_seg.nii.gz", block(1))
    assert planned(tmp_path / "set").plan.data.channels == ["t1", "t2"]
    assert planned(tmp_path / "set", images=["t2"]).plan.data.channels == ["t2"]


def test_a_channel_that_looks_like_ct_is_noted(tmp_path, save_nifti):
    for number, case in enumerate("ab"):
        noise = np.random.default_rng(number).normal(0, 100, SHAPE).astype(np.int16)
        save_nifti(tmp_path / f"set/{case}/imaging.nii.gz", noise)
        save_nifti(tmp_path / f"set/{case}/segmentation.nii.gz", block(1))
    notes = planned(tmp_path / "set").notes
    assert any("--normalization imaging=ct" in note for note in notes)
    options = medseg.PlanOptions(preset="cpu", normalization=["imaging=ct"], replace=True)
    notes = medseg.plan(tmp_path / "set", tmp_path, None, options).notes
    assert not any("--normalization" in note for note in notes)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"map": ["3"]}, "not of the form NAME=VALUE"),
        ({"map": ["3=x"]}, "--map 3=x is not valid"),
        ({"map": ["3=0", "3=1"]}, "gives 3 twice"),
        ({"map": ["9-3=0"]}, "'9-3' is neither a value"),
    ],
)
def test_maps_that_are_not_valid(said, message):
    with pytest.raises(PlanError, match=message):
        reading_from_options(DataOptions(**said))


@pytest.mark.parametrize(("colours", "message"), [(["liver=red"], "is not a colour"), (["a=#f00", "b=#f00"], "of two")])
def test_colours_that_are_not_valid(pictures, colours, message):
    with pytest.raises(PlanError, match=message):
        find_data(pictures(a=[[BLACK, RED]]), DataOptions(colours=colours))


def test_what_was_said_is_recorded_and_nothing_else(tmp_path):
    said = DataOptions(ignore=0, frame=0, structures=["a=1"], exclude=tmp_path / "x.txt", patient_pattern="P")
    assert said.given() == {"ignore": 0, "frame": 0, "structures": ["a=1"], "exclude": "x.txt"}
    assert DataOptions(structures=[], images=()).given() == {}


def test_help_is_grouped():
    text = CliRunner().invoke(app, ["plan", "--help-all"]).output
    for panel in ("Which files", "What label files mean", "What the rules decide", "Where the plan goes"):
        assert panel in text


@pytest.mark.parametrize("first", ["background", "cat"])
@pytest.mark.parametrize("layout", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_a_table_of_colours_names_the_values_of_masks_with_a_palette(tmp_path, layout, first):
    """CVAT writes labelmap.txt beside masks whose palette is in the order of its lines."""
    lines = {"background": "0,0,0", "cat": "250,50,83", "dog": "36,179,83", "cow": "1,2,3"}
    order = [first, *(name for name in lines if name != first)]
    (tmp_path / "labelmap.txt").write_text("".join(f"{name}:{lines[name]}::\n" for name in order))
    palette = [int(part) for name in lines for part in lines[name].split(",")]
    for number in range(3):
        mask = np.zeros((16, 16), np.uint8)
        mask[2:6, 2:6], mask[8:12, 8 : 12 + number] = 1, 2
        for folder in layout:
            (tmp_path / folder).mkdir(exist_ok=True)
        pillow.fromarray(mask * 90).save(tmp_path / layout[0] / f"{number}.png")
        picture = pillow.fromarray(mask, "P")
        picture.putpalette(palette)
        picture.save(tmp_path / layout[1] / f"{number}.png")
    data = find_data(tmp_path, DataOptions())
    assert data.labels is not None
    assert data.labels.structures == {"cat": 1, "dog": 2}
    notes = "\n".join(data.problems)
    assert "labelmap.txt also names cow" in notes
    label, _ = load_case_label(data.cases[0], load_case_image(data.cases[0], None), data.reading)
    assert np.unique(label.array).tolist() == [0, 1, 2]
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncat:250,50,83::\n")
    with pytest.raises(DataError, match=r"#24b353, which labelmap\.txt does not name"):
        find_data(tmp_path, DataOptions())


def test_structures_are_named_several_at_once_and_a_name_may_hold_a_comma():
    for texts in (["Straße 1=0,car=2", "a, b=3"], ["Straße 1=0", "car=2", "a, b=3"]):
        assert parse_structures(texts).structures == {"Straße 1": 0, "car": 2, "a, b": 3}
    for text in ("sky=0,", "sky=0,road", "sky=0,road=x", "sky=0,sky=1"):
        with pytest.raises(PlanError, match="NAME=VALUE"):
            parse_structures([text])


def test_values_that_nothing_names_are_told_with_what_they_are_taken_for(pictures):
    folder = pictures(a=[[0, 1], [2, 11]], b=[[0, 1], [2, 11]])
    data = find_data(folder, DataOptions())
    (note,) = notes_on_values(data, labels_of(data, [0, 1, 2, 11], DataOptions()), [0, 1, 2, 11])
    assert note.startswith("nothing names the values 1, 2, 11: each is taken for a structure, and 0 for the background")
    assert notes_on_values(data, labels_of(data, [0, 255], DataOptions()), [0, 255]) == []
    named = find_data(folder, DataOptions(structures=["sky=0,road=1,car=2"], ignore=11))
    assert notes_on_values(named, labels_of(named, [0, 1, 2, 11], DataOptions()), [0, 1, 2, 11]) == []


def test_a_background_that_no_label_file_holds_is_told(pictures):
    folder = pictures(a=[[1, 2], [3, 4]], b=[[1, 2], [3, 4]])
    for options, expected in ((DataOptions(), 2), (DataOptions(structures=["a=1,b=2,c=3,d=4"]), 1)):
        data = find_data(folder, options)
        notes = notes_on_values(data, labels_of(data, [1, 2, 3, 4], options), [1, 2, 3, 4])
        assert len(notes) == expected
        assert "no label file holds 0, the background" in notes[-1]
        assert "--map 1=0" in notes[-1]
    full = find_data(folder, DataOptions(no_background=True))
    assert len(notes_on_values(full, labels_of(full, [1, 2, 3, 4], DataOptions()), [1, 2, 3, 4])) == 1


def test_void_in_a_table_of_colours_is_ignored_and_told(pictures):
    folder = pictures(a=[[RED, GREEN], [BLACK, BLACK]])
    (folder / "class_dict.csv").write_text("name,r,g,b\nRoad,255,0,0\nSky,0,255,0\nVoid,0,0,0\n")
    data = find_data(folder, DataOptions())
    assert (data.labels.structures, data.labels.ignore) == ({"Road": 1, "Sky": 2}, 255)
    assert data.reading.colours == {"#000000": 255, "#ff0000": 1, "#00ff00": 2}
    assert "Void (#000000) is taken for what has no loss and no score" in data.problems
    (folder / "class_dict.csv").write_text("name,r,g,b\nBackground,0,0,0\nRoad,255,0,0\nSky,0,255,0\n")
    assert find_data(folder, DataOptions()).labels.structures == {"Road": 1, "Sky": 2}


def in_dataset_json(folder, first, second):
    declared = {"channel_names": {"0": "CT"}, "labels": {"background": 0, first: 1, second: 2}, "dataset": {}}
    cases = {"a": {"images": ["images/a.nii.gz"], "label": "labels/a.nii.gz"}}
    (folder / "dataset.json").write_text(json.dumps(declared | {"dataset": cases}))
    return DataOptions()


def in_decathlon_json(folder, first, second):
    declared = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": first, "2": second}}
    cases = [{"image": "images/a.nii.gz", "label": "labels/a.nii.gz"}]
    (folder / "dataset.json").write_text(json.dumps(declared | {"training": cases}))
    return DataOptions()


def in_options(folder, first, second):
    return DataOptions(structures=(f"{first}=1", f"{second}=2"))


@pytest.mark.parametrize("declare", [in_dataset_json, in_decathlon_json, in_options])
def test_structures_whose_names_differ_in_capitals_alone_are_refused_where_they_are_declared(volumes, declare):
    folder = volumes(a=block(1, 2))
    with pytest.raises(DataError, match="the structures 'Liver' and 'liver' differ in capitals or spaces alone"):
        find_data(folder, declare(folder, "Liver", "liver"))
    assert find_data(folder, declare(folder, "Liver", "lever")).labels.structures == {"Liver": 1, "lever": 2}
    assert Labels(structures={"Liver": 1, "liver": 2}).names == ("Liver", "liver")  # models that have them still load


def test_a_list_of_classes_with_one_name_in_two_spellings_is_refused():
    assert number_names(["_background_", "liver", "spleen"], "labels.txt") == {"liver": 1, "spleen": 2}
    with pytest.raises(DataError, match=r"labels.txt: the structures 'liver' and 'Liver' differ"):
        number_names(["_background_", "liver", "Liver"], "labels.txt")
