"""Refuse evaluations whose scores would be of a file against itself, or lie beside the references."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from medseg.commands.evaluate.pairing import Side
from medseg.core.errors import DataError
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME


def folder_of(path: Path) -> Path:
    """Return a folder itself, and the folder of a file.

    Args:
        path: file or folder.
    """
    return path if path.is_dir() else path.parent


def refuse_exchanged(prediction: Path, reference: Path) -> None:
    """Refuse answers of `medseg predict` as references to files that are none.

    nnU-Net's command takes references first. Overlaps would be the same, signed errors, precision and recall those of
    the other side, and the scores would be written beside the references. `--output` says that it is meant, and where
    the scores belong.

    Args:
        prediction: file or folder of the predictions.
        reference: likewise.

    Raises:
        DataError: only the second folder has a ledger of `predict`.
    """
    if (folder_of(reference) / LEDGER_NAME).is_file() and not (folder_of(prediction) / LEDGER_NAME).is_file():
        first, second = shlex.quote(str(reference)), shlex.quote(str(prediction))
        raise DataError(
            f"{reference} holds answers of medseg predict, and {prediction} does not: the two seem to be exchanged.",
            f"Expected the answers first, then the references: `medseg evaluate {first} {second}`. If they are meant "
            "as they stand, say where the scores belong: --output FOLDER",
        )


def refuse_same(prediction: Path, others: Sequence[Path]) -> None:
    """Refuse to compare predictions with themselves: every difference would be 0, as if two models agreed.

    Args:
        prediction: file or folder of the predictions.
        others: files or folders of those that they are compared with.

    Raises:
        DataError: one of the other paths leads to the same file or folder.
    """
    if any(other.exists() and prediction.samefile(other) for other in others):
        raise DataError(
            f"{prediction} would be compared with itself.",
            "Expected other predictions of the same cases: --compare OTHER",
        )


def refuse_same_files(predictions: Side, others: Sequence[Side]) -> None:
    """Refuse to compare predictions with themselves, as where one file is compared with the folder that it lies in.

    Some answers may be links to those that they are compared with: another program left these as they were.

    Args:
        predictions: the files of the predictions.
        others: those of each of the others, under the same names of cases.

    Raises:
        DataError: every case has one file on both sides.
    """
    for other in others:
        both = [(predictions.files[id], other.files[id]) for id in predictions.files.keys() & other.files.keys()]
        there = [(file, of_other) for file, of_other in both if file.exists() and of_other.exists()]
        if there and all(file.samefile(of_other) for file, of_other in there):
            file, of_other = there[0]
            refuse_same(file, [of_other])


def refuse_itself(prediction: Path, reference: Path) -> None:
    """Refuse to score a file against itself, as where one folder is given twice: every score would be perfect.

    Args:
        prediction: its file.
        reference: its file.

    Raises:
        DataError: both paths lead to one file.
    """
    if prediction.exists() and reference.exists() and prediction.samefile(reference):
        raise DataError(
            f"{prediction} and {reference} are one file: it would be scored against itself.",
            "Expected the predictions first, then the references that were drawn.",
        )
