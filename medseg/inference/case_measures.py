"""Put together all measures of an answer: those of its observation, of its label map, and of the scan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from numpy.typing import NDArray

from medseg.confidence.measures import CaseMeasures, Shape, Sureness
from medseg.confidence.scan_measures import scan_measures
from medseg.confidence.shapes import shapes_of
from medseg.core.image import Image
from medseg.inference.observation import Observation
from medseg.inference.volumes import structure_volumes
from medseg.models.model import Model
from medseg.plans.schema import Plan
from medseg.preprocessing.volume import Geometry, Volume

if TYPE_CHECKING:
    from medseg.core.labels import Labels


def case_measures(
    plan: Plan,
    volume: Volume,
    observations: Sequence[Observation],
    answer: Image,
    deep: dict[str, tuple[float, ...]],
) -> CaseMeasures:
    """Return all measures of an answer.

    Args:
        plan: of the model that made it.
        volume: the prepared scan.
        observations: of the answer, one for each configuration that answers.
        answer: its label map (1, z, y, x), on the scan's grid.
        deep: what the deepest layers see of the scan (`deep_measures`).
    """
    return CaseMeasures(
        joined_sureness([observation.sureness() for observation in observations], plan.labels),
        label_shapes(answer, volume.geometry, plan),
        scan_measures(volume.image, volume.geometry.spacing_mm, volume.geometry.cropped_shape),
        deep,
    )


def deep_measures(
    model: Model, volume: Volume, folds: Collection[str], precision: torch.dtype
) -> dict[str, tuple[float, ...]]:
    """Return {fold: means of the channels of its network's deepest layer}; no other thread may use these meanwhile.

    Args:
        model: has the networks.
        volume: the prepared scan.
        folds: whose networks; those that the model does not have are left out.
        precision: in which convolutions are computed.
    """
    from medseg.inference.bottleneck import deepest_channels

    return {
        fold: deepest_channels(network, volume, model.configuration, model.plan.inference, precision)
        for fold, network in zip(model.folds, model.networks, strict=True)
        if fold in folds
    }


def label_shapes(labels: Image, geometry: Geometry, plan: Plan) -> dict[str, Shape]:
    """Return the shape of each structure of a label map.

    Args:
        labels: (1, z, y, x) label values, on the scan's grid.
        geometry: how the scan came to the network's grid; it knows where the scan has values.
        plan: has the structures.
    """
    content: NDArray = geometry.turn(labels.array)[0][geometry.box]
    volumes = structure_volumes(labels, plan.labels, plan.data.dimensions)
    return shapes_of(labels.array[0], labels.affine, content, plan.labels, volumes)


def joined_sureness(members: Sequence[dict[str, Sureness]], labels: Labels) -> dict[str, Sureness]:
    """Return the figures of several configurations as one: means, and intensities as the first one sees them.

    Args:
        members: of each configuration.
        labels: the structures.
    """
    first, *others = members
    if not others:
        return first
    joined = {}
    for name in labels.names:
        parts = [member[name] for member in members]
        agreements = [part.agreement for part in parts if part.agreement is not None]
        joined[name] = replace(
            first[name],
            **{
                figure: sum(getattr(part, figure) for part in parts) / len(parts)
                for figure in ("volume", "expected_volume", "overlap", "doubt", "border")
            },
            agreement=sum(agreements) / len(agreements) if agreements else None,
        )
    return joined
