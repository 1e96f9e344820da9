"""One contract over every row of the table of networks: steps, tiles, packages and frozen parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from builders import INFERENCE, make_training
from tiny_networks import VARIANTS, plan_of, row_of, rows, some_network

from medseg.core.errors import PlanError
from medseg.inference.window_pass import predict_logits
from medseg.models.model import Model, make_network
from medseg.models.open import load_model
from medseg.models.package.write import save_package
from medseg.networks.anatomy import count_parameters, on_meta, stages, training_bytes
from medseg.networks.device import evaluating
from medseg.networks.table import supervision_scales
from medseg.plans.sections.inference import Inference
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.step.optimizer import make_optimizer

CPU = torch.device("cpu")
EVERY = pytest.mark.parametrize(("name", "dimensions"), [*rows(2), *rows(3)])


@EVERY
def test_a_step(name: str, dimensions: int) -> None:
    """Answers have the shapes that the network says; the loss reaches its weights; bf16 stays near."""
    plan = plan_of(name, dimensions)
    configuration = plan.configuration("main")
    network = some_network(plan).train()
    loss = DeepSupervision.of(network, plan, configuration)
    assert list(loss.scales[0]) == [1] * dimensions
    image = torch.randn(2, 1, *configuration.patch_voxels)
    target = torch.randint(0, 3, (2, *configuration.patch_voxels), dtype=torch.int16)
    answers = network(image, len(loss.scales))
    for answer, scale in zip(answers, loss.scales, strict=True):
        size = [length // step for length, step in zip(configuration.patch_voxels, scale, strict=True)]
        assert list(answer.shape) == [2, 3, *size]
    loss(answers, target).backward()
    gradients = {key: value.grad for key, value in network.named_parameters() if value.grad is not None}
    assert len(gradients) > 0.5 * len(list(network.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    with evaluating(network):
        (exact,) = network(image)
        assert len(network(image, len(loss.scales))) == len(loss.scales)  # however many are asked for
        with torch.autocast("cpu", torch.bfloat16):
            (rough,) = network(image)
    # bf16 has 8 binary digits: a few hundredths after some ten layers. Over all voxels, as unpooling puts a few of them
    # elsewhere where rounding makes two voxels change places
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.1


@EVERY
def test_statistics_follow_the_weights_within_tens_of_steps(name: str, dimensions: int) -> None:
    """Else a short run answers by the statistics of random weights, and a network that has learnt answers nothing."""
    plan = plan_of(name, dimensions)
    network = on_meta(partial(make_network, plan, plan.configuration("main")))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert [module for module in norms if module.momentum is not None and module.momentum < 0.1] == []


@pytest.mark.parametrize(("name", "dimensions"), rows(2))
def test_its_stages_add_up_to_the_network(name: str, dimensions: int) -> None:
    plan = plan_of(name, dimensions)
    configuration = plan.configuration("main")
    network = on_meta(partial(make_network, plan, configuration))
    levels = len(supervision_scales(network, dimensions, True))
    if name not in VARIANTS:
        assert row_of(name).deep_supervision == (levels > 1)
    parts = stages(network, (1, *configuration.patch_voxels), levels)
    assert sum(part.parameters for part in parts) == count_parameters(network)
    assert 3 in {part.shape[0] for part in parts if part.shape}  # the head's outputs
    two, six = (training_bytes(network, (batch, 1, *configuration.patch_voxels), levels, "sgd") for batch in (2, 6))
    weights = 4 * 3 * count_parameters(network)  # with their gradients and momentum
    assert weights < two < six
    # what is kept for each sample grows with the batch; statistics of batch normalization do not
    assert six - weights == pytest.approx(3 * (two - weights), rel=0.1)


@EVERY
def test_any_size_is_padded_to_tiles_and_cropped_back(name: str, dimensions: int) -> None:
    plan = plan_of(name, dimensions)
    configuration = plan.configuration("main")
    network = some_network(plan).eval()
    inference = Inference.model_validate(INFERENCE)
    patch = configuration.patch_voxels
    sizes = [[size // 2 + 1 for size in patch], [size + 5 for size in patch]]
    for shape in sizes if dimensions == 2 else sizes[:1]:
        volume = shape if dimensions == 3 else [2, *shape]
        logits = predict_logits([network], torch.randn(1, *volume), configuration, inference, torch.float32, 3)
        assert list(logits.shape) == [3, *volume]
        assert bool(torch.as_tensor(logits).isfinite().all())


@EVERY
def test_a_package_answers_as_the_network(tmp_path: Path, name: str, dimensions: int) -> None:
    plan = plan_of(name, dimensions)
    network = some_network(plan)
    image = torch.randn(1, 1, *plan.configuration("main").patch_voxels)
    network.train()(image.repeat(2, *[1] * (dimensions + 1)))  # statistics of batch normalization are part of it
    network.eval()
    save_package(Model(plan, "main", ("0",), (network,), tmp_path), tmp_path / "model.medseg", "")
    loaded = load_model(tmp_path / "model.medseg", CPU).networks[0]
    with torch.no_grad():
        assert torch.equal(loaded(image)[0], network(image)[0])


@EVERY
def test_a_frozen_encoder_stays_and_the_rest_learns(name: str, dimensions: int) -> None:
    plan = plan_of(name, dimensions)
    network = some_network(plan).train()
    frozen = make_training(encoder_learning_rate=0.0, learning_rate=0.01)
    if not row_of(name).encoder:  # stages nested in each other, or all of one resolution
        with pytest.raises(PlanError, match="this network has no part named encoder"):
            make_optimizer(network, frozen)
        return
    optimizer = make_optimizer(network, frozen)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image = torch.randn(2, 1, *plan.configuration("main").patch_voxels)
    sum(
        answer.square().mean() for answer in network(image, len(supervision_scales(network, dimensions, True)))
    ).backward()
    optimizer.step()
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    parts = row_of(name).encoder
    inside = {key for key in before if key.removeprefix("network.").split(".")[0] in parts}
    assert inside
    assert changed
    assert not changed & inside
