"""nnU-Net's plans to ours and back."""

import json

import pytest
from builders import GOLDENS, NNUNET, make_plan

from medseg.errors import DataError, ModelError
from medseg.labels import Labels
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


@needs_goldens
@pytest.mark.parametrize(
    ("where", "key", "message"),
    [
        ((), "configurations", "The nnU-Net plan has no key 'configurations'"),
        ((), "dataset_name", "The nnU-Net plan has no key 'dataset_name'"),
        (("configurations", "3d_fullres"), "use_mask_for_norm", "3d_fullres of the nnU-Net plan has no key 'use_mask"),
        (("configurations", "3d_fullres", "resampling_fn_seg_kwargs"), "order_z", "has no key 'order_z'"),
        (("configurations", "3d_fullres", "architecture", "arch_kwargs"), "conv_bias", "has no key 'conv_bias'"),
    ],
)
def test_what_is_missing_in_a_plan_is_named(where, key, message):
    folder = NNUNET / "plain3d" / "model"
    plans = _read(folder, "plans.json")
    part = plans
    for name in where:
        part = part[name]
    del part[key]
    with pytest.raises(ModelError, match=message):
        plan_from_nnunet(plans, _read(folder, "dataset.json"))


@needs_goldens
def test_labels_are_read_as_those_of_a_data_set():
    folder = NNUNET / "plain3d" / "model"
    plans, dataset = _read(folder, "plans.json"), _read(folder, "dataset.json")
    dataset["labels"] = {"background": 0, "organ": [3], "ignore": 4}
    assert plan_from_nnunet(plans, dataset).labels == Labels(structures={"organ": 3}, ignore=4)
    dataset["labels"] = {"background": 0, "organ": 1, "other": 1}
    with pytest.raises(DataError, match=r"the nnU-Net dataset\.json: labels is not valid: .* share one value"):
        plan_from_nnunet(plans, dataset)


@needs_goldens
def test_pictures_have_no_known_spacing():
    folder = NNUNET / "plain2d" / "model"
    plans, dataset = _read(folder, "plans.json"), _read(folder, "dataset.json")
    assert plan_from_nnunet(plans, dataset).data.spacing_known
    plans["image_reader_writer"] = "NaturalImage2DIO"
    plan = plan_from_nnunet(plans, dataset)
    assert not plan.data.spacing_known
    assert plan_to_nnunet(plan) == plans


def test_a_network_that_nnunet_does_not_have_is_named():
    plan = make_plan(3, {"network": {"name": "monai.SwinUNETR", "arguments": {"feature_size": 12}}})
    with pytest.raises(ModelError, match=r"The network 'monai\.SwinUNETR' has no counterpart in nnU-Net; known are"):
        plan_to_nnunet(plan)


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
