"""`medseg view`: write one HTML page that shows a scan, label files on its grid, and the structures in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.commands.view.options import ViewOptions
from medseg.core.errors import DataError
from medseg.core.files import check_folder
from medseg.core.image import Image, describe_grid_difference
from medseg.core.labels import Labels
from medseg.datasets.option_values import parse_structures
from medseg.delivery.answers.labels_file import NAME as LABELS_FILE
from medseg.delivery.answers.labels_file import read_labels_file
from medseg.delivery.answers.prediction_ledger import answered_series
from medseg.delivery.answers.read_answer import (
    known_by_name,
    labels_in,
    names_of_values,
    read_answer,
    with_names_in,
)
from medseg.delivery.pages.own_page import is_own_page
from medseg.delivery.viewer.scene import make_scene, shown_channels
from medseg.delivery.viewer.view_page import write_view
from medseg.io.annotations import geojson
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.formats.table import is_dicom, is_image, says_sides, split_suffix
from medseg.io.images import AS_STORED, read_image, read_label
from medseg.io.scan_path import scan_path
from medseg.io.values.named_values import may_name_values, named_values
from medseg.plans.sections.reading import Reading

_SOFT = "soft label"
"""The kind of the error on label files with values that are not whole numbers."""
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


def view(
    scan: str | Path, answers: str | Path | Sequence[str | Path] = (), options: ViewOptions | None = None
) -> ViewResult:
    """Write one HTML page that shows a scan in three planes and 3D, with structures; a 2D image as an image.

    Args:
        scan: a file, a DICOM series as `FOLDER#KEY`, or a study with one series.
        answers: label files on the scan's grid, or one; a folder of answers stands for the one to this scan.
        options: what to show beside them, and where to write the page.

    Returns:
        The page that was written, the structures that it shows, and notes.

    Raises:
        DataError: a file cannot be read, a label file lies on another grid, or there are too many.
        PlanError: the structures are not declared as NAME=VALUE.
    """
    options, scan = options or ViewOptions(), scan_path(Path(scan))
    given = [answers] if isinstance(answers, str | Path) else answers
    paths = [_answer_to(scan, Path(answer)) for answer in given]
    page = options.output or Path(f"{_stem(scan)}.html")
    files = _layers(paths, options.reference)
    _check_output(page, [scan, *files.values()])
    of_references = _reading_of_references(paths)
    frame = of_references.frame if options.frame is None else options.frame
    image, notes = _shown(read_image(scan, frame), scan, options)
    meanings = _meanings(files.values(), options, image)
    labels = {}
    for name, path in files.items():
        reading = of_references if path == options.reference else AS_STORED
        labels[name] = _read_on_grid(path, meanings.labels[path], image, reading)
        if meanings.labels[path] is None and reading != AS_STORED:
            notes.append(f"{path} is read as {LABELS_FILE} beside the answer says that references are")
    scene = make_scene(_stem(scan), image, labels, meanings.names, meanings.background, says_sides(scan))
    write_view(page, scene)
    return ViewResult(page, tuple(part.name for part in scene.structures), (*notes, *scene.notes))


def _shown(image: Image, path: Path, options: ViewOptions) -> tuple[Image, list[str]]:
    """Return the channels that the page shows, and a note on those that it does not."""
    channels = len(image.array)
    if options.channel >= channels:
        raise DataError(
            f"{path} has no channel {options.channel}; it has {channels}, counted from 0.", "Leave --channel out."
        )
    shown = shown_channels(image, options.channel)
    more = f"The page shows channel {options.channel} of {channels}, counted from 0; --channel shows another."
    return shown, [more] if len(shown.array) < channels else []


def _reading_of_references(answers: Sequence[Path]) -> Reading:
    """Return how references beside answers are read, as labels.json of the first one that has it says."""
    declared = (read_labels_file(path.parent) for path in answers)
    return next((beside.reading for beside in declared if beside is not None), AS_STORED)


def _read_on_grid(path: Path, labels: Labels | None, scan: Image, reading: Reading) -> Image:
    """Return a label map, which has to lie on the scan's grid: elsewhere it would be shown in a wrong place.

    Args:
        path: the label file.
        labels: its structures; None where nothing declares them.
        scan: the scan.
        reading: what its values mean, where nothing declares them.
    """
    try:
        label = read_label(path, reading, scan) if labels is None else read_answer(path, labels, scan)
    except DataError as error:
        if error.kind != _SOFT:  # whose hint names an option that a viewer does not have
            raise
        raise DataError(error.message, f"A map of probabilities can be shown as a scan: medseg view {path}") from None
    if not scan.same_grid(label):
        raise DataError(
            f"{path} does not lie on the grid of the scan: {describe_grid_difference(scan, label)}.",
            "Is it the label of another scan? `medseg info` prints the grid of each file.",
        )
    return label


@dataclass
class _Meanings:
    """The meanings of the values in the label files.

    Attributes:
        labels: {label file: its structures}; None where nothing declares them.
        names: {value: structure} of all files.
        background: the value that is no structure.
    """

    labels: dict[Path, Labels | None] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    background: int | None = 0


def _meanings(paths: Collection[Path], options: ViewOptions, scan: Image) -> _Meanings:
    """Return the meanings of the values in label files, from the user, labels.json, or the files themselves.

    Raises:
        DataError: two files call one value by different names.
    """
    meanings, named_by = _Meanings(), dict[int, Path]()
    given = parse_structures(options.structures) if options.structures else None
    declared = {path: given or _labels_beside(path) for path in paths}
    # a file of which nothing but the names is known gets the values that the others leave free
    for path in sorted(declared, key=lambda path: declared[path] is None and known_by_name(path)):
        labels = declared[path]
        if labels is not None:
            meanings.background = labels.background
        if known_by_name(path):
            known = meanings.names
            labels = labels_in(path, scan, known) if labels is None else with_names_in(path, labels, known)
        meanings.labels[path] = labels
        here = names_of_values(labels) if labels is not None else _names_inside(path)
        for value, name in here.items():
            if meanings.names.setdefault(value, name) != name:
                raise DataError(
                    f"The value {value} is {meanings.names[value]} in {named_by[value]}, and {name} in {path}.",
                    "Look at each on a page of its own, or say what the values mean: --structures liver=1",
                )
            named_by.setdefault(value, path)
    return meanings


def _labels_beside(path: Path) -> Labels | None:
    answers = read_labels_file(path.parent)
    return None if answers is None else answers.labels


def _names_inside(path: Path) -> dict[int, str]:
    """Return {value: name} as a label file says it; {} where it says nothing."""
    if is_dicom(path) or not path.is_file() or not may_name_values(path):
        return {}
    return {part.value: part.name for part in named_values(path)}


def _layers(paths: Sequence[Path], reference: Path | None) -> dict[str, Path]:
    """Return {name on the page: label file}: the shortest way to call each that no other has.

    Raises:
        DataError: there are more than a page shows.
    """
    every = [*paths, *([reference] if reference is not None else [])]
    if len(every) > _MOST_LAYERS:
        raise DataError(f"{len(every)} label files were given; a page shows at most {_MOST_LAYERS} beside each other.")
    for name_of in (_stem, lambda path: str(path.parent), str):
        names = [*map(name_of, paths), *(["reference"] if reference is not None else [])]
        if len(set(names)) == len(every):
            return dict(zip(names, every, strict=True))
    return {f"{number}: {path}": path for number, path in enumerate(every, start=1)}


def _answer_to(scan: Path, path: Path) -> Path:
    """Return a label file; of a folder of answers, the answer to the scan.

    Raises:
        DataError: the folder holds none, or several.
    """
    if not (path.is_dir() and (path / LABELS_FILE).is_file()):
        return path
    maps = [file for file in sorted(path.iterdir()) if file.is_file() and _is_label_map(file)]
    names = {_stem(scan), _stem(scan).removesuffix("_0000")}
    found = [file for file in maps if _stem(file) in names]
    series = parse_reference(scan)
    if series is not None:  # its answer is called as the study
        found = [file for file in maps if series.key in answered_series(file)] or found
    if len(found) == 1:
        return found[0]
    seen = f"several answers to it: {', '.join(file.name for file in found)}" if found else "none of that name"
    raise DataError(f"{path} is a folder of answers, and holds {seen}.", "Name the file of the answer to this scan.")


def _is_label_map(path: Path) -> bool:
    return path.suffix == geojson.SUFFIX or (is_image(path) and not is_dicom(path))


def _check_output(page: Path, inputs: Sequence[Path]) -> None:
    """Refuse to replace a file by the page, unless it is a page as well.

    Raises:
        DataError: the page has the path of a file that medseg view did not write, or would lie in a file.
    """
    check_folder(page.parent)
    if page.exists() and any(path.exists() and page.samefile(path) for path in inputs):
        raise DataError(f"{page} is one of the files to look at; the page would replace it.", "Name another --output.")
    if page.exists() and not is_own_page(page):
        raise DataError(
            f"{page} is there already, and is no page of medseg's; it would be replaced.", "Name another --output."
        )


def _stem(path: Path) -> str:
    """Return the name of a file without its suffix; of a DICOM series the folder and the key."""
    reference = parse_reference(path)
    if reference is not None:
        return f"{Path(reference.container).name}_{reference.key}"
    return split_suffix(path)[0]
