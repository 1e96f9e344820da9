"""Which codes a name stands for: what the table says, sides, and nothing guessed."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from importlib import resources

import pytest
import torch
from builders import make_plan

from medseg.core.errors import PlanError
from medseg.delivery.dicom.codes import codes_of, look_up, nearest, read_codes
from medseg.models.identity import identity
from medseg.models.open import load_model
from medseg.models.package.write import save_package
from medseg.plans.file import dump_plan, parse_plan
from medseg.plans.terminology import Coding

ROWS = list(csv.DictReader(resources.files("medseg.delivery.dicom").joinpath("codes.csv").read_text().splitlines()))


@pytest.mark.parametrize(
    ("name", "kind", "modifiers"),
    [
        ("liver", "Liver", []),
        ("Kidney_left", "Kidney", ["Left"]),
        ("left kidney", "Kidney", ["Left"]),
        ("Kidney-R", "Kidney", ["Right"]),
        ("kidneyRight", "Kidney", ["Right"]),
        ("kidney", "Kidney", []),
        ("leftVentricle", "Left ventricle", []),
        ("heart_ventricle_left", "Left ventricle", []),
        ("Right-Lateral-Ventricle", "Lateral ventricle", ["Right"]),
        ("anterior_hippocampus_left", "Hippocampus", ["Anterior", "Left"]),
        ("rib_right_4", "Fourth rib", ["Right"]),
        ("vertebrae_T3", "T3 vertebra", []),
        ("lung_middle_lobe_right", "Middle lobe of right lung", []),
        ("Oedema", "Edema", []),
    ],
)
def test_a_known_name_has_its_codes(name, kind, modifiers):
    coding = look_up(name)
    assert coding.type.split(maxsplit=2)[2] == kind
    assert [text.split(maxsplit=2)[2] for text in coding.modifiers] == modifiers


def test_the_side_of_a_lesion_goes_with_the_organ_that_it_lies_in():
    coding = look_up("kidney_tumour_left")
    assert (coding.type, coding.modifiers) == ("SCT 108369006 Neoplasm", ())
    assert (coding.region, coding.region_modifiers) == ("SCT 64033007 Kidney", ("SCT 7771000 Left",))


@pytest.mark.parametrize(
    "name", ["Anterior", "left_liver", "left right kidney", "kidney 2", "ventricles", "nucleus", "label_1", ""]
)
def test_what_is_not_in_the_table_is_not_guessed(name):
    assert look_up(name) is None


def test_left_and_right_are_distinct_in_every_pair():
    paired = [row["names"].split("|")[0] for row in ROWS if row["sides"]]
    assert len(paired) > 50
    for name in paired:
        assert len({look_up(name), look_up(f"{name} left"), look_up(f"right {name}")}) == 3, name


def test_no_name_stands_twice_and_every_row_has_a_source():
    names = [name for row in ROWS for name in row["names"].split("|")]
    assert len({*names}) == len(names) > 350
    assert all(re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", name) for name in names)
    assert all(row["source"] for row in ROWS)


def test_codes_of_the_standard_are_those_that_pydicom_ships():
    """pydicom's dictionary is made from PS3.16 by its authors: another hand than the one that made the table."""
    concepts = pytest.importorskip("pydicom.sr._concepts_dict", reason="the extra 'dicom' is not installed").concepts
    known: dict[tuple[str, str], set[str]] = {}
    for scheme, keywords in concepts.items():
        for values in keywords.values():
            for value, (meaning, _) in values.items():
                known.setdefault((scheme, value), set()).add(meaning.lower())
    for row in ROWS:
        if "PS3.16" in row["source"] and " and " not in row["source"]:
            for text in (row["category"], row["type"], *row["modifiers"].split("|"), row["region"]):
                if text:
                    scheme, value, meaning = text.split(maxsplit=2)
                    assert meaning.lower() in known[scheme, value], text


@pytest.mark.real
def test_codes_are_those_of_dcmqi(data_dir):
    """A second source for most types: the contexts that dcmqi and 3D Slicer use."""
    path = data_dir / "dicom_seg" / "segContexts" / "SegmentationCategoryTypeModifier-DICOM-Master.json"
    categories = json.loads(path.read_text())["SegmentationCodes"]["Category"]
    known = {one["CodeValue"]: one["CodeMeaning"].lower() for group in categories for one in group["Type"]}
    shared = [row["type"].split(maxsplit=2)[1:] for row in ROWS if row["type"].split()[1] in known]
    assert len(shared) > 130
    assert [(value, meaning) for value, meaning in shared if meaning.lower() != known[value]] == []


def test_codes_given_now_go_before_the_plans_and_these_before_the_table():
    own = Coding(category="SCT 85756007 Tissue", type="99LAB 1 Something")
    other = own.model_copy(update={"type": "99LAB 2 Other"})
    assert codes_of(["liver"], {"liver": other}, {"liver": own})["liver"] == own
    assert codes_of(["liver"], {"liver": other}, {})["liver"] == other
    assert codes_of(["liver"], {}, {})["liver"] == look_up("liver")


def test_codes_that_are_given_twice_are_refused(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("structure,as\none,liver\none,spleen\n")
    for source in (str(path), "one=liver,one=spleen"):
        with pytest.raises(PlanError, match="'one' twice"):
            read_codes(source)


def test_an_uncoded_structure_is_asked_for_by_name():
    with pytest.raises(PlanError, match=r"No DICOM codes are known for Anterior, label_7") as caught:
        codes_of(["liver", "Anterior", "label_7"], {}, {})
    assert "--codes 'Anterior=hippocampus anterior'" in caught.value.hint
    codings = codes_of(["liver", "Anterior"], {}, {}, generic=True)
    assert (codings["liver"].type, codings["Anterior"].type) == ("SCT 10200004 Liver", "SCT 85756007 Tissue")


def test_codes_for_what_is_no_structure_are_refused():
    with pytest.raises(PlanError, match="'spleen'; the structures are liver"):
        codes_of(["liver"], {}, read_codes("spleen=liver"))


def test_codes_from_names_of_the_table():
    codings = read_codes("Anterior=left anterior hippocampus, GTV-1=gtv")
    assert codings == {"Anterior": look_up("left anterior hippocampus"), "GTV-1": look_up("gtv")}


def test_codes_from_a_csv(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text(
        "structure,as,category,type,modifiers,region,colour\n"
        "Anterior,anterior hippocampus,,,,,\n"
        "blob,,SCT 49755003 Morphologically Abnormal Structure,99LAB 7 A blob,SCT 7771000 Left|99LAB 8 Red,"
        "SCT 12738006 Brain,#ff0000\n"
    )
    codings = read_codes(str(path))
    assert codings["Anterior"] == look_up("anterior hippocampus")
    assert codings["blob"].modifiers == ("SCT 7771000 Left", "99LAB 8 Red")
    assert (codings["blob"].region, codings["blob"].colour) == ("SCT 12738006 Brain", "#ff0000")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("structure,type\nblob,liver\n", "blob: category: .*SCHEME VALUE MEANING"),
        ("structure,code\nblob,1\n", "has the columns structure, code; valid are"),
        ("structure,as\nblob,livre\n", "line 2: 'livre' is not in the table"),
        ("structure,as\n,liver\n", "no structure is named"),
    ],
)
def test_a_csv_that_says_something_else_is_refused(tmp_path, text, what):
    path = tmp_path / "codes.csv"
    path.write_text(text)
    with pytest.raises(PlanError, match=what):
        read_codes(str(path))


def test_neither_a_file_nor_pairs():
    with pytest.raises(PlanError, match="neither a file nor pairs"):
        read_codes("no_such_file.csv")


def test_names_alike_are_proposed():
    assert "liver" in nearest("livre")
    assert nearest("Anterior")[0] == "hippocampus anterior"


def test_a_plan_carries_codes_and_refuses_those_of_strangers():
    codes = {"one": look_up("anterior hippocampus left").model_dump(mode="json")}
    plan = parse_plan(dump_plan(make_plan(codes=codes)), "again")
    assert codes_of(["one"], plan.codes, {})["one"] == look_up("left anterior hippocampus")
    with pytest.raises(PlanError, match=r"codes names 'three'; structures are one, two"):
        make_plan(codes={"three": codes["one"]})
    with pytest.raises(PlanError, match=r"codes\.one\.type: .*SCHEME VALUE MEANING"):
        make_plan(codes={"one": {**codes["one"], "type": "liver"}})


def test_codes_survive_a_package_and_say_nothing_of_what_a_model_computes(tmp_path, small_model):
    """So that a model whose codes are mended is the same model."""
    model = load_model(small_model, torch.device("cpu"))
    coded = replace(model, plan=model.plan.model_copy(update={"codes": {"one": look_up("liver")}}))
    assert identity(coded) == identity(model)
    save_package(coded, tmp_path / "model.medseg", "# card\n")
    assert load_model(tmp_path / "model.medseg", torch.device("cpu")).plan.codes == {"one": look_up("liver")}
