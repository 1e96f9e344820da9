"""Mean and spread over folds and mirrored copies, by hand."""

from math import log

import pytest
import torch
from builders import INFERENCE, make_configuration

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.inference.backends.choose import Forward
from medseg.inference.memory import MemoryPlan, Resources
from medseg.inference.tiles import Views
from medseg.inference.uncertainty import stream_uncertainty
from medseg.inference.window_pass import WindowPass
from medseg.plans.sections.inference import Inference

REGIONS = Labels(structures={"a": [1, 2], "b": [2]}, activation="sigmoid", region_values=[1, 2])
PLAIN = Labels(structures={"a": 1, "b": 2})


def make_pass(
    image: torch.Tensor, tile: list[int], members: list[Forward], tile_batch: int = 2, mirror: bool = False
) -> WindowPass:
    inference = Inference.model_validate({**INFERENCE, "mirror": mirror})
    views = Views.of(image.shape[1:], make_configuration(3, patch_voxels=tile), inference)
    plan = MemoryPlan(tile_batch, False, torch.float32, False)
    return WindowPass(members, image, views, Resources(plan, torch.device("cpu")))


def says(*logits: float) -> Forward:
    def forward(tiles: torch.Tensor) -> torch.Tensor:
        return torch.tensor(logits).reshape(1, -1, 1, 1, 1).expand(len(tiles), -1, *tiles.shape[2:])

    return forward


def test_the_spread_of_two_folds_is_half_their_difference() -> None:
    quarter = -log(3)  # sigmoid(-log 3) = 1/4, sigmoid(log 3) = 3/4
    window_pass = make_pass(torch.randn(1, 9, 4, 4), [4, 4, 4], [says(quarter, 0.0), says(-quarter, 0.0)])
    whole = torch.cat(list(stream_uncertainty(window_pass, REGIONS)), dim=1)
    assert whole.shape == (4, 9, 4, 4)
    for channel, value in zip(whole, (0.5, 0.5, 0.25, 0.0), strict=True):
        torch.testing.assert_close(channel, torch.full_like(channel, value))


def test_softmax_leaves_the_background_out() -> None:
    window_pass = make_pass(torch.randn(1, 4, 4, 4), [4, 4, 4], [says(0.0, log(2), log(5)), says(0.0, log(6), 0.0)])
    whole = torch.cat(list(stream_uncertainty(window_pass, PLAIN)), dim=1)  # (2, 5) / 8 and (6, 1) / 8
    assert whole[:, 0, 0, 0].tolist() == pytest.approx([0.5, 3 / 8, 0.25, 0.25])


@pytest.mark.parametrize("tile_batch", [1, 3, 8])
def test_mirrored_copies_are_looks_too(tile_batch: int) -> None:
    def left(tiles: torch.Tensor) -> torch.Tensor:
        sure = torch.zeros_like(tiles)
        sure[..., : tiles.shape[-1] // 2] = 50.0  # logit: a probability of one half elsewhere
        return torch.cat([sure, sure * 0], dim=1)

    image = torch.randn(1, 4, 4, 8)
    window_pass = make_pass(image, [4, 4, 8], [left], tile_batch, mirror=True)
    whole = torch.cat(list(stream_uncertainty(window_pass, REGIONS)), dim=1)
    torch.testing.assert_close(whole[0], torch.full_like(whole[0], 0.75))
    torch.testing.assert_close(whole[2], torch.full_like(whole[2], 0.25))
    assert whole[3].abs().max() == 0


def test_one_look_has_no_spread() -> None:
    with pytest.raises(PlanError, match="this model has one fold, and mirroring is off"):
        list(stream_uncertainty(make_pass(torch.randn(1, 4, 4, 4), [4, 4, 4], [says(0.0, 0.0)]), REGIONS))
