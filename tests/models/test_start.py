"""What is taken of another model, worked out by hand, and that nothing half fits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_plan, network_values
from nnunet_folders import architecture, configuration, plans, write_model

from medseg.core.errors import ModelError
from medseg.models.matching import Part
from medseg.models.model import Model, make_network
from medseg.models.open import load_model
from medseg.models.start import Start, open_source, start_from
from medseg.plans.schema import Plan

CPU = torch.device("cpu")
TWO = {"structures": {"one": 1, "two": 2}}


def plan_of(channels: tuple[str, ...] = ("MRI",), labels: dict[str, Any] = TWO, **main: Any) -> Plan:
    """A plan whose configuration `main` has these channels."""
    plan = make_plan()
    data = {**plan.data.model_dump(), "channels": list(channels), "folder": f"data of {len(channels)}"}
    main = {"normalization": [{"scheme": "zscore"}] * len(channels), **main}
    return make_plan(configuration=main, data=data, labels=labels, name=f"plan of {len(channels)}")


def network_of(plan: Plan, seed: int) -> torch.nn.Module:
    """Random weights everywhere, so that nothing is equal by accident."""
    torch.manual_seed(seed)
    network = make_network(plan, plan.configuration("main")).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return network


def source_of(plan: Plan, folds: tuple[str, ...] = ("0",)) -> Model:
    return Model(plan, "main", folds, tuple(network_of(plan, 10 + n) for n in range(len(folds))), Path("source"))


def started(plan: Plan, source: Model, fold: str = "0") -> tuple[torch.nn.Module, dict[str, Part], Start]:
    network = network_of(plan, 0)
    start = start_from(network, plan, plan.configuration("main"), source, fold)
    return network, {part.name: part for part in start.parts}, start


def answer(network: torch.nn.Module, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        return network(torch.randn(1, channels, 16, 16, 16, generator=generator))[0]


@pytest.mark.parametrize("name", ["plain_unet", "residual_unet"])
def test_the_same_plan_takes_everything_and_answers_the_same(name: str) -> None:
    plan = plan_of(network=network_values(name=name))
    source = source_of(plan)
    network, parts, start = started(plan, source)
    assert start.share == 1
    assert torch.equal(answer(network), answer(source.networks[0]))
    assert list(parts) == [
        *(["stem"] if name == "residual_unet" else []),
        *("encoder 0", "encoder 1", "encoder 2", "decoder 1", "decoder 0", "heads"),
    ]


def test_a_new_channel_begins_without_effect_and_can_be_learnt() -> None:
    source = source_of(plan_of(("T1",)))
    network, parts, _ = started(plan_of(("FLAIR", "t1")), source)
    assert parts["encoder 0"].weights - parts["encoder 0"].taken == 4 * 27  # features, voxels of a kernel
    assert parts["encoder 0"].detail == "channels: t1 taken; FLAIR new, from zero"
    two = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        # bit for bit: a product with a weight of 0 is 0, and adds nothing in whatever order a kernel sums
        assert torch.equal(network(two)[0], network(two * torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1))[0])
        torch.testing.assert_close(network(two)[0], source.networks[0](two[:, 1:])[0])
    network(two)[0].square().mean().backward()
    assert network.get_parameter("encoder.0.0.conv.weight").grad[:, 0].abs().min() > 0


def test_channels_that_are_gone_are_left_out() -> None:
    source = source_of(plan_of(("T1", "FLAIR")))
    network, parts, _ = started(plan_of(("FLAIR",)), source)
    assert parts["encoder 0"].detail == "channels: FLAIR taken; T1 left out"
    theirs = source.networks[0].get_parameter("encoder.0.0.conv.weight")
    assert torch.equal(network.get_parameter("encoder.0.0.conv.weight")[:, 0], theirs[:, 1])


def test_channels_of_other_names_are_taken_in_order_or_as_their_mean() -> None:
    source = source_of(plan_of(("A", "B")))
    theirs = source.networks[0].get_parameter("encoder.0.0.conv.weight")
    network, parts, _ = started(plan_of(("C", "D")), source)
    assert parts["encoder 0"].detail == "no channel has the same name; in order: C from A, D from B"
    assert torch.equal(network.get_parameter("encoder.0.0.conv.weight"), theirs)
    network, parts, _ = started(plan_of(("C",)), source)
    assert parts["encoder 0"].detail == "no channel has the same name; all start as the mean"
    torch.testing.assert_close(
        network.get_parameter("encoder.0.0.conv.weight")[:, 0], (theirs[:, 0] + theirs[:, 1]) / 2
    )


def test_channels_that_share_a_name_stay_apart() -> None:
    plan = plan_of(("MRI", "MRI"))
    source = source_of(plan)
    network, _, start = started(plan, source)
    assert start.share == 1
    assert torch.equal(answer(network, 2), answer(source.networks[0], 2))


def test_structures_are_matched_by_name() -> None:
    source = source_of(plan_of())  # outputs: background, one, two
    plan = plan_of(labels={"structures": {"new": 1, "two": 5, "one": 9}})
    network, parts, _ = started(plan, source)
    assert parts["heads"].detail == "structures: two, one taken; new new"
    mine, theirs, fresh = answer(network), answer(source.networks[0]), network_of(plan, 0)
    for here, there in ((0, 0), (2, 2), (3, 1)):
        torch.testing.assert_close(
            mine[:, here], theirs[:, there]
        )  # a head of another width may be summed in another order
    for level in (0, 1):
        assert torch.equal(network.heads[level].weight[1], fresh.heads[level].weight[1])
        assert torch.equal(network.heads[level].bias[1], fresh.heads[level].bias[1])
    one, parts, _ = started(plan_of(labels={"structures": {"two": 1}}), source)
    assert parts["heads"].detail == "structures: two taken; one left out"
    torch.testing.assert_close(answer(one), theirs[:, [0, 2]])


def test_between_softmax_and_sigmoid_a_structure_keeps_its_odds_against_the_background() -> None:
    regions = {"structures": {"one": [1], "two": [1, 2]}, "activation": "sigmoid", "region_values": [1, 2]}
    source = source_of(plan_of())
    theirs = answer(source.networks[0])
    network, _, _ = started(plan_of(labels=regions), source)
    torch.testing.assert_close(answer(network), theirs[:, 1:] - theirs[:, :1])
    source = source_of(plan_of(labels=regions))
    theirs = answer(source.networks[0])
    network, _, _ = started(plan_of(), source)
    mine = answer(network)
    torch.testing.assert_close(mine[:, 1:], theirs)
    assert not mine[:, 0].any()


def test_the_first_output_is_taken_only_where_it_means_the_same() -> None:
    """Without a background it stands for what lies beyond an image."""
    scene = {"structures": {"one": 0, "two": 1}, "background": None}
    for of, to in ((scene, scene), (scene, TWO), (TWO, scene)):
        source, plan = source_of(plan_of(labels=of)), plan_of(labels=to)
        (network, _, _), fresh = started(plan, source), network_of(plan, 0)
        expected = source.networks[0] if of is to else fresh
        for level in (0, 1):
            assert torch.equal(network.heads[level].weight[0], expected.heads[level].weight[0])
            assert torch.equal(network.heads[level].weight[1:], source.networks[0].heads[level].weight[1:])
    regions = {"structures": {"one": [1], "two": [1, 2]}, "activation": "sigmoid", "region_values": [1, 2]}
    source = source_of(plan_of(labels=scene))
    network, _, _ = started(plan_of(labels=regions), source)
    torch.testing.assert_close(answer(network), answer(source.networks[0])[:, 1:])


def test_without_a_common_structure_the_heads_stay_fresh() -> None:
    plan = plan_of(labels={"structures": {"other": 1}})
    network, parts, _ = started(plan, source_of(plan_of()))
    assert (parts["heads"].taken, parts["heads"].detail) == (0, "no structure has the same name")
    assert torch.equal(network.heads[1].weight, network_of(plan, 0).heads[1].weight)


def test_a_block_that_does_not_fit_is_fresh_as_a_whole_and_so_is_what_depends_on_it() -> None:
    kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    plan, source = plan_of(network=network_values(kernels=kernels)), source_of(plan_of())
    network, parts, _ = started(plan, source)
    fresh, theirs = network_of(plan, 0).state_dict(), source.networks[0].state_dict()
    assert parts["encoder 0"].detail == "its kernel is 3x3x3, here 1x3x3"
    assert parts["decoder 0"].detail == "its kernel is 3x3x3, here 1x3x3"
    taken = {name for name in ("encoder 1", "encoder 2", "decoder 1") if parts[name].taken == parts[name].weights}
    assert len(taken) == 3
    for name, value in network.state_dict().items():
        begins = ("encoder.0", "decoder.1", "heads.1")  # of the full resolution; up.1 fits and stays
        expected = fresh if name.startswith(begins) else theirs
        assert torch.equal(value, expected[name]), name


def test_networks_of_another_depth_share_the_finer_stages() -> None:
    deep = network_values(stages=4)
    _, parts, _ = started(plan_of(), source_of(plan_of(network=deep)))
    assert all(part.taken == part.weights for part in parts.values())
    _, parts, _ = started(plan_of(network=deep), source_of(plan_of()))
    missing = {name: part.detail for name, part in parts.items() if not part.taken}
    assert missing == {"encoder 3": "the source has none", "decoder 2": "the source has none"}


def test_further_residual_blocks_start_as_nothing() -> None:
    more = network_values(name="residual_unet", blocks=[1, 2, 2])
    source = source_of(plan_of(network=network_values(name="residual_unet")))
    plan = plan_of(network=more)
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main")).eval()
    start = start_from(network, plan, plan.configuration("main"), source)
    assert {part.name: part.detail for part in start.parts}["encoder 1"] == "the source has 1 of 2 blocks"
    # a fresh block adds nothing to its shortcut, so that the answer stays close
    torch.testing.assert_close(answer(network), answer(source.networks[0]), rtol=0.2, atol=0.2)


def test_other_strides_are_told() -> None:
    plan = plan_of(network=network_values(strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]]))
    _, parts, _ = started(plan, source_of(plan_of()))
    assert parts["encoder 1"].detail == "its stride was 2x2x2, here 1x2x2"
    assert parts["encoder 1"].taken == parts["encoder 1"].weights
    assert parts["decoder 0"].detail == "its kernel is 2x2x2, here 1x2x2"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"network": network_values(features=[6, 12, 24])}, "its features are 6x1, here 4x1"),
        ({"network": network_values(name="residual_unet")}, "its layers are of another kind"),
    ],
)
def test_what_does_not_fit_at_all_is_refused(other: dict[str, Any], why: str) -> None:
    with pytest.raises(ModelError, match=r"do not fit this network: 0.0%") as caught:
        started(plan_of(), source_of(plan_of(**other)))
    assert why in caught.value.message


def test_the_same_fold_is_preferred_and_another_may_have_seen_the_cases() -> None:
    plan = plan_of()
    source = source_of(plan, ("0", "1"))
    network, _, start = started(plan, source, fold="1")
    assert start.fold == "1"
    assert torch.equal(answer(network), answer(source.networks[1]))
    assert not start.notes
    _, _, start = started(plan, source, fold="3")
    assert start.fold == "0"
    assert "may have seen validation cases of fold 3" in start.notes[0]
    assert not started(plan, source, fold="all")[2].notes


def test_other_intensities_and_voxels_are_told() -> None:
    source = source_of(plan_of(spacing_mm=[1.0, 1.0, 1.0]))
    plan = plan_of(spacing_mm=[1.0, 1.0, 2.0], normalization=[{"scheme": "none"}])
    _, _, start = started(plan, source)
    assert any("voxels are 1 x 1 x 1 mm, here 1 x 1 x 2 mm" in note for note in start.notes)
    assert any("MRI was normalized by zscore, here by none" in note for note in start.notes)
    assert not started(plan_of(spacing_mm=[1.0, 1.0, 1.2]), source)[2].notes


def test_nnunet_models_and_their_checkpoints_are_sources(tmp_path: Path) -> None:
    wide = configuration(architecture=architecture(residual=True))
    folder = write_model(tmp_path, plan=plans({"3d_fullres": wide}), folds=["0", "1"])
    model = load_model(folder, CPU)
    sources = {path: open_source(path) for path in (folder, folder / "fold_1" / "checkpoint_final.pth")}
    for number, source in enumerate(sources.values()):
        network = make_network(model.plan, model.configuration).eval()
        start = start_from(network, model.plan, model.configuration, source)
        assert (start.share, start.fold) == (1, str(number))
        assert torch.equal(answer(network), answer(model.networks[number]))


def test_a_checkpoint_alone_does_not_say_what_it_is(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    alone = (folder / "fold_0" / "checkpoint_final.pth").rename(tmp_path / "checkpoint_final.pth")
    with pytest.raises(ModelError, match="does not say what network"):
        open_source(alone)
    with pytest.raises(ModelError, match="no model"):
        open_source(tmp_path / "nothing.pth")


def test_other_networks_bring_the_statistics_of_their_batch_normalization() -> None:
    arguments = {"channels": [4, 8], "strides": [2]}
    plan = plan_of(network={"name": "attention_unet", "arguments": arguments})
    source = source_of(plan)
    source.networks[0].train()(torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(5)))
    source.networks[0].eval()
    network, _, start = started(plan, source)
    assert start.share == 1
    torch.testing.assert_close(answer(network), answer(source.networks[0]), rtol=0, atol=0)
