"""Maps beside the labels, when asked for: probabilities, entropy, and the spread over folds and mirrored copies.

What computes and writes maps is imported where it is used: most predictions write none, and the names of the files
(`map_files`) must be known beforehand in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.names import file_name_for
from medseg.core.progress import Callback
from medseg.delivery.answers.options import Maps

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from medseg.confidence.scaling import Scaling
    from medseg.inference.predictor import Predictor
    from medseg.preprocessing.restore import Sink
    from medseg.preprocessing.volume import Geometry, Volume


def map_files(maps: Maps, case: Case, output: Path, labels: Labels) -> list[Path]:
    """Return the path of every map of a case.

    Args:
        maps: which maps are written.
        case: the case.
        output: folder of the answers.
        labels: their structures.
    """
    kinds = ["probabilities"] * maps.probabilities + ["mean", "spread"] * maps.spread
    files = [path for kind in kinds for path in _structure_files(case, output / kind, labels)]
    return [*files, _entropy_file(case, output)] if maps.entropy else files


def open_sinks(
    maps: Maps,
    stack: ExitStack,
    case: Case,
    grid: Image,
    geometry: Geometry,
    output: Path,
    labels: Labels,
    scaling: Scaling | None = None,
) -> list[Sink]:
    """Return sinks that take the interpolated logits of a case and write probabilities and entropy.

    Args:
        maps: which maps are written.
        stack: the files are complete when it is closed.
        case: the case.
        grid: an image on the scan's grid.
        geometry: how the scan came to the network's grid.
        output: folder of the answers.
        labels: their structures.
        scaling: of calibrated probabilities (`medseg.confidence.scaling`); None for the network's own.
    """
    if not (maps.probabilities or maps.entropy):
        return []
    from medseg.preprocessing.maps import entropy, probabilities

    to_probabilities, to_entropy = probabilities(labels), entropy(labels)
    if scaling is not None:
        to_probabilities, to_entropy = (scaling.before(transform) for transform in (to_probabilities, to_entropy))
    sink, sinks = partial(_open_sink, stack, case, grid, geometry), []
    if maps.probabilities:
        sinks.append(sink(to_probabilities, _structure_files(case, output / "probabilities", labels)))
    if maps.entropy:  # 0 outside the nonzero box, where the network sees nothing: background is certain there
        sinks.append(sink(to_entropy, [_entropy_file(case, output)]))
    return sinks


def write_spread(
    predictor: Predictor, volume: Volume, case: Case, grid: Image, output: Path, callback: Callback
) -> None:
    """Predict and write mean and spread.

    Args:
        predictor: the model.
        volume: the prepared scan.
        case: the case.
        grid: an image on the scan's grid.
        output: folder of the answers.
        callback: receives progress; may raise `Cancelled`.

    Raises:
        PlanError: there is one fold and no mirrored copy, so nothing to take a spread over.
    """
    labels = predictor.model.plan.labels
    files = [path for kind in ("mean", "spread") for path in _structure_files(case, output / kind, labels)]
    with ExitStack() as stack:
        sink = _open_sink(stack, case, grid, volume.geometry, lambda values: values.clamp(0, 1), files)
        predictor.spread(volume, [sink], callback)


def _open_sink(
    stack: ExitStack,
    case: Case,
    grid: Image,
    geometry: Geometry,
    transform: Callable[[torch.Tensor], torch.Tensor],
    files: Sequence[Path],
) -> Sink:
    """Open the files, and return the sink that writes each channel of `transform(logits)` to one of them."""
    from medseg.io.formats.nifti_stream import writing_planes
    from medseg.preprocessing.maps import map_sink

    z, y, x = geometry.turned_shape
    turn: Callable[[NDArray], NDArray] = geometry.stored
    writes = [
        stack.enter_context(writing_planes(file, grid, case.channels[0], ((z, y, x), turn), largest=1.0))
        for file in files
    ]
    return map_sink(geometry, transform, writes)


def _entropy_file(case: Case, output: Path) -> Path:
    return output / "entropy" / f"{case.id}.nii.gz"


def _structure_files(case: Case, folder: Path, labels: Labels) -> list[Path]:
    """Return a file for each structure, in their order.

    Characters that file names cannot hold are replaced; names that are then equal (also for file systems that ignore
    case) get `_` appended.
    """
    names: list[str] = []
    for structure in labels.names:
        name = file_name_for(structure)
        while name.lower() in {other.lower() for other in names}:
            name += "_"
        names.append(name)
    return [folder / case.id / f"{name}.nii.gz" for name in names]
