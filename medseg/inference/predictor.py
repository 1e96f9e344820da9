"""A trained model that stays loaded: image in, labels on its grid out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medseg.image import Image
from medseg.inference.sliding import predict_logits
from medseg.models.run import Model, NetworkFactory, load_model
from medseg.networks.device import choose_device, choose_precision, memory_errors
from medseg.preprocessing.volume import prepare, restore

_LESS_MEMORY = "Lower inference.tile_batch (--set inference.tile_batch=1), or crop the scan."


class Predictor:
    """Segments images with a model; from one thread at a time.

    Example:
        >>> predictor = Predictor.load("runs/hippocampus/3d_fullres")       # doctest: +SKIP
        >>> labels = predictor(medseg.read_image("scan.nii.gz"))            # doctest: +SKIP
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.configuration = model.configuration
        self.precision = choose_precision(model.plan.inference.precision, device)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        folds: Sequence[str] | None = None,
        overrides: list[str] | None = None,
        factory: NetworkFactory | None = None,
    ) -> Predictor:
        """Load the folds of a model folder (all that are trained, unless named).

        Raises:
            ModelError, PlanError: the model or an override (`inference.mirror=false`) is not valid.
        """
        chosen = choose_device(device)
        return cls(load_model(Path(folder), chosen, folds, overrides, factory), chosen)

    def __call__(self, image: Image) -> Image:
        """Labels (1, z, y, x), in the values that the training labels had, on the grid of `image`.

        Raises:
            DataError: the image does not suit the model.
        """
        plan = self.model.plan
        volume = prepare(image, plan, self.configuration)
        scan = torch.from_numpy(volume.image)
        with memory_errors(_LESS_MEMORY):
            logits = predict_logits(self.model.networks, scan, self.configuration, plan.inference, self.precision)
            answer = restore(logits, volume.geometry, plan.labels, self.configuration)
        return image.with_array(answer[None])

    def volumes(self, labels: Image) -> dict[str, float]:
        """Volume of each structure of an answer: ml, or voxels (pixels) where the spacing is unknown."""
        counts = dict(zip(*np.unique(labels.array, return_counts=True), strict=True))
        unit = labels.voxel_volume_ml or 1.0
        members = self.model.plan.labels.members
        return {name: float(sum(counts.get(value, 0) for value in values)) * unit for name, values in members.items()}
