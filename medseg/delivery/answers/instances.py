"""Instance maps, when asked for: the number of the object that each voxel belongs to, and a table of the objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.csv_text import csv_text
from medseg.core.errors import PlanError
from medseg.core.files import write_text
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.numbered_objects import number_objects
from medseg.core.wording import first_few
from medseg.io.formats.table import answer_suffix
from medseg.io.images import write_label

if TYPE_CHECKING:
    import torch

    from medseg.confidence.scaling import Scaling
    from medseg.preprocessing.restore import Sink
    from medseg.preprocessing.volume import Geometry

FOLDER, TABLE = "instances", "instances.csv"
"""Folder of the maps and of a table for each case, and the table of all cases, in the folder of the answers."""
_AXES = "xyz"
COLUMNS = (
    *("case", "id", "structure", "voxels", "size", "unit"),
    *(f"centre_{axis}" for axis in _AXES),
    *(f"{end}_{axis}" for axis in _AXES for end in ("first", "last")),
    "mean_probability",
)


@dataclass(frozen=True)
class Instances:
    """Whether instance maps are written, and how objects are told apart.

    Attributes:
        wanted: whether to write them.
        boundaries: {value of a structure: value of its boundary} of a model that knows boundaries.
        suffix: of the maps; None for that of the answer to each scan.
    """

    wanted: bool = False
    boundaries: Mapping[int, int] | None = None
    suffix: str | None = None

    def files(self, case: Case, output: Path) -> list[Path]:
        """Return the instance map of a case and its table; [] where they are not wanted.

        Args:
            case: the case.
            output: folder of the answers.
        """
        folder = output / FOLDER
        suffix = answer_suffix(case.channels[0]) if self.suffix is None else self.suffix
        named = [folder / f"{case.id}{suffix}", folder / f"{case.id}.csv"]
        return named if self.wanted else []

    def check(self, labels: Labels) -> None:
        """Refuse instances of structures that overlap: a voxel of a label map has the number of one object alone.

        Args:
            labels: the structures.

        Raises:
            PlanError: two of them share a value.
        """
        values = [value for members in labels.members.values() for value in members]
        if self.wanted and len({*values}) < len(values):
            raise PlanError(
                f"--instances numbers objects of structures that exclude each other, and {first_few(labels.names)} "
                "overlap.",
                "Leave it out: `medseg evaluate --instances` scores the objects of each structure.",
            )

    def write(
        self, case: Case, answer: Image, probability: NDArray[np.float32], output: Path, labels: Labels
    ) -> list[Path]:
        """Write the instance map of a case and its table.

        Args:
            case: the case.
            answer: label values (1, z, y, x) on the scan's grid.
            probability: (z, y, x), that of the answer at each voxel.
            output: folder of the answers.
            labels: the structures.

        Returns:
            The files, the map and the table first.

        Raises:
            DataError: the format of the answers cannot hold so many numbers.
        """
        path, table = self.files(case, output)
        boundaries = self.boundaries or {}
        numbers = number_objects(answer.array[0], [*labels.written_values.values()], boundaries)
        path.parent.mkdir(parents=True, exist_ok=True)
        _, *parts = write_label(path, answer.with_array(numbers[np.newaxis]), like=case.channels[0])
        write_text(table, csv_text(COLUMNS, _rows(case.id, answer, numbers, probability, labels, boundaries)))
        return [path, table, *parts]

    def probability_sink(
        self, geometry: Geometry, labels: Labels, scaling: Scaling | None = None
    ) -> tuple[list[Sink], Callable[[], NDArray[np.float32]]]:
        """Return the sinks that take the logits of a case, and a function that returns the answer's probability.

        Args:
            geometry: how the scan came to the network's grid.
            labels: the structures.
            scaling: of calibrated probabilities; None for the network's own.

        Returns:
            The function returns (z, y, x) on the grid of the scan; of a boundary and its structure it is the sum.
        """
        if not self.wanted:
            return [], lambda: np.zeros(0, np.float32)
        from medseg.preprocessing.maps import map_sink, probabilities

        of_structures = probabilities(labels)
        if scaling is not None:
            of_structures = scaling.before(of_structures)
        rows = {value: row for row, value in enumerate(labels.written_values.values())}
        pairs = [(rows[value], rows[boundary]) for value, boundary in (self.boundaries or {}).items()]
        volume = np.zeros(geometry.turned_shape, np.float32)

        def largest(logits: torch.Tensor) -> torch.Tensor:
            values = of_structures(logits)
            for structure, boundary in pairs:
                values[structure] += values[boundary]
            return values.amax(0, keepdim=True)

        def keep(first: int, planes: NDArray) -> None:
            volume[first : first + len(planes)] = planes

        return [map_sink(geometry, largest, [keep])], lambda: geometry.stored(volume[np.newaxis])[0]


def _rows(
    case: str,
    answer: Image,
    numbers: NDArray[np.int32],
    probability: NDArray[np.float32],
    labels: Labels,
    boundaries: Mapping[int, int],
) -> list[list[Any]]:
    """Return a row for each object: centre and box in voxels from 0, x first, as in the file."""
    from scipy import ndimage

    names = {value: name for name, value in labels.written_values.items()}
    names |= {boundary: names[value] for value, boundary in boundaries.items()}
    flat = answer.shape_zyx[0] == 1
    if answer.spacing_known:
        unit, size = ("mm^2", prod(answer.spacing_mm[1:])) if flat else ("mm^3", prod(answer.spacing_mm))
    else:
        unit, size = "pixels" if flat else "voxels", 1.0
    rows = []
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        inside = numbers[box] == number
        count = int(inside.sum())
        centre = [float(places.mean()) + part.start for places, part in zip(np.nonzero(inside), box, strict=True)]
        ends = [end for part in box[::-1] for end in (part.start, part.stop - 1)]
        value = int(answer.array[0][box][inside][0])
        mean = float(probability[box][inside].mean())
        figures = [f"{number:.6g}" for number in (count * size, *centre[::-1])]
        rows.append([case, number, names[value], count, figures[0], unit, *figures[1:], *ends, f"{mean:.4f}"])
    return rows


def write_table(output: Path, tables: Sequence[Path]) -> int:
    """Write the table of the objects of all cases, and return how many there are.

    Args:
        output: folder of the answers.
        tables: the table of each case.
    """
    parts = [table.read_text(encoding="utf-8").splitlines(keepends=True)[1:] for table in tables if table.is_file()]
    rows = [line for part in parts for line in part]
    write_text(output / TABLE, csv_text(COLUMNS, []) + "".join(rows))
    return len(rows)
