"""What a patch must be, network by network, and what a plan says where it is not."""

from typing import Any

import pytest
from builders import make_configuration, network_values, plan_values

from medseg.core.errors import PlanError
from medseg.plans.file import validate_plan
from medseg.plans.network_rules import CLASS_NAMES, PATCH_RULES, UNETS, UPSAMPLING_ARGUMENTS, PatchRule, patch_rule


def read(dimensions: int, patch: list[int], network: dict[str, Any], **others: Any) -> list[int]:
    """The patch of a plan with a network, as the plan is read."""
    values = plan_values(dimensions)
    values["configurations"]["main"] |= {"patch_voxels": patch, "network": network, **others}
    return validate_plan(values, {}, "plan.yaml").configuration("main").patch_voxels


@pytest.mark.parametrize(
    ("network", "patch", "nearest"),
    [
        ({"name": "swin_unetr"}, [100, 40], [96, 32]),
        ({"name": "swin_unetr"}, [32, 32], [32, 64]),  # one voxel on the coarsest level cannot be normalized
        ({"name": "SwinUNETR"}, [100, 40], [96, 32]),
        ({"name": "unetr"}, [100, 40], [96, 32]),
        ({"name": "vnet"}, [8, 50], [16, 48]),
        ({"name": "segresnet"}, [100, 36], [96, 32]),
        ({"name": "segresnet", "arguments": {"blocks_down": [1, 1]}}, [101, 36], [100, 36]),
        ({"name": "basic_unet"}, [9, 100], [16, 100]),
        ({"name": "basic_unet"}, [16, 31], [16, 32]),
        ({"name": "attention_unet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2]}}, [30, 35], [32, 36]),
        ({"name": "dynunet", "arguments": {"strides": [1, 2, [2, 1]]}}, [30, 35], [32, 36]),
        ({"name": "mednext", "arguments": {"blocks_down": [1, 1, 1]}}, [30, 35], [32, 32]),
        (network_values(2, 4, "unet"), [30, 35], [32, 32]),
    ],
)
def test_the_nearest_valid_patch_is_named(network: dict[str, Any], patch: list[int], nearest: list[int]) -> None:
    with pytest.raises(PlanError) as caught:
        read(2, patch, network)
    assert f"patch_voxels is {patch}, but" in str(caught.value)
    assert str(caught.value).endswith(f"the nearest valid patch is {nearest}")
    assert read(2, nearest, network) == nearest


def test_batch_normalization_of_one_patch_needs_two_voxels() -> None:
    with pytest.raises(PlanError, match=r"nearest valid patch is \[32, 64\]"):
        read(2, [32, 32], {"name": "flexible_unet"}, batch_size=1)
    assert read(2, [32, 32], {"name": "flexible_unet"}, batch_size=2) == [32, 32]


def test_set_is_checked_as_the_file_is() -> None:
    with pytest.raises(
        PlanError,
        match=r"(?s)--set configurations.main.network.name=SwinUNETR gives an invalid plan.*"
        r"swin_unetr needs multiples of \[32, 32\] and at least .*nearest valid patch is \[32, 64\]",
    ):
        validate_plan(plan_values(2), {}, "plan.yaml", ["configurations.main.network.name=SwinUNETR"])


def test_anisotropic_spacing_decides_what_segresnet_ds_divides() -> None:
    network = {"name": "segresnet_ds"}
    thick = make_configuration(3, spacing_mm=[5.0, 1.0, 1.0], patch_voxels=[16, 32, 32], network=network)
    assert patch_rule(thick).multiple == [2, 8, 8]
    even = make_configuration(3, spacing_mm=[1.0, 1.0, 1.0], patch_voxels=[16, 32, 32], network=network)
    assert patch_rule(even).multiple == [8, 8, 8]


@pytest.mark.parametrize("arguments", [{"strides": "two"}, {"strides": [0, 1]}, {"strides": [[1]]}, {"strides": 2}])
def test_strides_that_are_none_are_left_to_the_network(arguments: dict[str, Any]) -> None:
    assert read(2, [7, 9], {"name": "unet", "arguments": arguments}) == [7, 9]


@pytest.mark.parametrize("patch", [[1, 1], [17, 9], [16, 16], [33, 200], [1000, 3]])
@pytest.mark.parametrize(
    "rule", [PatchRule([8, 4], [8, 4]), PatchRule([1, 1], [16, 16], 2), PatchRule([32, 32], [32, 32], 2)]
)
def test_the_nearest_patch_is_valid(rule: PatchRule, patch: list[int]) -> None:
    nearest = rule.nearest(patch)
    assert rule.nearest(nearest) == nearest


def test_a_class_has_a_short_name() -> None:
    for class_name, name in CLASS_NAMES.items():
        assert name in PATCH_RULES
        network = {"name": class_name}
        assert make_configuration(2, patch_voxels=[64, 64], network=network).network.name == name


@pytest.mark.parametrize("name", [*UNETS, *UPSAMPLING_ARGUMENTS])
def test_upsampling_is_written_only_where_the_plan_says_it(name: str) -> None:
    network = network_values(2, 3, name)
    assert "upsampling" not in make_configuration(2, network=network, patch_voxels=[64, 64]).network.model_dump()
    for way in ("transposed", "interpolation"):
        section = make_configuration(2, network={**network, "upsampling": way}, patch_voxels=[64, 64]).network
        assert section.model_dump()["upsampling"] == way


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (
            {"name": "erfnet", "upsampling": "interpolation"},
            r"network: upsampling is 'interpolation', and erfnet has no choice of it; delete it, or choose one of "
            "plain_unet, residual_unet, basic_unet, ",
        ),
        ({"name": "AttentionUnet", "upsampling": "transposed"}, "attention_unet has no choice of it"),
        (
            {"name": "segresnet", "upsampling": "transposed", "arguments": {"upsample_mode": "pixelshuffle"}},
            "arguments has upsample_mode 'pixelshuffle', which means the same; delete one of them",
        ),
        ({"name": "segresnet", "upsampling": "nearest"}, "upsampling: expected 'transposed' or 'interpolation'"),
    ],
)
def test_upsampling_that_a_network_has_not(network: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        read(2, [64, 64], network)
