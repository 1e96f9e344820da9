"""nnU-Net's plans to ours and back."""

import json

import nnunet_folders as folders
import pytest
from builders import GOLDENS, NNUNET, make_plan

from medseg.core.errors import DataError, ModelError
from medseg.core.labels import Labels
from medseg.models.nnunet.plans import plan_from_nnunet, plan_to_nnunet
from medseg.planning.planner import plan_from_fingerprint
from medseg.plans.file import dump_plan, load_plan

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
        (("configurations", "3d_fullres"), "resampling_fn_seg_kwargs", "has no key 'resampling_fn_seg_kwargs'"),
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


def test_pictures_stay_pictures_whatever_their_configurations_are_called():
    flat = {"2d": folders.configuration(2), "2d_wide": {"inherits_from": "2d", "batch_size": 3}}
    of_pictures = folders.plans(flat, original_median_shape_after_transp=[1, 64, 64])
    assert plan_from_nnunet(of_pictures, folders.dataset()).data.dimensions == 2
    assert plan_from_nnunet(of_pictures, folders.dataset(), "2d_wide").data.dimensions == 2
    slices = folders.plans(flat, original_median_shape_after_transp=[20, 64, 64])
    assert plan_from_nnunet(slices, folders.dataset()).data.dimensions == 3


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
    assert plans["image_reader_writer"] == "NibabelIOWithReorient"


# --- plans of other releases, and what nnU-Net can say beside what its planners do ---

OLD_NETWORK = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 8,
    "unet_max_num_features": 20,
    "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "num_pool_per_axis": [1, 2, 2],
    "n_conv_per_stage_encoder": [2, 2, 1],
    "n_conv_per_stage_decoder": [2, 1],
}


def old_configuration(**others):
    values = folders.configuration(**{**OLD_NETWORK, **others})
    del values["architecture"]
    return values


def test_plans_before_the_block_architecture_are_read():
    plan = plan_from_nnunet(folders.plans({"3d_fullres": old_configuration()}), folders.dataset())
    network = plan.configuration("3d_fullres").network
    assert (network.name, network.features, network.bias) == ("plain_unet", [8, 16, 20], True)
    assert (network.kernels, network.strides) == (OLD_NETWORK["conv_kernel_sizes"], OLD_NETWORK["pool_op_kernel_sizes"])
    assert (network.blocks, network.decoder_convolutions) == ([2, 2, 1], [2, 1])
    theirs = plan_to_nnunet(plan)["configurations"]["3d_fullres"]["architecture"]
    assert theirs["network_class_name"] == "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    assert theirs["arch_kwargs"]["features_per_stage"] == [8, 16, 20]


def test_an_old_residual_network():
    values = old_configuration(UNet_class_name="ResidualEncoderUNet")
    plan = plan_from_nnunet(folders.plans({"3d_fullres": values}), folders.dataset())
    assert plan.configuration("3d_fullres").network.name == "residual_unet"


def test_an_old_configuration_that_inherits_all_but_one_of_its_networks_keys():
    wider = {"inherits_from": "3d_fullres", "UNet_base_num_features": 16}
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_wide"}
    configurations = {"3d_fullres": old_configuration(), "3d_wide": wider, "3d_cascade_fullres": cascade}
    plan = plan_from_nnunet(folders.plans(configurations), folders.dataset())
    assert plan.configuration("3d_wide").network.features == [16, 20, 20]
    assert plan.configuration("3d_cascade_fullres").network.features == [8, 16, 20]
    assert plan.configuration("3d_cascade_fullres").previous_stage == "3d_wide"


@pytest.mark.parametrize("missing", [key for key in OLD_NETWORK if key != "num_pool_per_axis"])
def test_a_key_of_an_old_network_that_is_missing_is_named(missing):
    values = old_configuration()
    del values[missing]
    with pytest.raises(ModelError, match=rf"The configuration 3d_fullres of the nnU-Net plan has no key '{missing}'"):
        plan_from_nnunet(folders.plans({"3d_fullres": values}), folders.dataset())


def test_another_old_network_is_named():
    values = old_configuration(UNet_class_name="FunnyUNet")
    with pytest.raises(
        ModelError, match=r"the network '\S*FunnyUNet' has no counterpart in medseg; known are PlainConv"
    ):
        plan_from_nnunet(folders.plans({"3d_fullres": values}), folders.dataset())


def test_intensities_under_their_first_name():
    plans = folders.plans()
    plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
    assert plan_from_nnunet(plans, folders.dataset()).data.intensities[0].std == 2.0


@pytest.mark.parametrize(
    ("reader", "orientation", "rule"),
    [
        ("SimpleITKIO", "stored", "files"),
        ("NibabelIO", "stored", "nnunet"),
        ("Tiff3DIO", "stored", "nnunet"),
        ("NaturalImage2DIO", "stored", "one"),
        ("NibabelIOWithReorient", "canonical", "nnunet"),
        ("SimpleITKIOWithReorient", "canonical", "files"),
    ],
)
def test_axis_order_and_spacing_are_those_of_the_reader(reader, orientation, rule):
    plans = folders.plans(image_reader_writer=reader)
    plan = plan_from_nnunet(plans, folders.dataset())
    assert (plan.orientation, plan.data.spacing_rule) == (orientation, rule)
    assert plan_to_nnunet(plan)["image_reader_writer"] == reader


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_reader_writer": "MyIO"},
            r"image_reader_writer 'MyIO' is not one of nnU-Net's own: SimpleITKIO, Nibabel",
        ),
        ({"label_manager": "MyLabels"}, r"label_manager 'MyLabels' is not nnU-Net's own LabelManager"),
        ({"configurations": {"2d": folders.configuration(2, preprocessor_name="Mine")}}, r"the preprocessor 'Mine'"),
        ({"configurations": {"2d": 3}}, r"The configuration 2d of the nnU-Net plan is not valid"),
        ({"configurations": {"a": {"inherits_from": "b"}}}, r"'b', which the nnU-Net plan does not have"),
        ({"configurations": {"a": {"inherits_from": "a"}}}, r"inherits in a circle"),
    ],
)
def test_what_is_not_nnunets_own_is_named(change, message):
    with pytest.raises(ModelError, match=message):
        plan_from_nnunet(folders.plans(**change), folders.dataset())


@pytest.mark.parametrize("configurations", [[], {}, 3, None])
def test_a_plan_without_configurations_is_refused(configurations):
    with pytest.raises(ModelError, match=r"The nnU-Net plan's configurations are "):
        plan_from_nnunet(folders.plans() | {"configurations": configurations}, folders.dataset())


def resampling(role, function, **how):
    return {f"resampling_fn_{role}": function, f"resampling_fn_{role}_kwargs": {"is_seg": role == "seg", **how}}


def test_resampling_by_torch_is_linear():
    values = folders.configuration(
        **resampling("data", "resample_torch_fornnunet", force_separate_z=False, memefficient_seg_resampling=False),
        **resampling("seg", "resample_torch_fornnunet"),
        **resampling("probabilities", "resample_torch_fornnunet", aniso_axis_mode="linear"),
    )
    plans = folders.plans({"3d_fullres": values})
    plan = plan_from_nnunet(plans, folders.dataset())
    own = plan.configuration("3d_fullres")
    assert own.resample_image.model_dump() == {"order": 1, "order_across": 0, "separate_axis": False}
    assert own.resample_label.model_dump() == {"order": 1, "order_across": 0, "separate_axis": None}
    assert own.resample_logits.model_dump() == {"order": 1, "order_across": 1, "separate_axis": None}
    assert plan_to_nnunet(plan) == plans


def test_what_resampling_does_not_say_is_nnunets_default():
    values = folders.configuration(**resampling("data", "resample_data_or_seg_to_shape"))
    plan = plan_from_nnunet(folders.plans({"3d_fullres": values}), folders.dataset())
    assert plan.configuration("3d_fullres").resample_image.model_dump() == {
        "order": 3,
        "order_across": 0,
        "separate_axis": False,
    }


@pytest.mark.parametrize(
    "how",
    [
        resampling("data", "no_resampling_data_or_seg_to_shape"),
        resampling("data", "resample_torch_fornnunet", mode="nearest"),
        resampling("data", "resample_torch_fornnunet", aniso_axis_mode="nearest"),
        resampling("data", "resample_data_or_seg_to_shape", separate_z_anisotropy_threshold=5),
        resampling("data", "resample_data_or_seg_to_shape") | {"resampling_fn_data_kwargs": {"is_seg": True}},
    ],
)
def test_other_resampling_is_refused(how):
    with pytest.raises(ModelError, match=r"Configuration 3d_fullres: .*resampl"):
        plan_from_nnunet(folders.plans({"3d_fullres": folders.configuration(**how)}), folders.dataset())


def test_every_normalization():
    names = ["CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"]
    schemes = [*names, "NoNormalization", "ZScoreNormalization"]
    masks = [False, True, True, False, False, False]  # a mask has a meaning only for z-scores
    values = folders.configuration(normalization_schemes=schemes, use_mask_for_norm=masks)
    data = folders.dataset(channel_names={str(number): f"c{number}" for number in range(6)})
    intensities = {str(number): folders.ONE_CHANNEL for number in range(6)}
    plans = folders.plans({"3d_fullres": values}, foreground_intensity_properties_per_channel=intensities)
    own = plan_from_nnunet(plans, data).configuration("3d_fullres").normalization
    assert [(how.scheme, how.nonzero_only) for how in own] == [
        ("ct", False),
        ("zscore", True),
        ("rescale_0_1", False),
        ("rgb_0_1", False),
        ("none", False),
        ("zscore", False),
    ]
    values["normalization_schemes"] = ["MyNormalization", *schemes[1:]]
    with pytest.raises(ModelError, match=r"the normalization 'MyNormalization' has no counterpart"):
        plan_from_nnunet(plans, data)


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        ({"features_per_stage": 8}, {"features": [8, 8, 8]}),
        ({"kernel_sizes": 3, "strides": [1, 2, [2, 1, 2]]}, {"strides": [[1, 1, 1], [2, 2, 2], [2, 1, 2]]}),
        ({"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 1}, {"blocks": [2, 2, 2], "decoder_convolutions": [1, 1]}),
        ({"nonlin": "torch.nn.modules.activation.LeakyReLU", "nonlin_kwargs": {"negative_slope": 0.01}}, {}),
        ({"deep_supervision": True, "nonlin_first": False, "dropout_op_kwargs": {}}, {}),
    ],
)
def test_other_ways_to_say_what_a_network_is(arguments, ours):
    values = folders.configuration(architecture=folders.architecture(**arguments))
    plan = plan_from_nnunet(folders.plans({"3d_fullres": values}), folders.dataset())
    network = plan.configuration("3d_fullres").network.model_dump()
    assert {key: network[key] for key in ours} == ours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}, "norm_op: 'torch.nn.modules.batchnorm.BatchNorm3d'"),
        ({"norm_op_kwargs": {"eps": 0.1, "affine": True}}, "norm_op_kwargs"),
        ({"nonlin": "torch.nn.ReLU"}, "nonlin: 'torch.nn.ReLU'"),
        ({"nonlin_kwargs": {"negative_slope": 0.2}}, "nonlin_kwargs"),
        ({"dropout_op": "torch.nn.modules.dropout.Dropout3d"}, "dropout_op"),
        ({"nonlin_first": True}, "nonlin_first: True"),
        ({"squeeze_excitation": True}, "squeeze_excitation: True"),
    ],
)
def test_a_network_that_medseg_does_not_have_is_refused_by_what_is_different(arguments, message):
    values = folders.configuration(architecture=folders.architecture(**arguments))
    with pytest.raises(ModelError, match=rf"Configuration 3d_fullres: the network has {message}"):
        plan_from_nnunet(folders.plans({"3d_fullres": values}), folders.dataset())


def test_what_half_of_a_pair_says_is_taken_with_the_half_that_is_inherited():
    """nnU-Net fills in what is inherited, key by key, before it reads a configuration."""
    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    child = {"inherits_from": "3d_fullres", "use_mask_for_norm": [True], "resampling_fn_data_kwargs": linear}
    plan = plan_from_nnunet(folders.plans({"3d_fullres": folders.configuration(), "3d_x": child}), folders.dataset())
    parent, changed = plan.configuration("3d_fullres"), plan.configuration("3d_x")
    assert [one.normalization[0].nonzero_only for one in (parent, changed)] == [False, True]
    assert [one.resample_image.order for one in (parent, changed)] == [3, 1]
    assert changed.resample_label == parent.resample_label


def test_only_what_one_configuration_needs():
    configurations = {
        "2d": folders.configuration(2),
        "3d_lowres": folders.configuration(),
        "3d_fullres": folders.configuration(),
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
    plan = plan_from_nnunet(folders.plans(configurations), folders.dataset(), only="3d_cascade_fullres")
    assert list(plan.configurations) == ["3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    assert plan.default_configuration == "3d_cascade_fullres"
    with pytest.raises(ModelError, match=r"no configuration '3d_xl'; it has 2d, 3d_lowres"):
        plan_from_nnunet(folders.plans(configurations), folders.dataset(), only="3d_xl")


def test_a_way_back_that_does_not_undo_the_way_there_is_refused():
    right = folders.plans(transpose_forward=[2, 0, 1], transpose_backward=[1, 2, 0])
    assert plan_from_nnunet(right, folders.dataset()).transpose_forward == [2, 0, 1]
    wrong = folders.plans(transpose_forward=[2, 0, 1], transpose_backward=[2, 0, 1])
    with pytest.raises(ModelError, match=r"transpose_backward \[2, 0, 1\] does not undo its transpose_forward"):
        plan_from_nnunet(wrong, folders.dataset())
