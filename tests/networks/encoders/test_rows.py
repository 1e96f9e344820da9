"""Networks of segmentation-models-pytorch: what they answer, what a plan may say, and mistakes in words."""

from typing import Any

import pytest
import torch
from builders import make_configuration
from encoder_library import require_encoders
from tiny_networks import tiny

from medseg.core.errors import PlanError
from medseg.networks.encoders.rows import ENCODER_ROWS
from medseg.networks.table import build_network, find_network
from medseg.networks.trial import check_answers
from medseg.plans.network_rules import ENCODER_CLASSES, encoder_problem


def read(patch: int = 64, batch_size: int = 2, **network: Any) -> Any:
    return make_configuration(2, patch_voxels=[patch] * 2, batch_size=batch_size, network=network)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODER_ROWS)
def test_every_row_answers_in_parts_that_can_be_frozen(name: str) -> None:
    configuration = tiny(name, 2)
    network = build_network(configuration, 2, 3)
    (answer,) = network(torch.rand(2, 2, *configuration.patch_voxels), 3)
    assert answer.shape == (2, 3, *configuration.patch_voxels)
    answer.sum().backward()
    parts = {name.split(".")[0] for name, value in network.named_parameters() if value.grad is not None}
    assert parts == {"encoder", "decoder", "heads"}


@pytest.mark.slow
def test_an_answer_has_the_size_of_the_image_at_any_depth() -> None:
    require_encoders()
    for name in sorted({*ENCODER_ROWS} - {"smp_unetplusplus", "manet"}):
        for depth in (4, 5):
            channels = {"decoder_channels": [16] * depth} if name == "smp_unet" else {}
            arguments, size = {"encoder_depth": depth, **channels}, 128 if name == "pan" else 64
            network = build_network(read(size, name=name, arguments=arguments), 1, 2).eval()
            assert network(torch.rand(2, 1, size, size))[0].shape == (2, 2, size, size), (name, depth)


def test_rows_are_classes_of_the_library() -> None:
    require_encoders()
    import segmentation_models_pytorch as library

    assert set(ENCODER_CLASSES.values()) == set(ENCODER_ROWS)
    assert all(hasattr(library, name) for name in ENCODER_CLASSES)
    for class_name, name in ENCODER_CLASSES.items():
        assert read(128, name=class_name).network.name == name


@pytest.mark.parametrize(
    ("patch", "batch_size", "network", "told"),
    [
        (72, 2, {"name": "smp_unet"}, r"smp_unet needs multiples of \[32, 32\]; the nearest valid patch is \[64, 64\]"),
        (72, 2, {"name": "smp_unet", "arguments": {"encoder_depth": 4}}, r"multiples of \[16, 16\].* \[64, 64\]"),
        (36, 2, {"name": "PSPNet"}, r"pspnet needs multiples of \[8, 8\]; the nearest valid patch is \[32, 32\]"),
        (40, 2, {"name": "deeplabv3plus"}, r"multiples of \[16, 16\]"),
        (64, 2, {"name": "PAN"}, r"pan needs multiples of \[16, 16\] and at least \[128, 128\]; .* \[128, 128\]"),
        (72, 2, {"name": "Segformer"}, r"segformer needs multiples of \[32, 32\]; the nearest valid patch is"),
        (32, 1, {"name": "fpn"}, r"the nearest valid patch is \[32, 64\]"),
        (64, 1, {"name": "deeplabv3"}, "batch_size is 1; deeplabv3 normalizes .* needs 2 or more"),
        (64, 1, {"name": "upernet"}, "batch_size is 1; upernet normalizes .* needs 2 or more"),
        (64, 2, {"name": "unet", "encoder": "resnet18"}, "network.encoder is 'resnet18', and unet has no encoder by"),
        (64, 2, {"name": "unet", "weights": "file.pth"}, "network.weights is 'file.pth', and unet has no encoder by"),
    ],
)
def test_a_plan_is_checked_when_it_is_read(patch: int, batch_size: int, network: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read(patch, batch_size, **network)


def test_keys_that_say_nothing_stay_out_of_the_plan() -> None:
    assert "encoder" not in read(name="fpn").network.model_dump()
    named = read(name="fpn", encoder="resnet18", weights="resnet18.pth").network.model_dump()
    assert (named["encoder"], named["weights"]) == ("resnet18", "resnet18.pth")


def test_mistakes_are_named() -> None:
    require_encoders()
    with pytest.raises(PlanError, match=r"no encoder 'mobilenetv2'; similar ones are mobilenet_v2"):
        build_network(read(name="smp_unet", encoder="mobilenetv2"), 1, 2)
    with pytest.raises(PlanError, match=r"'decoder_chanels'; did you mean 'decoder_channels'"):
        find_network(read(name="smp_unet", arguments={"decoder_chanels": [8, 8, 8, 8, 8]}))
    with pytest.raises(PlanError, match=r"has no argument 'encoder_weights'"):
        find_network(read(name="smp_unet", arguments={"encoder_weights": "imagenet"}))
    with pytest.raises(PlanError, match=r"do not fit smp_unet: .*decoder_channels"):
        build_network(read(name="smp_unet", arguments={"decoder_channels": [8, 8]}), 1, 2)
    with pytest.raises(PlanError, match="takes 2D images, and the configuration is 3D"):
        find_network(make_configuration(3, patch_voxels=[32] * 3, batch_size=2, network={"name": "fpn"}))


def test_the_encoder_of_mobilenet_v2_has_the_published_parameters() -> None:
    """torchvision says 3,504,872 (its page of mobilenet_v2), of which the classifier of ImageNet is 1,281,000."""
    require_encoders()
    with torch.device("meta"):
        network: Any = build_network(read(name="smp_unet", encoder="mobilenet_v2"), 3, 1)
    assert sum(value.numel() for value in network.encoder.parameters()) == 3_504_872 - 1_281_000


def test_statistics_of_efficientnet_follow_its_weights_within_tens_of_steps() -> None:
    """The library has 0.01 for it, where 0.1 is torch's default."""
    require_encoders()
    network: Any = build_network(read(name="smp_unet", encoder="efficientnet-b0"), 1, 2)
    assert {module.momentum for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize("name", ["smp_unetplusplus", "linknet"])
def test_an_encoder_that_the_decoder_does_not_take_is_named(name: str) -> None:
    require_encoders()
    with pytest.raises(PlanError, match=rf"This plan does not fit {name} with the encoder mit_b0: "):
        build_network(read(name=name, encoder="mit_b0"), 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODER_ROWS)
def test_a_batch_of_one_is_trained_or_refused_when_the_plan_is_read(name: str) -> None:
    require_encoders()
    configuration = tiny(name, 2)
    batch = (1, 1, *(2 * size for size in configuration.patch_voxels))
    network = build_network(configuration, 1, 2)
    if encoder_problem(configuration.network, batch_size=1):
        with pytest.raises(PlanError, match="Expected more than 1 value per channel when training"):
            check_answers(network, configuration, batch, 2, [[1, 1]])
    else:
        check_answers(network, configuration, batch, 2, [[1, 1]])
