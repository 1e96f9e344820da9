"""One contract for every U-Net that a plan can describe, against the same network in plain torch functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import network_section
from torch.nn import functional

from medseg.networks.layout import to_fast_layout
from medseg.networks.unet import UNet
from medseg.plans.schema import Network

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
ANISOTROPIC: dict[str, Any] = {
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
}
NETWORKS = {
    "plain 3d": network_section(3),
    "plain 2d": network_section(2),
    "plain anisotropic": network_section(3, **ANISOTROPIC),
    "plain deep": network_section(3, 4, blocks=[2, 1, 2, 1], decoder_convolutions=[2, 1, 2]),
    "plain two stages": network_section(2, 2),
    "plain without bias": network_section(2, 3, bias=False),
    "plain uneven": network_section(
        2, 3, features=[3, 5, 5], kernels=[[3, 5], [1, 3], [3, 1]], strides=[[1, 1], [2, 1], [3, 2]]
    ),
    "residual 3d": network_section(3, 3, "residual_unet", blocks=[1, 2, 3]),
    "residual 2d": network_section(2, 3, "residual_unet", blocks=[2, 1, 2]),
    "residual anisotropic": network_section(3, 3, "residual_unet", blocks=[1, 2, 2], **ANISOTROPIC),
    "residual same width": network_section(2, 3, "residual_unet", features=[4, 4, 4], blocks=[1, 2, 1]),
    "residual without bias": network_section(2, 3, "residual_unet", bias=False),
    "plain interpolated": network_section(3, **ANISOTROPIC, upsampling="interpolation"),
    "residual interpolated": network_section(2, 3, "residual_unet", bias=False, upsampling="interpolation"),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def build(network: Network, channels: int = 2, outputs: int = 3, seed: int = 0) -> UNet:
    """A network whose norms and biases are random too, so that no part of it is without effect."""
    torch.manual_seed(seed)
    unet = UNet(network, channels, outputs, residual=network.name == "residual_unet")
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.5 + 0.3)
    return unet


def patch_of(network: Network) -> tuple[int, ...]:
    return tuple(4 * step if step < 4 else 2 * step for step in network.divisor)


def levels_of(network: Network) -> int:
    return len(network.features) - 1


# --- the same network, in plain functions of torch ---


def plain_forward(weights: dict[str, torch.Tensor], network: Network, x: torch.Tensor) -> list[torch.Tensor]:
    """nnU-Net's U-Net, written down once more from its description; all levels, the full resolution first."""
    dimensions = x.ndim - 2
    convolution = (functional.conv2d, functional.conv3d)[dimensions - 2]
    transposed = (functional.conv_transpose2d, functional.conv_transpose3d)[dimensions - 2]
    pool = (functional.avg_pool2d, functional.avg_pool3d)[dimensions - 2]
    ones = [1] * dimensions

    def block(x: torch.Tensor, name: str, stride: Sequence[int], activate: bool = True) -> torch.Tensor:
        weight, bias = weights[f"{name}.conv.weight"], weights.get(f"{name}.conv.bias")
        padding = [(size - 1) // 2 for size in weight.shape[2:]]
        x = convolution(x, weight, bias, tuple(stride), tuple(padding))
        x = functional.instance_norm(
            x, weight=weights[f"{name}.norm.weight"], bias=weights[f"{name}.norm.bias"], eps=1e-5
        )
        return functional.leaky_relu(x, 0.01) if activate else x

    def residual(x: torch.Tensor, name: str, stride: Sequence[int]) -> torch.Tensor:
        shortcut = pool(x, tuple(stride)) if max(stride) > 1 else x
        if f"{name}.project.conv.weight" in weights:
            shortcut = block(shortcut, f"{name}.project", ones, activate=False)
        y = block(block(x, f"{name}.first", stride), f"{name}.second", ones, activate=False)
        return functional.leaky_relu(y + shortcut, 0.01)

    unit = residual if network.name == "residual_unet" else block
    if network.name == "residual_unet":
        x = block(x, "stem", ones)
    skips = []
    for stage, (count, stride) in enumerate(zip(network.blocks, network.strides, strict=True)):
        for number in range(count):
            x = unit(x, f"encoder.{stage}.{number}", stride if number == 0 else ones)
        skips.append(x)
    answers = []
    for depth, count in enumerate(network.decoder_convolutions):
        stride = tuple(network.strides[-1 - depth])
        if network.upsampling == "interpolation":
            x = functional.interpolate(x, scale_factor=stride, mode="bilinear" if dimensions == 2 else "trilinear")
            x = convolution(x, weights[f"up.{depth}.conv.weight"], weights.get(f"up.{depth}.conv.bias"))
        else:
            x = transposed(x, weights[f"up.{depth}.weight"], weights.get(f"up.{depth}.bias"), stride)
        x = torch.cat([x, skips[-2 - depth]], dim=1)
        for number in range(count):
            x = block(x, f"decoder.{depth}.{number}", ones)
        answers.append(convolution(x, weights[f"heads.{depth}.weight"], weights[f"heads.{depth}.bias"]))
    return answers[::-1]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2e-2), (torch.float64, 1e-9)])
@every_network
def test_forward_and_gradients_equal_plain_torch(
    network: Network, dtype: torch.dtype, rounding: float, batch: int, channels: int
) -> None:
    """In float32 a value near the kink of the leaky ReLU may be rounded to its other side, where the slope is another.

    A gradient then differs by much more than rounding, in a few places; in float64 no value is that close to the kink.
    """
    unet = build(network, channels).to(dtype)
    image = torch.randn(batch, channels, *patch_of(network)).to(dtype)
    gradients = []
    answers = []
    for run in ("ours", "plain"):
        source = image.clone().requires_grad_()
        unet.zero_grad(set_to_none=True)
        if run == "ours":
            outputs = unet(source, levels_of(network))
        else:
            outputs = plain_forward(dict(unet.named_parameters()), network, source)
        torch.manual_seed(1)
        sum((output * torch.randn(output.shape)).sum() for output in outputs).backward()  # type: ignore[union-attr]
        answers.append([output.detach() for output in outputs])
        named = {name: parameter.grad for name, parameter in unet.named_parameters()}
        gradients.append({**named, "image": source.grad})
    for answer, plain in zip(*answers, strict=True):
        torch.testing.assert_close(answer, plain, rtol=1e-4, atol=1e-4)
    largest = max(float(gradient.abs().max()) for gradient in gradients[1].values())
    assert gradients[0].keys() == gradients[1].keys()
    for name, plain in gradients[1].items():
        off = float((gradients[0][name] - plain).abs().max())
        assert off <= rounding * max(float(plain.abs().max()), 0.1 * largest), name


@every_network
def test_every_level_has_its_shape(network: Network) -> None:
    patch = patch_of(network)
    with torch.inference_mode():
        outputs = build(network)(torch.randn(2, 2, *patch), levels_of(network))
    assert len(outputs) == levels_of(network)
    shape = list(patch)
    for level, output in enumerate(outputs):
        shape = [size // step for size, step in zip(shape, network.strides[level], strict=True)]
        assert list(output.shape) == [2, 3, *shape]


@every_network
def test_fewer_levels_are_the_finest_of_them(network: Network) -> None:
    unet, image = build(network).eval(), torch.randn(1, 2, *patch_of(network))
    with torch.inference_mode():
        every = unet(image, levels_of(network))
        for levels in range(1, levels_of(network) + 1):
            for answer, other in zip(unet(image, levels), every[:levels], strict=True):
                torch.testing.assert_close(answer, other, rtol=0, atol=0)
        assert len(unet(image)) == 1


@every_network
def test_every_parameter_gets_a_gradient(network: Network) -> None:
    unet = build(network)
    outputs = unet(torch.randn(2, 2, *patch_of(network)), levels_of(network))
    sum(output.square().mean() for output in outputs).backward()  # type: ignore[union-attr]
    for name, parameter in unet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # a bias before an instance norm has no effect, so its gradient is no more than rounding
        assert name.endswith(".conv.bias") or (parameter.grad.abs() > 1e-6).any(), name


@every_network
def test_weights_survive_saving_and_loading(network: Network, tmp_path: Path) -> None:
    first, second = build(network, seed=0).eval(), build(network, seed=1).eval()
    image = torch.randn(1, 2, *patch_of(network))
    torch.save(first.state_dict(), tmp_path / "weights.pt")
    with torch.inference_mode():
        assert not torch.equal(first(image)[0], second(image)[0])
        second.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        torch.testing.assert_close(first(image)[0], second(image)[0], rtol=0, atol=0)


@every_network
def test_samples_of_a_batch_do_not_see_each_other(network: Network) -> None:
    unet, image = build(network).eval(), torch.randn(3, 2, *patch_of(network))
    with torch.inference_mode():
        together = unet(image)[0]
        for number in range(3):
            torch.testing.assert_close(unet(image[number : number + 1])[0][0], together[number], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
@every_network
def test_bfloat16_stays_near(network: Network, dtype: torch.dtype) -> None:
    unet, image = build(network).eval(), torch.randn(2, 2, *patch_of(network))
    with torch.inference_mode():
        exact = unet(image)[0]
        with torch.autocast("cpu", dtype=dtype):
            rough = unet(image)[0]
    assert rough.dtype == dtype
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_activations_are_channels_last_from_the_first_layer_on(dimensions: int, channels: int) -> None:
    unet = build(network_section(dimensions), channels)
    x = to_fast_layout(torch.randn(2, channels, *[16] * dimensions))
    for stage in unet.encoder:
        x = stage(x)
        assert x.is_contiguous(memory_format=CHANNELS_LAST[dimensions])


def test_an_odd_layout_of_the_input_does_not_matter() -> None:
    unet, image = build(network_section(3)).eval(), torch.randn(2, 16, 16, 16, 2)
    with torch.inference_mode():
        strided = unet(image.movedim(-1, 1).transpose(2, 4))[0]
        dense = unet(image.movedim(-1, 1).transpose(2, 4).contiguous())[0]
    torch.testing.assert_close(strided, dense, rtol=1e-5, atol=1e-5)


def test_the_input_is_not_changed() -> None:
    image = torch.randn(1, 2, 16, 16)
    copy = image.clone()
    build(network_section(2))(image)
    torch.testing.assert_close(image, copy, rtol=0, atol=0)


@every_network
def test_weights_start_as_nnunets_do(network: Network) -> None:
    torch.manual_seed(0)
    unet = UNet(network, 2, 3, residual=network.name == "residual_unet")
    for name, parameter in unet.state_dict().items():
        if name.endswith("second.norm.weight"):
            assert not parameter.any()  # a residual block starts as its shortcut
        elif name.endswith("norm.weight"):
            assert (parameter == 1).all()
        elif parameter.ndim == 1:
            assert not parameter.any()
        elif parameter.numel() > 1000:
            fan_in = parameter[0].numel()  # Kaiming normal for a leaky ReLU of slope 0.01
            assert float(parameter.std()) == pytest.approx((2 / (1 + 0.01**2) / fan_in) ** 0.5, rel=0.1)
            assert abs(float(parameter.mean())) < 4 * float(parameter.std()) / parameter.numel() ** 0.5
