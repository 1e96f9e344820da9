"""Find which prediction belongs to which reference: label files are paired by name without suffix."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.io.formats.table import split_suffix
from medseg.io.layouts.dataset import DEFAULT_NAMING
from medseg.io.layouts.dataset_json import NAME, read_dataset_json
from medseg.io.layouts.find import find_cases, found_in, is_data_set
from medseg.io.layouts.flat_folder import read_flat_folder
from medseg.io.layouts.names import group_by_case, images_by_stem
from medseg.io.layouts.similar_names import match_similar
from medseg.io.layouts.study_labels import label_objects

_IMAGES_BESIDE = {"labels": "images", "masks": "images", "labelsTr": "imagesTr", "labelsTs": "imagesTs"}
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Side:
    """The label files of one side, by case id.

    Attributes:
        files: {case: label file}.
        failed: {case: why it is not clear which file is its label}.
        scans: {case: its first scan}, where scans lie beside the references.
        labels: the structures, where a data set declares them.
        cases: {case: patient, annotated structures and attributes}, where a data set knows them.
    """

    files: dict[str, Path]
    failed: dict[str, str] = field(default_factory=dict)
    scans: dict[str, Path] = field(default_factory=dict)
    labels: Labels | None = None
    cases: dict[str, Case] = field(default_factory=dict)

    def only(self, case: str) -> Side:
        """Return the same with a single case, or none."""
        return replace(
            self,
            files={id: file for id, file in self.files.items() if id == case},
            failed={id: why for id, why in self.failed.items() if id == case},
        )


def find_sides(prediction: Path, reference: Path) -> tuple[Side, Side]:
    """Return predictions and references, in which label files of a case have the same id.

    Two files are a pair whatever their names; one file and a folder make a single pair.

    Args:
        prediction: a file or a folder.
        reference: likewise, or the folder of a data set.

    Raises:
        DataError: a path does not exist, or no case is on both sides.
    """
    references = find_references(reference)
    if prediction.is_dir():
        predictions = Side(*_label_files(prediction))
    else:
        predictions = Side({split_suffix(prediction)[0]: _existing(prediction)})
    if reference.is_file():
        case = split_suffix(reference)[0]
        predictions = predictions.only(case) if prediction.is_dir() else Side({case: prediction})
    elif prediction.is_file():
        references = references.only(split_suffix(prediction)[0])
    if not predictions.files.keys() & references.files.keys():
        references = _renamed(references, match_similar(predictions.files, references.files))
    if not predictions.files.keys() & references.files.keys():
        raise DataError(
            f"No prediction has the name of a reference: {_shown(prediction, predictions)}; "
            f"{_shown(reference, references)}.",
            "Expected the same names, such as CASE.nii.gz on both sides, or one file on each side.",
        )
    return predictions, references


def _renamed(references: Side, pairs: dict[str, str]) -> Side:
    """Return the references under the names of their predictions, from {prediction: reference} of similar names."""
    new_ids = {reference: prediction for prediction, reference in pairs.items()}
    files = {new_ids.get(id, id): file for id, file in references.files.items()}
    scans = {new_ids.get(id, id): file for id, file in references.scans.items()}
    cases = {new_ids.get(id, id): replace(case, id=new_ids.get(id, id)) for id, case in references.cases.items()}
    return replace(references, files=files, scans=scans, cases=cases)


def find_references(path: Path) -> Side:
    """Return the label files of a data set, of a folder (perhaps one inside a data set), or of one file.

    Raises:
        DataError: it does not exist, or is the folder of a data set that cannot be read.
    """
    if not path.is_dir():
        files = {split_suffix(path)[0]: _existing(path)}
        try:
            return replace(find_references(path.parent), files=files, failed={})
        except DataError:  # other files in the folder of a named file do not matter
            return Side(files)
    data = find_cases(path) if is_data_set(path) else read_flat_folder(path, DEFAULT_NAMING)
    if data is not None:
        files = {case.id: case.label for case in data.cases if case.label is not None}
        scans = {case.id: case.channels[0] for case in data.cases}
        return Side(files, scans=scans, labels=data.labels, cases={case.id: case for case in data.cases})
    files, failed = _label_files(path)
    if path.name not in _IMAGES_BESIDE:
        return Side(files, failed)
    scans, _ = images_by_stem(path.parent / _IMAGES_BESIDE[path.name])
    groups = group_by_case(scans, known=files)
    first = {case: min(group.items(), key=lambda item: item[0] or 0)[1] for case, group in groups.items()}
    declared = read_dataset_json(path.parent).labels if (path.parent / NAME).is_file() else None
    return Side(files, failed, first, declared)


def _label_files(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the label files of a folder by case (DICOM only where there is no other), and {case: why it has none}."""
    files, failed = images_by_stem(folder)
    for case, objects in label_objects(folder).items():
        if case not in files and len(objects) == 1:
            files[case] = objects[0]
        elif case not in files:
            failed[case] = f"{' and '.join(path.name for path in objects)} in {folder} are of one case; keep one"
    return files, failed


def _existing(path: Path) -> Path:
    """Return the path.

    Raises:
        DataError: it does not exist.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.", "Expected a label file, or a folder of them.")
    return path


def _shown(path: Path, side: Side) -> str:
    """Return what a path holds, for messages."""
    if path.is_file():
        return f"{path} is one file"
    if not side.files:
        return f"{path} holds no label file ({found_in(path).rstrip('.')})"
    names = sorted(file.name for file in side.files.values())
    return f"{path} holds {', '.join(names[:_MOST_SHOWN])}{', ...' if len(names) > _MOST_SHOWN else ''}"
