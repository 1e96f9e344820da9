"""MONAI's networks with deep supervision, evaluated part by part.

MONAI itself answers coarser resolutions in training only, or enlarges them all. These modules answer as many as they
are asked for, in training and in prediction; the parameters lie in MONAI's own modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import nn

from medseg.plans.network_rules import anisotropic_scales


class _Supervised(nn.Module):
    """A network of MONAI's, evaluated part by part.

    Args:
        network: MONAI's.
        scales: how much coarser than the image each answer is, per axis, the full resolution first.
    """

    def __init__(self, network: Any, scales: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.network = network
        self.supervision_scales = [list(scale) for scale in scales]


class DynUNetLevels(_Supervised):
    """DynUNet's decoder levels; MONAI itself brings them all to the full resolution."""

    def __init__(self, network: Any) -> None:
        dimensions = network.spatial_dims
        strides = [[step] * dimensions if isinstance(step, int) else step for step in network.strides]
        count = 1 + network.deep_supr_num if network.deep_supervision else 1
        super().__init__(network, [[prod(axis) for axis in zip(*strides[: k + 1], strict=True)] for k in range(count)])
        del network.skip_layers  # the same modules again, under other names

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the `levels` finest answers to an image (batch, channel, ...)."""
        network: Any = self.network
        skips = [network.input_block(x)]
        for stage in network.downsamples:
            skips.append(stage(skips[-1]))
        x = network.bottleneck(skips[-1])
        answers = []
        for level, up in zip(reversed(range(len(skips))), network.upsamples, strict=True):
            x = up(x, skips[level])
            if level < levels:
                head = network.deep_supervision_heads[level - 1] if level else network.output_block
                answers.append(head(x))
        return answers[::-1]


class SegResNetLevels(_Supervised):
    """The decoder levels of SegResNetDS; MONAI itself answers the finest one only outside of training."""

    def __init__(self, network: Any) -> None:
        dimensions, stages = network.spatial_dims, len(network.blocks_down)
        steps = anisotropic_scales(network.resolution or (), stages) or [[2] * dimensions] * stages
        scales = [[prod(axis) for axis in zip([1] * dimensions, *steps[:k], strict=True)] for k in range(stages - 1)]
        super().__init__(network, scales[: network.dsdepth] or [[1] * dimensions])

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the `levels` finest answers to an image (batch, channel, ...)."""
        network: Any = self.network
        *skips, x = network.encoder(x)
        answers = []
        for level, up in zip(reversed(range(len(network.up_layers))), network.up_layers, strict=True):
            x = up["upsample"](x)
            x = up["blocks"](x + skips[level] if skips else x)
            if level < levels:
                answers.append(up["head"](x))
        return answers[::-1]


class MedNeXtLevels(_Supervised):
    """The levels of MedNeXt, the bottleneck too; MONAI itself answers the finest one only outside of training."""

    def __init__(self, network: Any) -> None:
        dimensions = network.stem.weight.ndim - 2
        count = 1 + len(network.out_blocks) if network.do_ds else 1
        super().__init__(network, [[2**level] * dimensions for level in range(count)])

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the `levels` finest answers to an image (batch, channel, ...)."""
        network: Any = self.network
        x, skips = network.stem(x), []
        for stage, down in zip(network.enc_stages, network.down_blocks, strict=True):
            skips.append(stage(x))
            x = down(skips[-1])
        x, answers = network.bottleneck(x), []
        for number, (up, stage) in enumerate(zip(network.up_blocks, network.dec_stages, strict=True)):
            if len(skips) - number < levels:
                answers.append(network.out_blocks[number](x))
            x = stage(up(x) + skips[-1 - number])
        return [network.out_0(x), *answers[::-1]]


class UNetPlusPlusLevels(_Supervised):
    """The four answers of UNet++, all of full resolution; that of the deepest nodes first.

    Args:
        network: MONAI's BasicUNetPlusPlus.
        prune: the answer to predict with, 1 to 4: nodes that it does not need are left out (Zhou et al. 2020, section
            3.3). Training sees them all.
    """

    def __init__(self, network: Any, prune: int) -> None:
        dimensions = network.final_conv_0_4.weight.ndim - 2
        super().__init__(network, [[1] * dimensions] * (4 if network.deep_supervision else 1))
        self.prune = prune

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the first `levels` answers to an image (batch, channel, ...)."""
        network: Any = self.network
        depth = self.prune if not self.training and levels == 1 else 4
        nodes: list[list[torch.Tensor]] = []  # nodes[level]: the nodes of a resolution, from left to right
        for level in range(depth + 1):
            nodes.append([getattr(network, f"conv_{level}_0")(nodes[-1][0] if nodes else x)])
            for column in range(1, level + 1):
                row = level - column
                up = getattr(network, f"upcat_{row}_{column}")
                nodes[row].append(up(nodes[row + 1][-1], torch.cat(nodes[row], dim=1)))
        return [getattr(network, f"final_conv_0_{k}")(nodes[0][k]) for k in range(depth, depth - levels, -1)]
