"""Several configurations that answer together: blocks are aligned, probabilities averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from medseg.core.labels import Labels
from medseg.core.progress import Progress
from medseg.inference.joined import aligned, averaged_logits, joint_progress, pooled_spread

SOFTMAX = Labels(structures={"one": 1, "two": 2})
REGIONS = Labels(structures={"all": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])
SCENE = Labels(structures={"sky": 0, "road": 1}, background=None)


def blocks(values: torch.Tensor, sizes: Sequence[int]) -> Iterator[tuple[range, torch.Tensor]]:
    """`values` (maps, planes, y, x) in blocks of some numbers of planes."""
    start = 0
    for size in sizes:
        yield range(start, start + size), values[:, start : start + size]
        start += size


def test_blocks_of_any_sizes_meet() -> None:
    values = torch.arange(6.0).reshape(1, 6, 1, 1)
    met = list(aligned([blocks(values, [4, 2]), blocks(-values, [1, 2, 3])]))
    assert [planes for planes, _ in met] == [range(0, 1), range(1, 3), range(3, 4), range(4, 6)]
    for planes, (first, second) in met:
        assert first.flatten().tolist() == [float(plane) for plane in planes]
        assert torch.equal(first, -second)


def test_other_numbers_of_planes_are_refused() -> None:
    values = torch.zeros(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more planes"):
        list(aligned([blocks(values, [3]), blocks(values, [2])]))


@pytest.mark.parametrize("labels", [SOFTMAX, REGIONS, SCENE], ids=["softmax", "regions", "no background"])
def test_probabilities_are_averaged(labels: Labels) -> None:
    torch.manual_seed(0)
    first, second = (3 * torch.randn(labels.outputs, 4, 5, 6) for _ in range(2))
    mean = torch.cat([logits for _, logits in averaged_logits([blocks(first, [4]), blocks(second, [1, 3])], labels)], 1)
    expected = (labels.probabilities(first) + labels.probabilities(second)) / 2
    assert torch.allclose(labels.probabilities(mean), expected, atol=1e-6)
    alone = torch.cat([logits for _, logits in averaged_logits([blocks(first, [4])], labels)], 1)
    assert torch.equal(labels.choose(alone), labels.choose(first))


def test_one_voxel_by_hand() -> None:
    # background 0.6 and 0.1, one 0.4 and 0.9: their means are 0.35 and 0.65
    labels = Labels(structures={"one": 1})
    members = [blocks(torch.tensor([a, b]).log().reshape(2, 1, 1, 1), [1]) for a, b in ((0.6, 0.4), (0.1, 0.9))]
    [(_, logits)] = averaged_logits(members, labels)
    assert labels.probabilities(logits).item() == pytest.approx(0.65)
    assert labels.choose(logits).item() == 1


def test_the_spread_of_a_mixture() -> None:
    # means 0.2 and 0.6, spreads 0.1 and 0.3: mean 0.4, variance (0.01 + 0.09) / 2 + 0.04
    members = [blocks(torch.tensor(pair).reshape(2, 1, 1, 1), [1]) for pair in ((0.2, 0.1), (0.6, 0.3))]
    [(_, values)] = pooled_spread(members, 1)
    assert values.flatten().tolist() == pytest.approx([0.4, 0.3])


def test_progress_is_that_of_all() -> None:
    events: list[Progress] = []
    first, second = joint_progress(events.append, "tiles", 2)
    first(Progress("tiles", 1, 2))
    second(Progress("tiles", 3, 3))
    first(Progress("tiles", 2, 2))
    assert [event.done / event.total for event in events] == [0.25, 0.75, 1.0]
