"""CE-Net, ERFNet and SegNet: as large as published, what they compute, and mistakes in words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_configuration, make_plan, make_training
from torch import nn
from torch.nn import functional

from medseg.core.errors import PlanError
from medseg.models.model import Model, make_network
from medseg.models.start import start_from
from medseg.networks.cenet import DenseAtrousConvolution, ResidualMultiKernelPooling
from medseg.networks.erfnet import Downsampler, FactorizedBlock
from medseg.networks.segnet import max_pool, unpool
from medseg.networks.table import build_network
from medseg.training.losses.deep_supervision import DeepSupervision


def build(name: str, dimensions: int = 2, channels: int = 3, outputs: int = 2, **arguments: Any) -> Any:
    network = {"name": name, "arguments": arguments}
    configuration = make_configuration(dimensions, patch_voxels=[64] * dimensions, network=network)
    return build_network(configuration, channels, outputs)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "outputs", "published"),
    [
        # the authors' code with 20 classes of Cityscapes; PyTorch Auto Drive's table (configs/semantic_segmentation/
        # erfnet of github.com/voldemortX/pytorch-auto-drive) says 2.07 million
        ("erfnet", 20, 2.07e6),
        # Paszke et al. 2016 (ENet, arxiv.org/abs/1606.02147), table II: 29.46 million
        ("segnet", 12, 29.46e6),
    ],
)
def test_as_many_parameters_as_published(name: str, outputs: int, published: float) -> None:
    with torch.device("meta"):
        network = build(name, outputs=outputs)
    assert parameters(network) == pytest.approx(published, rel=0.02)


def test_cenet_has_the_parameters_of_its_parts() -> None:
    """The paper has no number; counted from its section III and the authors' code, for one output."""

    def decoder_block(inputs: int, outputs: int) -> int:
        width = inputs // 4
        convolutions = (inputs * width + width) + (9 * width**2 + width) + (width * outputs + outputs)
        return convolutions + 2 * (width + width + outputs)  # and batch normalizations

    resnet_34 = 21_797_672 - 513_000  # torchvision's without `fc`
    atrous, pooling = 3 * (9 * 512**2 + 512) + 512**2 + 512, 512 + 1
    decoder = sum(decoder_block(*sizes) for sizes in [(516, 256), (256, 128), (128, 64), (64, 64)])
    head = (16 * 64 * 32 + 32) + (9 * 32**2 + 32) + (9 * 32 + 1)
    with torch.device("meta"):
        network = build("cenet", outputs=1)
    assert parameters(network) == resnet_34 + atrous + pooling + decoder + head  # 29.0 million


def test_the_encoder_of_cenet_is_resnet_34() -> None:
    with torch.device("meta"):
        encoder = build("cenet").network.encoder
    assert parameters(encoder) == 21_797_672 - 513_000  # torchvision's resnet34 without `fc`
    names = set(encoder.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "layer4.2.conv2.weight"} <= names


@pytest.mark.parametrize(
    ("name", "dimensions"), [("erfnet", 2), ("erfnet", 3), ("segnet", 2), ("segnet", 3), ("cenet", 2)]
)
def test_answers_lie_on_the_grid_of_the_image(name: str, dimensions: int) -> None:
    features = {"erfnet": [4, 6, 8], "segnet": [2, 2, 4, 4, 4], "cenet": [4, 4, 8, 8]}[name]
    network = build(name, dimensions, channels=2, outputs=3, features=features)
    shape = [32] * (dimensions - 1) + [64]
    (answer,) = network(torch.randn(2, 2, *shape))
    assert answer.shape == (2, 3, *shape)
    answer.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_encoder_of_erfnet_answers_at_an_eighth(dimensions: int) -> None:
    network = build("erfnet", dimensions, channels=1, outputs=3, features=[2, 4, 6], encoder_only=True).eval()
    image = torch.randn(1, 1, *[16, 32, 32][-dimensions:])
    full, coarse = network(image, 2)
    assert full.shape == (1, 3, *image.shape[2:])
    assert coarse.shape == (1, 3, *(size // 8 for size in image.shape[2:]))
    mode = "bilinear" if dimensions == 2 else "trilinear"
    assert torch.equal(full, functional.interpolate(coarse, image.shape[2:], mode=mode))
    assert len(network(image)) == 1


@pytest.mark.parametrize(("choice", "weights"), [(True, (0, 1)), (False, ()), ({"levels": [0, 1]}, (2 / 3, 1 / 3))])
def test_the_loss_of_erfnets_encoder(choice: Any, weights: tuple[float, ...]) -> None:
    """At an eighth alone, as the authors train it; with interpolated logits where the plan says so."""
    plan = erfnet_plan(encoder_only=True)
    plan.training = make_training(deep_supervision=choice)
    network = make_network(plan, plan.configuration("main")).eval()
    loss = DeepSupervision.of(network, plan, plan.configuration("main"))
    assert tuple(loss.weights) == pytest.approx(weights)
    answers = network(torch.randn(2, 1, 32, 32), len(loss.scales))
    target = torch.randint(0, 3, (2, 32, 32), dtype=torch.int16)
    parts = [
        replace(loss, scales=[scale], weights=())([answer], target)
        for answer, scale in zip(answers, loss.scales, strict=True)
    ]
    expected = sum(weight * part for weight, part in zip(weights or (1,), parts, strict=True))
    assert loss(answers, target).item() == pytest.approx(float(torch.as_tensor(expected).detach()), rel=1e-5)


def erfnet_plan(**arguments: Any) -> Any:
    network = {"name": "erfnet", "arguments": {"features": [4, 6, 8], **arguments}}
    return make_plan(2, {"patch_voxels": [32, 32], "network": network})


def test_the_encoder_of_erfnet_starts_the_whole_network(tmp_path: Path) -> None:
    source_plan, plan = erfnet_plan(encoder_only=True), erfnet_plan()
    torch.manual_seed(0)
    source, network = (make_network(p, p.configuration("main")) for p in (source_plan, plan))
    source.train()(torch.randn(2, 1, 32, 32))  # its statistics of batch normalization are no longer those of the start
    others = {key: value.clone() for key, value in network.state_dict().items() if ".encoder." not in key}
    start = start_from(
        network, plan, plan.configuration("main"), Model(source_plan, "main", ("0",), (source,), tmp_path)
    )
    assert {part.name: part.amount for part in start.parts} == {
        "network.encoder": "all",
        "network.decoder": "none",
        "network.head": "none",
    }
    after = network.state_dict()
    encoder = {key: value for key, value in source.state_dict().items() if ".encoder." in key}
    assert len(encoder) + len(others) == len(after)
    assert all(torch.equal(value, after[key]) for key, value in {**encoder, **others}.items())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_unpooling_by_indices(dimensions: int) -> None:
    x = torch.randint(0, 3, (2, 3, *[4, 6, 8][-dimensions:]), generator=torch.Generator().manual_seed(0)).float()
    values, indices = max_pool(x)  # with many equal values, of which the first counts
    unpool_of_torch = functional.max_unpool2d if dimensions == 2 else functional.max_unpool3d
    assert torch.equal(unpool(values, indices), unpool_of_torch(values, indices, 2))


def test_unpooling_an_image_of_two_cells() -> None:
    x = torch.tensor([[[[1.0, 2.0, 0.0, 0.0], [3.0, 0.0, 0.0, 5.0]]]])
    values, indices = max_pool(x)
    assert values.tolist() == [[[[3, 5]]]]
    assert unpool(values + 10, indices).tolist() == [[[[0, 0, 0, 0], [13, 0, 0, 15]]]]


def test_a_downsampler_keeps_the_pooled_channels() -> None:
    layer = Downsampler(1, 3, 2).eval()  # fresh batch normalization divides by sqrt(1 + eps)
    pooled = layer(torch.tensor([[[[1.0, 2.0], [4.0, 3.0]]]]))[0, 2]
    assert pooled.item() == pytest.approx(4 / 1.001**0.5)


@pytest.mark.parametrize("dilation", [1, 4])
def test_a_factorized_block_sees_as_far_as_two_convolutions(dilation: int) -> None:
    block = FactorizedBlock(1, 2, dilation=dilation).eval()
    for parameter in block.parameters():
        nn.init.ones_(parameter) if parameter.ndim > 1 or parameter is block.first_norm.weight else None
        if parameter.ndim == 1 and parameter not in (block.first_norm.weight, block.second_norm.weight):
            nn.init.zeros_(parameter)
    x = torch.zeros(1, 1, 21, 21)
    x[..., 10, 10] = 1
    rows = block(x)[0, 0].sum(1).nonzero().flatten().tolist()
    reach = 1 + dilation
    assert (min(rows), max(rows)) == (10 - reach, 10 + reach)


def test_dense_atrous_convolution_by_hand() -> None:
    """With ones as weights, each branch of a single voxel is its kernel: 9, 9, 81 and 729 ones beside the shortcut."""
    block = DenseAtrousConvolution(1)
    for name, parameter in block.named_parameters():
        nn.init.constant_(parameter, 0 if "bias" in name else 1)
    x = torch.zeros(1, 1, 41, 41)
    x[..., 20, 20] = 1
    assert block(x).sum().item() == 1 + 9 + 9 + 81 + 729


def test_multi_kernel_pooling_by_hand() -> None:
    block = ResidualMultiKernelPooling(1)
    nn.init.ones_(block.project.weight)
    nn.init.zeros_(block.project.bias)
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    answer = block(x)
    assert answer.shape == (1, 5, 6, 6)
    assert torch.equal(answer[:, 4:], x)
    torch.testing.assert_close(answer[0, 3], torch.full((6, 6), 35.0))  # one cell of 6 x 6
    assert answer[0, 0, 0, 0].item() == 7  # the largest of the first cell of 2 x 2
    assert block(x[..., :2, :2]).shape == (1, 5, 2, 2)  # cells are cut to the grid


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("erfnet", {"wide": 3}, r"erfnet: it has no argument 'wide'.* It has features, dropout"),
        ("erfnet", {"encoder_only": "yes"}, r"erfnet: encoder_only is 'yes'; expected true or false"),
        ("erfnet", {"features": [3, 8, 16]}, r"image has 3 channels, and network.arguments.features is \[3, 8, 16\]"),
        ("erfnet", {"features": [8, 16]}, r"erfnet: features is \[8, 16\]; expected a list of 3 whole numbers"),
        ("erfnet", {"dropout": 0.3}, r"erfnet: dropout is 0.3; expected a list of 2 numbers of at least 0 and below 1"),
        ("erfnet", {"dropout": [0, 1.5]}, r"dropout is \[0, 1.5\]; expected a list of 2 numbers of at least 0"),
        ("segnet", {"features": [8, 8]}, r"segnet: features is \[8, 8\]; expected a list of 5 whole numbers"),
        ("cenet", {"features": [8, 8]}, r"cenet: features is \[8, 8\]; expected a list of 4 whole numbers"),
        ("cenet", {"features": [8, 8, 0, 8]}, r"cenet: features is \[8, 8, 0, 8\]; expected numbers from 1 to 65,536"),
        ("segnet", {"features": "wide"}, r"segnet: features is 'wide'; expected a list of 5"),
        ("segnet", {"dimensions_": 3}, r"segnet: it has no argument 'dimensions_'"),
    ],
)
def test_arguments_that_do_not_fit(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        build(name, **arguments)


def test_cenet_is_for_slices() -> None:
    with pytest.raises(PlanError, match="cenet takes 2D images, and the configuration is 3D"):
        build("cenet", 3)
