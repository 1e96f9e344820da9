"""nnU-Net's plans to ours and back."""

import json

import pytest
from builders import GOLDENS, NNUNET

from medseg.errors import ModelError
from medseg.models.nnunet import plan_from_nnunet, plan_to_nnunet
from medseg.plan_file import dump_plan, load_plan
from medseg.planning.planner import plan_from_fingerprint

needs_goldens = pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"no goldens in {GOLDENS}; set MEDSEG_TEST_GOLDENS")
MODELS = ["plain3d", "plain3d_small_patch", "resenc3d", "aniso3d", "plain2d", "regions3d"]


def _read(folder, name):
    return json.loads((folder / name).read_text())


@needs_goldens
@pytest.mark.parametrize("model", MODELS)
def test_golden_plans_survive_the_way_there_and_back_through_a_file(tmp_path, model):
    folder = NNUNET / model / "model"
    plans, dataset = _read(folder, "plans.json"), _read(folder, "dataset.json")
    path = tmp_path / "plan.yaml"
    path.write_text(dump_plan(plan_from_nnunet(plans, dataset)))
    assert plan_to_nnunet(load_plan(path)) == plans


@needs_goldens
def test_regions_keep_their_values_and_order():
    folder = NNUNET / "regions3d" / "model"
    labels = plan_from_nnunet(_read(folder, "plans.json"), _read(folder, "dataset.json")).labels
    assert labels.activation == "sigmoid"
    assert labels.structures == {"whole": [1, 2], "anterior": 1}
    assert labels.written_values == {"whole": 2, "anterior": 1}


@needs_goldens
def test_an_edited_plan_is_exported_as_edited():
    folder = NNUNET / "plain3d" / "model"
    plan = plan_from_nnunet(_read(folder, "plans.json"), _read(folder, "dataset.json"))
    plan.configurations["3d_fullres"]["batch_size"] = 5
    assert plan_to_nnunet(plan)["configurations"]["3d_fullres"]["batch_size"] == 5


@needs_goldens
def test_an_unknown_network_is_named():
    folder = NNUNET / "plain3d" / "model"
    plans = _read(folder, "plans.json")
    plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "somewhere.Primus"
    with pytest.raises(ModelError, match=r"somewhere\.Primus"):
        plan_from_nnunet(plans, _read(folder, "dataset.json"))


def test_a_plan_of_our_own_has_what_nnunet_needs():
    facts = {
        "spacings": [[2.5, 0.8, 0.8]] * 3,
        "shapes_after_crop": [[200, 500, 500]] * 3,
        "cases": 100,
        "structures": 2,
        "channels": ["CT"],
    }
    plans = plan_to_nnunet(plan_from_fingerprint(facts))
    assert list(plans["configurations"]) == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    assert plans["configurations"]["3d_cascade_fullres"] == {
        "inherits_from": "3d_fullres",
        "previous_stage": "3d_lowres",
    }
    fullres = plans["configurations"]["3d_fullres"]
    assert fullres["normalization_schemes"] == ["CTNormalization"]
    assert fullres["architecture"]["arch_kwargs"]["conv_op"] == "torch.nn.modules.conv.Conv3d"
    assert plans["image_reader_writer"] == "SimpleITKIO"
