"""A network that is tried without computing: wrong shapes and errors of its own are told."""

from typing import Any

import pytest
import torch
from builders import make_configuration
from torch import nn

from medseg.core.errors import PlanError
from medseg.networks.anatomy import on_meta
from medseg.networks.row import as_list
from medseg.networks.trial import check_answers


class Answers(nn.Module):
    """Answers one level in the given number of outputs, halved if `step` is 2."""

    def __init__(self, outputs: int = 2, step: int = 1, error: Exception | None = None) -> None:
        super().__init__()
        self.head, self.error = nn.Conv2d(1, outputs, 1, stride=step), error

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        if self.error is not None:
            raise self.error
        return [self.head(x)]


def check(meta: bool = True, **options: Any) -> None:
    configuration = make_configuration(2, patch_voxels=[16, 16], network={"name": "unet"})
    network = on_meta(lambda: Answers(**options)) if meta else Answers(**options).eval()
    check_answers(network, configuration, (2, 1, 16, 16), 2, [[1, 1]])
    assert not network.training


@pytest.mark.parametrize("meta", [True, False])
def test_what_fits_passes(meta: bool) -> None:
    check(meta)


def test_a_batch_is_normalized_as_in_training_and_the_network_stays_as_it_is() -> None:
    configuration = make_configuration(2, patch_voxels=[16, 16], network={"name": "unet"})
    layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Upsample(16))
    network = as_list(layers, 2).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    check_answers(network, configuration, (2, 1, 16, 16), 1, [[1, 1]])
    with pytest.raises(PlanError, match="Expected more than 1 value per channel when training"):
        check_answers(network, configuration, (1, 1, 16, 16), 1, [[1, 1]])
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("options", [{"outputs": 3}, {"step": 2}])
def test_answers_of_other_shapes_are_refused(options: Any) -> None:
    with pytest.raises(PlanError, match=r"unet answers a batch of \[2, 1, 16, 16\] .*; expected \[2, 2, 16, 16\]"):
        check(**options)


def test_an_error_is_told_with_its_first_line() -> None:
    with pytest.raises(PlanError, match=r"unet cannot be computed for a patch of \[16, 16\] voxels: KeyError: 'x'"):
        check(error=KeyError("x"))


def test_what_cannot_be_known_without_values_is_left_to_the_first_step() -> None:
    check(error=RuntimeError("Tensor.item() cannot be called on meta tensors"))
