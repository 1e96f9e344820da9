"""`medseg view`: write one HTML page that shows a scan, label files on its grid, and the structures in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.commands.view.options import ViewOptions
from medseg.core.errors import DataError
from medseg.core.image import Image, describe_grid_difference
from medseg.datasets.option_values import parse_structures
from medseg.delivery.answers.labels_file import read_labels_file
from medseg.delivery.viewer.scene import make_scene
from medseg.delivery.viewer.view_page import write_view
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.formats.table import is_dicom, split_suffix
from medseg.io.images import read_image, read_label
from medseg.io.values.named_values import may_name_values, named_values

_MOST_LAYERS = 4
"""Label files beside each other: a browser shows few volumes at a time, and people compare few."""


@dataclass(frozen=True)
class ViewResult:
    """A page that was written.

    Attributes:
        page: the HTML file.
        structures: names of the structures on it.
        notes: what it leaves out or changes, in sentences.
    """

    page: Path
    structures: tuple[str, ...]
    notes: tuple[str, ...]


def view(scan: str | Path, answers: Sequence[str | Path] = (), options: ViewOptions | None = None) -> ViewResult:
    """Write one HTML page that shows a scan in three planes and 3D, with structures; a 2D image as an image.

    Args:
        scan: a file, or a DICOM series as `FOLDER#KEY`.
        answers: label files on the scan's grid.
        options: what to show beside them, and where to write the page.

    Raises:
        DataError: a file cannot be read, a label file lies on another grid, or there are too many.
        PlanError: the structures are not declared as NAME=VALUE.
    """
    options, scan, paths = options or ViewOptions(), Path(scan), [Path(answer) for answer in answers]
    names = _names(paths, options)
    image, notes = _shown(read_image(scan, options.frame), scan, options)
    files = {_layer_name(path, paths): path for path in paths}
    if options.reference is not None:
        files["reference"] = options.reference
    if len(files) > _MOST_LAYERS:
        raise DataError(f"{len(files)} label files were given; a page shows at most {_MOST_LAYERS} beside each other.")
    labels = {name: _read_on_grid(path, image) for name, path in files.items()}
    title = _stem(scan)
    scene = make_scene(title, image, labels, names)
    page = options.output or Path(f"{title}.html")
    write_view(page, scene)
    return ViewResult(page, tuple(part.name for part in scene.structures), (*notes, *scene.notes))


def _shown(image: Image, path: Path, options: ViewOptions) -> tuple[Image, list[str]]:
    """Return the channels that the page shows, and a note on those that it does not."""
    channels = len(image.array)
    if options.channel >= channels:
        raise DataError(
            f"{path} has no channel {options.channel}; it has {channels}, counted from 0.", "Leave --channel out."
        )
    if image.shape_zyx[0] == 1 and channels == 3 and image.array.dtype.itemsize == 1:
        return image, []
    shown = image.with_array(image.array[options.channel : options.channel + 1])
    more = f"The page shows channel {options.channel} of {channels}, counted from 0; --channel shows another."
    return shown, [more] if channels > 1 else []


def _read_on_grid(path: Path, scan: Image) -> Image:
    """Return a label map, which has to lie on the scan's grid: elsewhere it would be shown in a wrong place."""
    label = read_label(path, grid=scan)
    if not scan.same_grid(label):
        raise DataError(
            f"{path} does not lie on the grid of the scan: {describe_grid_difference(scan, label)}.",
            "Is it the label of another scan? `medseg info` prints the grid of each file.",
        )
    return label


def _names(paths: Sequence[Path], options: ViewOptions) -> dict[int, str]:
    """Return {value: structure}: as the user says, else as labels.json beside an answer does, else a file itself."""
    if options.structures:
        return {value: name for name, value in parse_structures(options.structures).written_values.items()}
    for path in paths:
        declared = read_labels_file(path.parent)
        if declared is not None:
            return {value: name for name, value in declared.labels.written_values.items()}
    for path in (*paths, *([options.reference] if options.reference else [])):
        if not is_dicom(path) and path.is_file() and may_name_values(path):
            return {part.value: part.name for part in named_values(path)}
    return {}


def _layer_name(path: Path, paths: Sequence[Path]) -> str:
    """Return what an answer is called on the page: its folder where several answers have one name."""
    same = [other for other in paths if _stem(other) == _stem(path)]
    return str(path.parent) if len(same) > 1 else _stem(path)


def _stem(path: Path) -> str:
    """Return the name of a file without its suffix; of a DICOM series the folder and the key."""
    reference = parse_reference(path)
    if reference is not None:
        return f"{Path(reference.container).name}_{reference.key}"
    return split_suffix(path)[0]
