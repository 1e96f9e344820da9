"""Maps beside the labels, when asked for: probabilities, doubt, and how much folds and mirrored copies differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.progress import Callback
from medseg.delivery.answers.options import Maps
from medseg.inference.predictor import Predictor
from medseg.io.formats.nifti_stream import writing_planes
from medseg.preprocessing.maps import entropy, map_sink, probabilities
from medseg.preprocessing.restore import Sink, stream_maps
from medseg.preprocessing.volume import Geometry, Volume

_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


def map_files(maps: Maps, case: Case, output: Path, labels: Labels) -> list[Path]:
    """Every map of a case."""
    folders = [kind for kind, asked in (("mean", maps.spread), ("spread", maps.spread)) if asked]
    wanted = ["probabilities"] * maps.probabilities + folders
    files = [path for kind in wanted for path in _of_structures(case, output / kind, labels)]
    return files + [_of_case(case, output / "entropy")] * maps.entropy


def map_sinks(
    maps: Maps, stack: ExitStack, case: Case, grid: Image, geometry: Geometry, output: Path, labels: Labels
) -> list[Sink]:
    """What takes the interpolated logits of a case; its files are there when the stack is closed."""
    sink = partial(_sink, stack, case, grid, geometry)
    found = []
    if maps.probabilities:
        found.append(sink(probabilities(labels), _of_structures(case, output / "probabilities", labels)))
    if maps.entropy:
        # where nothing was looked at, the answer is certain: background
        found.append(sink(entropy(labels), [_of_case(case, output / "entropy")]))
    return found


def write_spread(
    predictor: Predictor, volume: Volume, case: Case, grid: Image, output: Path, callback: Callback
) -> None:
    """Write mean and spread of each structure's probability.

    Raises:
        PlanError: one network without mirrored copies has no spread.
    """
    labels = predictor.model.plan.labels
    files = [path for kind in ("mean", "spread") for path in _of_structures(case, output / kind, labels)]
    with ExitStack() as stack:
        sink = _sink(stack, case, grid, volume.geometry, lambda values: values.clamp(0, 1), files)
        stream_maps(predictor.uncertainty(volume, callback), volume.geometry, predictor.configuration, [sink])


def _sink(
    stack: ExitStack,
    case: Case,
    grid: Image,
    geometry: Geometry,
    transform: Callable[[torch.Tensor], torch.Tensor],
    files: Sequence[Path],
) -> Sink:
    z, y, x = geometry.turned_shape
    turn: Callable[[NDArray], NDArray] = geometry.stored
    writes = [
        stack.enter_context(writing_planes(file, grid, case.channels[0], ((z, y, x), turn), largest=1.0))
        for file in files
    ]
    return map_sink(geometry, transform, writes)


def _of_case(case: Case, folder: Path) -> Path:
    return folder / f"{case.id}.nii.gz"


def _of_structures(case: Case, folder: Path, labels: Labels) -> list[Path]:
    """A file for each structure, in their order; names that could not be files' are changed, and stay apart."""
    names: list[str] = []
    for structure in labels.names:
        name = _NOT_IN_NAMES.sub("_", structure)
        while name.lower() in {other.lower() for other in names}:
            name += "_"
        names.append(name)
    return [folder / case.id / f"{name}.nii.gz" for name in names]
