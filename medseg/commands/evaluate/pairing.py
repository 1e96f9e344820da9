"""Find which prediction belongs to which reference: label files are paired by equal names.

Names are equal without the suffix of the format and without what says only which side a file is of (`_0000`, `_seg`,
`_pred`). Names that are merely similar may be of other patients, so they are paired only where the user asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.core.wording import first_few
from medseg.io.annotations.coco import may_be_coco
from medseg.io.formats.table import split_suffix
from medseg.io.layouts.dataset import DEFAULT_NAMING, DataSet, Naming
from medseg.io.layouts.file_names.names import group_by_case, images_by_stem, split_channel
from medseg.io.layouts.file_names.similar_names import match_similar
from medseg.io.layouts.file_names.words import IMAGE_WORDS, LABEL_WORDS, chunks, remove_name
from medseg.io.layouts.find import find_cases, found_in, is_data_set
from medseg.io.layouts.flat_folder import read_flat_folder
from medseg.io.layouts.mask_folders import labels_of_masks
from medseg.io.layouts.pairs import read_pairs
from medseg.io.layouts.published.coco import read_coco
from medseg.io.layouts.published.dataset_json import NAME, read_dataset_json
from medseg.io.layouts.study_labels import label_objects
from medseg.io.layouts.unread_entries import unread_entries
from medseg.io.several_files import images_in, is_by_structure, structure_folders, structure_masks

_IMAGES_BESIDE = {"labels": "images", "masks": "images", "labelsTr": "imagesTr", "labelsTs": "imagesTs"}
_MOST_SHOWN = 3
_SIDE_WORDS = IMAGE_WORDS | LABEL_WORDS | {"pred", "preds", "prediction", "predictions", "predicted"}
"""Words at the start or end of a name that say which side a file is of, and not which case."""

PAIR_BY = ("equal", "similar")
"""Values of --pair: which names make a pair."""


@dataclass(frozen=True)
class Side:
    """The label files of one side, by case id.

    Attributes:
        files: {case: label file}.
        failed: {case: why it is not clear which file is its label}.
        scans: {case: its first scan}, where scans lie beside the references.
        labels: the structures, where a data set declares them.
        cases: {case: patient, annotated structures and attributes}, where a data set knows them.
        similar: {case: name of its file} of references that were paired although their names are only similar.
        notes: sentences on what lies beside the files and looks like one of them.
    """

    files: dict[str, Path]
    failed: dict[str, str] = field(default_factory=dict)
    scans: dict[str, Path] = field(default_factory=dict)
    labels: Labels | None = None
    cases: dict[str, Case] = field(default_factory=dict)
    similar: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def only(self, case: str) -> Side:
        """Return this side reduced to one case; empty if it does not have the case."""
        return replace(
            self,
            files={id: file for id, file in self.files.items() if id == case},
            failed={id: why for id, why in self.failed.items() if id == case},
            notes=(),
        )


def find_sides(prediction: Path, reference: Path, pair_by: str = "equal") -> tuple[Side, Side]:
    """Return predictions and references, in which label files of a case have the same id.

    Two files are a pair whatever their names; one file and a folder make a single pair.

    Args:
        prediction: a file or a folder.
        reference: likewise, or the folder of a data set.
        pair_by: `equal`, or `similar` to pair similar names too where no two are equal.

    Raises:
        DataError: a path does not exist, or no case is on both sides.
    """
    if pair_by not in PAIR_BY:
        raise DataError(f"--pair is {pair_by!r}; valid are {', '.join(PAIR_BY)}.")
    for path in (reference, prediction):
        _check_exists(path)
    predictions = _label_files(prediction) if prediction.is_dir() else Side({split_suffix(prediction)[0]: prediction})
    references = find_references(reference, predictions.files)
    if reference.is_file() and not may_be_coco(reference):
        case = split_suffix(reference)[0]
        predictions = _renamed(predictions, _equal_names([case], predictions.files))  # the reference's name counts
        predictions = predictions.only(case) if prediction.is_dir() else Side({case: prediction})
    else:
        references = _renamed(references, _equal_names(predictions.files, references.files))
        if prediction.is_file():
            references = references.only(split_suffix(prediction)[0])
    if not predictions.files.keys() & references.files.keys():
        references = _by_similar_names(predictions, references, (prediction, reference), pair_by)
    return predictions, references


def _equal_names(predictions: Iterable[str], references: Iterable[str]) -> dict[str, str]:
    """Pair names that are equal once the words for a side are taken off; those that are equal as they stand are left.

    A name that fits two of the other side is left as well. Four digits at the end may be those of a first channel
    (`_0000`) on one side; any other number says which case it is, and so do `_0000` on both sides.

    >>> _equal_names(["a", "b", "img_7"], ["a", "b_seg", "mask_7", "c"])
    {'b': 'b_seg', 'img_7': 'mask_7'}
    >>> _equal_names(["p1_0000", "p2_0001", "p3_0000"], ["p1", "p2", "p3_0002"])
    {'p1_0000': 'p1'}
    """
    names, others = {*predictions}, {*references}
    names, others = names - others, others - names
    pairs: dict[str, str] = {}
    for of_names, of_others in (
        (_case_name, _case_name),
        (_of_first_channel, _case_name),
        (_case_name, _of_first_channel),
    ):
        theirs = _by_key(others - {*pairs.values()}, of_others)
        for key, same in _by_key(names - pairs.keys(), of_names).items():
            if len(same) == len(theirs.get(key, ())) == 1:
                pairs[same[0]] = theirs[key][0]
    return pairs


def _by_key(stems: Iterable[str], key_of: Callable[[str], str | None]) -> dict[str, list[str]]:
    """Return {key: the names that have it}; names without one are left out."""
    found: dict[str, list[str]] = {}
    for stem in sorted(stems):
        if (key := key_of(stem)) is not None:
            found.setdefault(key, []).append(stem)
    return found


def _of_first_channel(stem: str) -> str | None:
    """Return a name without the number of a first channel and the words that say which side; None without the number.

    >>> _of_first_channel("p7_0000"), _of_first_channel("img_p7_0000"), _of_first_channel("p7_0001")
    ('p7', 'p7', None)
    """
    case, channel = split_channel(stem)
    return _case_name(case) if channel == 0 else None


def _case_name(stem: str) -> str:
    """Return a name without the words at its start and end that say which side a file is of.

    >>> _case_name("p7_seg"), _case_name("pred-p7-mask"), _case_name("mask")
    ('p7', 'p7', 'mask')
    """
    while len(parts := chunks(stem)) > 1:
        word = next((part for part in (parts[-1], parts[0]) if part.lower() in _SIDE_WORDS), None)
        rest = remove_name(stem, word) if word is not None else None
        if not rest:
            break
        stem = rest
    return stem


def _by_similar_names(predictions: Side, references: Side, paths: tuple[Path, Path], pair_by: str) -> Side:
    """Return the references under the names of the predictions that theirs are similar to.

    Args:
        predictions: their files.
        references: their files, none of which has the name of a prediction.
        paths: where both lie, for messages.
        pair_by: whether the user asks for it.

    Raises:
        DataError: the user does not ask for it, or no names are similar.
    """
    pairs = match_similar(predictions.files, references.files)
    if pairs and pair_by == "similar":
        return _renamed(references, pairs, similar=True)
    shown = "; ".join(f"{name} with {other}" for name, other in sorted(pairs.items())[:_MOST_SHOWN])
    way_out = (
        f" --pair similar pairs similar names and lists the pairs: {shown}. Look whether these are right."
        if pairs
        else _inner_labels(predictions, paths[1])
    )
    raise DataError(
        f"No prediction has the name of a reference: {_shown(paths[0], predictions)}; {_shown(paths[1], references)}.",
        f"Expected the same names, such as CASE.nii.gz on both sides, or one file on each side.{way_out}",
    )


def _inner_labels(predictions: Side, data: Path) -> str:
    """Return a hint at the folder of a data set whose labels have the names: `predict` answers nnU-Net's imagesTs."""
    for name in _IMAGES_BESIDE:
        folder = data / name
        if folder.is_dir() and not predictions.files.keys().isdisjoint(
            split_suffix(path)[0] for path in folder.iterdir()
        ):
            return f" Perhaps `{folder}` was meant."
    return ""


def called_as(sides: tuple[Side, Side], references: Side) -> tuple[Side, Side]:
    """Return two sides with the names that the cases have in another pairing of the same references.

    Cases have the names of predictions, which each program chooses in its own way: the reference says which case it is.

    Args:
        sides: predictions and references, as `find_sides` returns them.
        references: of the pairing whose names count.
    """
    predictions, others = sides
    names = {file: case for case, file in references.files.items()}
    pairs = {names[file]: id for id, file in others.files.items() if names.get(file, id) != id}
    # a prediction without a reference may have a name that now is another's
    strays = (pairs.keys() & predictions.files.keys()) - {*pairs.values()}
    files = {id: file for id, file in predictions.files.items() if id not in strays}
    return _renamed(replace(predictions, files=files), pairs), _renamed(others, pairs)


def _renamed(side: Side, pairs: dict[str, str], similar: bool = False) -> Side:
    """Return a side under the names of the other one, from {name on the other side: name on this side}."""
    new_ids = {name: other for other, name in pairs.items()}
    similar_names = {other: side.files[name].name for other, name in pairs.items()} if similar else {}
    return replace(
        side,
        files={new_ids.get(id, id): file for id, file in side.files.items()},
        failed={new_ids.get(id, id): why for id, why in side.failed.items()},
        scans={new_ids.get(id, id): file for id, file in side.scans.items()},
        cases={new_ids.get(id, id): replace(case, id=new_ids.get(id, id)) for id, case in side.cases.items()},
        similar=similar_names or {new_ids.get(id, id): name for id, name in side.similar.items()},
    )


def find_references(path: Path, names: Collection[str] = ()) -> Side:
    """Return the labels of a data set, of a folder (perhaps inside a data set), of a JSON file of COCO, or of one file.

    Args:
        path: the file or folder.
        names: of the predictions: what masks in folders are named after where no images lie beside them.

    Raises:
        DataError: it does not exist, or is the folder of a data set that cannot be read.
    """
    if may_be_coco(path):
        return _side_of(_annotated_images(path))
    if not path.is_dir():
        files = {split_suffix(path)[0]: _check_exists(path)}
        try:
            return replace(find_references(path.parent), files=files, failed={}, notes=())
        except DataError:  # other files in the folder of a named file do not matter
            return Side(files)
    try:
        data = _data_set_of_masks(path) or _data_set_by_itself(path)
    except DataError as reason:
        if masks := _masks_named(path, names, reason):
            return masks
        raise
    if data is not None:
        side = _side_of(data)
        scans_beside = {scan.parent for case in data.cases for scan in case.channels}
        labels = {id: file for id, file in side.files.items() if file.parent not in scans_beside}
        return _with_unread(path, labels, side)
    side = _label_files(path)
    if path.name not in _IMAGES_BESIDE:
        return side
    scans, _ = images_by_stem(path.parent / _IMAGES_BESIDE[path.name])
    groups = group_by_case(scans, known=side.files)
    first = {case: min(group.items(), key=lambda item: item[0] or 0)[1] for case, group in groups.items()}
    declared = read_dataset_json(path.parent).labels if (path.parent / NAME).is_file() else None
    return replace(side, scans=first, labels=declared)


def _side_of(data: DataSet) -> Side:
    files = {case.id: case.label for case in data.cases if case.label is not None}
    scans = {case.id: case.channels[0] for case in data.cases}
    return Side(files, scans=scans, labels=data.labels, cases={case.id: case for case in data.cases})


def _data_set_by_itself(path: Path) -> DataSet | None:
    """Return the data set that a folder is, its scans included; None if it is none."""
    return find_cases(path) if is_data_set(path) else read_flat_folder(path, DEFAULT_NAMING)


def _holds_mask_folders(path: Path) -> bool:
    """Return whether a folder has images in folders, and none beside them."""
    return not images_in(path) and any(images_in(folder) for folder in structure_folders(path))


def _masks_named(path: Path, names: Collection[str], reason: DataError) -> Side | None:
    """Return the masks in a folder's folders whose files or folders are named as predictions are; None for none.

    Args:
        path: the folder.
        names: of the predictions.
        reason: why the folder is no data set by itself.

    Raises:
        DataError: which of them are structures is not clear.
    """
    if not names or not _holds_mask_folders(path):
        return None
    try:
        labels, unclear = labels_of_masks(path, {*names, *map(_case_name, names), *_by_key(names, _of_first_channel)})
    except DataError as refusal:
        first = next(folder for folder in structure_folders(path) if images_in(folder))
        hint = f"If they are structures, name the folder of one as the reference, to score it alone, such as {first}"
        raise DataError(refusal.message, hint) from reason
    if labels.keys().isdisjoint(names) and not _equal_names(names, labels):
        return None
    structures = sorted({structure for label in labels.values() for structure, _ in structure_masks(label)})
    note = f"{path} is read as one mask for each structure: {first_few(structures)}"
    return _with_unread(path, labels, Side(labels, unclear, notes=(note,)))


def _data_set_of_masks(path: Path) -> DataSet | None:
    """Return the data set whose folder of labels this is, if they are a mask for each structure; else None.

    Raises:
        DataError: the images beside it do not say what its folders of masks are, and it is no data set by itself.
    """
    if not _holds_mask_folders(path):
        return None
    try:
        data = read_pairs(path.parent, DEFAULT_NAMING)
    except DataError as reason:
        try:
            return _data_set_by_itself(path)
        except DataError:
            raise reason from None
    labels = [] if data is None else [case.label for case in data.cases if case.label is not None]
    return data if labels and all(is_by_structure(label) and path in label.parents for label in labels) else None


def _annotated_images(path: Path) -> DataSet:
    """Return the images that a JSON file of COCO is about, which lie beside or below it, or beside its folder.

    Raises:
        DataError: none of them is there.
    """
    path = path.absolute()
    for folder in (path.parent, path.parent.parent):
        data = read_coco(folder, Naming(labels=path.relative_to(folder).as_posix()))
        if data is not None and data.cases:
            return data
    raise DataError(
        f"None of the images that {path} lists lies in {path.parent} or {path.parent.parent}.",
        "Name the folder of the data set, with its images, as the reference.",
    )


def _label_files(folder: Path) -> Side:
    """Return the label files of a folder by case, DICOM only where there is no other."""
    files, failed = images_by_stem(folder)
    for case, objects in label_objects(folder).items():
        if case not in files and len(objects) == 1:
            files[case] = objects[0]
        elif case not in files:
            failed[case] = f"{' and '.join(path.name for path in objects)} in {folder} are of one case; keep one"
    return _with_unread(folder, files, Side(files, failed))


def _with_unread(folder: Path, labels: Mapping[str, Path], side: Side) -> Side:
    """Return a side with what looks like a label file and cannot be read.

    Args:
        folder: where the label files lie.
        labels: those beside which to look.
        side: what is known.
    """
    unread = unread_entries(folder, {id: [file] for id, file in labels.items()}, named=side.failed, files_only=True)
    return replace(side, failed={**unread.lost, **side.failed}, notes=(*side.notes, *unread.notes))


def _check_exists(path: Path) -> Path:
    """Return the path after a check that it exists.

    Raises:
        DataError: it does not exist.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.", "Expected a label file, or a folder of them.")
    return path


def _shown(path: Path, side: Side) -> str:
    """Return a phrase on the content of a path, for messages."""
    if path.is_file():
        return f"{path} is one file"
    if not side.files:
        return f"{path} holds no label file ({found_in(path).rstrip('.')})"
    names = sorted(file.name for file in side.files.values())
    return f"{path} holds {', '.join(names[:_MOST_SHOWN])}{', ...' if len(names) > _MOST_SHOWN else ''}"
