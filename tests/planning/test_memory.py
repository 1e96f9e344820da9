"""The closed form, against numbers counted by hand and nnU-Net's own published counts."""

import pytest

from medseg.planning.memory import (
    PLANNERS,
    Budget,
    batch_size,
    budget_for,
    count_outputs,
    fit_patch,
    plain_unet_elements,
    residual_unet_elements,
    voxels_per_stage,
)
from medseg.planning.topology import build_topology


def test_voxels_per_stage_follow_the_strides() -> None:
    assert voxels_per_stage((8, 16), ((1, 1), (1, 2), (2, 2))) == (128, 64, 16)


def test_plain_unet_of_two_stages_counted_by_hand() -> None:
    # 8 x 8 pixels, then 4 x 4; 2 and 4 features; 3 outputs.
    encoder = 2 * 2 * 64 + 2 * 4 * 16
    decoder = 2 * 2 * 64 + 2 * 64  # two convolutions and the transposed one
    head = 3 * 64
    elements = plain_unet_elements((8, 8), ((1, 1), (2, 2)), (2, 4), (2, 2), (2,), 3)
    assert elements == encoder + decoder + head == 960


def test_residual_unet_of_two_stages_counted_by_hand() -> None:
    stem = 2 * 64
    blocks = 2 * (1 * 2 * 64) + 2 * (3 * 4 * 16)  # 1 block, then 3, of two convolutions
    projection = 4 * 16
    decoder = 2 * 64 + 2 * 64  # one convolution and the transposed one
    head = 3 * 64
    elements = residual_unet_elements((8, 8), ((1, 1), (2, 2)), (2, 4), (1, 3), (1,), 3)
    assert elements == stem + blocks + projection + decoder + head == 1280


def test_one_stage_has_no_decoder_and_no_head() -> None:
    assert plain_unet_elements((5, 5), ((1, 1),), (32,), (2,), (), 3) == 2 * 32 * 25


@pytest.mark.parametrize(
    ("patch", "features", "blocks", "expected"),
    [
        ((128, 128, 128), (32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6), 558_319_104),
        ((512, 512), (32, 64, 128, 256, 512, 512, 512), (1, 3, 4, 6, 6, 6, 6), 129_793_792),
    ],
)
def test_reference_values_in_nnunets_source(
    patch: tuple[int, ...], features: tuple[int, ...], blocks: tuple[int, ...], expected: int
) -> None:
    strides = ((1,) * len(patch), *[(2,) * len(patch)] * (len(features) - 1))
    decoder = (1,) * (len(features) - 1)
    # published with deep supervision, which gives every other decoder stage a head, too
    heads = 3 * sum(voxels_per_stage(patch, strides)[1:-1])
    assert residual_unet_elements(patch, strides, features, blocks, decoder, 3) + heads == expected


def test_outputs_are_structures_background_and_ignore_label() -> None:
    assert count_outputs(2) == 3
    assert count_outputs(2, ignore_label=True) == 4


@pytest.mark.parametrize(("planner", "memory_gb"), [("default", 8), ("resenc-l", 24), ("resenc-xl", 40)])
def test_own_memory_has_the_reference_limit_and_the_scale_is_linear(planner: str, memory_gb: float) -> None:
    own = budget_for(planner, None, 3)
    assert own.memory_gb == memory_gb
    assert own.limit(3) == PLANNERS[planner].elements[3]
    assert budget_for(planner, memory_gb / 2, 3).limit(3) == own.limit(3) / 2


def test_plain_planner_shrinks_2d_patches_for_a_batch_of_two_residual_ones_for_twelve() -> None:
    plain, residual = budget_for("default", 8, 3), budget_for("resenc-m", 8, 3)
    assert plain.allows(6 * 85_000_000, 2)
    assert not plain.allows(6 * 85_000_000 + 1, 2)
    assert residual.allows(135_000_000, 2)
    assert not residual.allows(135_000_000 + 1, 2)


def test_features_double_up_to_the_maximum_and_blocks_repeat() -> None:
    size = budget_for("resenc-m", 8, 3).size(build_topology((1.0, 1.0), (512, 512)))
    assert size.features == (32, 64, 128, 256, 512, 512, 512, 512)
    assert size.encoder == (1, 3, 4, 6, 6, 6, 6, 6)
    assert size.decoder == (1,) * 7


@pytest.mark.parametrize(
    ("elements", "dataset_voxels", "expected", "said"),
    [
        (560_000_000, 1e12, 2, "8 GB hold 2 patches of 560 M"),
        (80_000_000, 1e12, 14, "14 patches of 80 M"),
        (80_000_000, 1000 * 100, 5, "5% of the data set's voxels: 5 patches"),
        (80_000_000, 1000 * 10, 2, "never less than 2"),
        (448_000_000, 1e12, 2, "2 patches"),  # 2.5 goes to the even neighbour
        (320_000_000, 1e12, 4, "4 patches"),  # 3.5 as well
        (80_000_000, 1000 * 50, 2, "voxels: 2 patches"),  # 2.5 again, of the data set
    ],
)
def test_batch_size(elements: int, dataset_voxels: float, expected: int, said: str) -> None:
    batch, reason = batch_size((10, 10, 10), elements, dataset_voxels, budget_for("default", 8, 3))
    assert batch == expected
    assert said in reason


def test_residual_presets_may_cover_the_whole_data_set() -> None:
    batch, _ = batch_size((10, 10, 10), 68_000_000, 1000 * 30, budget_for("resenc-m", 8, 3))
    assert batch == 20


def test_more_outputs_need_smaller_patches() -> None:
    few, _ = fit_patch((1.0, 1.0, 1.0), (300.0, 300.0, 300.0), budget_for("default", 8, 2))
    many, size = fit_patch((1.0, 1.0, 1.0), (300.0, 300.0, 300.0), budget_for("default", 8, 120))
    assert many.patch_voxels < few.patch_voxels
    assert size.elements <= 560_000_000


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"'resenc-s'.*default, resenc-m, resenc-l, resenc-xl"):
        budget_for("resenc-s", None, 3)
    for memory_gb in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"memory_gb is .*expected more than 0"):
            budget_for("default", memory_gb, 3)
    with pytest.raises(
        ValueError, match=r"too little even for the smallest patch: 1 x 1 x 1 voxels need 64 .* Raise memory_gb"
    ):
        fit_patch((1.0, 1.0, 1.0), (9.0, 9.0, 9.0), Budget(PLANNERS["default"], 1e-7, 3))
