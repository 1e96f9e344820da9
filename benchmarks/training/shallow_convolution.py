"""Look for wrong gradients of convolutions in bf16 on this processor: torch's against float32, shape by shape.

    OMP_NUM_THREADS=1 python benchmarks/training/shallow_convolution.py

Each shape is tried in a process of its own, since a wrong one may end it. Printed are shapes whose gradient of the
weights differs from float32 by more than 5 % (bf16 itself: 0.3 %).
"""

from __future__ import annotations

import os
from itertools import product
from typing import Any

import torch
from torch import nn

MOST = 0.05


def error(size: tuple[int, ...], kernel: int, groups: int, last: bool) -> float:
    """Return the relative error of the gradient of the weights; `last` puts the channels of a voxel side by side."""
    torch.manual_seed(0)
    convolution = nn.Conv3d if len(size) == 3 else nn.Conv2d
    layer, image = convolution(32, 32, kernel, padding=kernel // 2, groups=groups), torch.randn(2, 32, *size)
    if last:
        layout = torch.channels_last_3d if len(size) == 3 else torch.channels_last
        layer, image = layer.to(memory_format=layout), image.to(memory_format=layout)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            answer = layer(image)
        answer.float().square().sum().backward()
        gradients.append(layer.weight.grad.clone())
    return float((gradients[1] - gradients[0]).norm() / gradients[0].norm())


def is_wrong(*case: Any) -> bool:
    """Return whether the gradient is wrong, or the process that computes it dies."""
    child = os.fork()
    if child == 0:
        os._exit(0 if error(*case) < MOST else 1)
    return os.waitpid(child, 0)[1] != 0


def main() -> None:
    """Try shapes of both dimensions, kernels of 3, 5 and 7."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    lengths = (1, 2, 3, 4, 6, 8)
    sizes = [*product(lengths, (2, 8), (2, 8)), *product(lengths, (2, 8))]
    for size, kernel, groups, last in product(sizes, (3, 5, 7), (1, 32), (False, True)):
        if is_wrong(size, kernel, groups, last):
            layout = "channels last" if last else "channels first"
            print(f"wrong: image {size}, kernel {kernel}, {groups} groups, {layout}", flush=True)


if __name__ == "__main__":
    main()
