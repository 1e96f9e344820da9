"""Filters that work along each axis by itself, as matrices (size, size) to multiply an image with along the axis."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

_BLUR_SIGMAS = 3
"""Radius of the blur, in standard deviations; less than 0.3 % of the Gaussian lies beyond."""


def blur(size: int, sigma: float) -> Matrix:
    """Return a Gaussian blur, mirrored at the ends of the axis.

    Args:
        size: voxels along the axis.
        sigma: standard deviation in voxels.
    """
    radius = ceil(_BLUR_SIGMAS * sigma)
    if size == 1 or radius == 0:
        return np.eye(size, dtype=np.float32)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    period = 2 * size - 2  # there and back again, the ends counted once
    read = np.abs(np.arange(size)[:, None] + offsets) % period
    mirrored = np.minimum(read, period - read)
    matrix = np.zeros((size, size), np.float32)
    np.add.at(matrix, (np.arange(size)[:, None], mirrored), weights / weights.sum())
    return matrix


def low_resolution(size: int, zoom: float, mirrored: bool = False) -> Matrix:
    """Return the loss of detail by nearest neighbour down and linear interpolation up again, voxels taken as cells.

    Args:
        size: voxels along the axis.
        zoom: lower resolution, as a share of the full one.
        mirrored: for an axis that was reversed already: the effect is that of reversing it afterwards.
    """
    coarse = max(1, round(size * zoom))
    nearest = np.minimum(np.floor((np.arange(coarse) + 0.5) * size / coarse).astype(int), size - 1)
    position = np.clip((np.arange(size) + 0.5) * coarse / size - 0.5, 0, coarse - 1)
    lower = np.minimum(position.astype(int), max(coarse - 2, 0))
    upper = np.minimum(lower + 1, coarse - 1)
    matrix = np.zeros((size, size), np.float32)
    np.add.at(matrix, (np.arange(size), nearest[lower]), 1 - (position - lower))
    np.add.at(matrix, (np.arange(size), nearest[upper]), position - lower)
    return np.ascontiguousarray(matrix[::-1, ::-1]) if mirrored else matrix


def along_axes(images: torch.Tensor, *matrices: torch.Tensor) -> torch.Tensor:
    """Multiply each image along each of its axes with a matrix of its own.

    Args:
        images: (number, ...).
        matrices: (number, size, size) for each axis.

    Returns:
        The filtered images, in the shape of `images`.
    """
    for axis, matrix in enumerate(matrices, start=1):
        shape = images.shape
        # three ways to say one product: each needs no transposed copy of the images
        if axis == images.ndim - 1:
            images = torch.bmm(images.flatten(1, -2), matrix.mT)
        elif axis == 1:
            images = torch.bmm(matrix, images.flatten(2))
        else:
            images = torch.matmul(matrix[:, None], images)
        images = images.view(shape)
    return images
