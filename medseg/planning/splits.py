"""Folds for cross-validation: all cases of a patient in one fold, rare structures in every fold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypedDict
from warnings import catch_warnings, simplefilter

import numpy as np

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.files import write_json
from medseg.core.wording import counted
from medseg.planning.annotation import present_and_annotated

FOLDS = 5
_NNUNET_SEED = 12345
_NOTHING = ""


class Fold(TypedDict):
    """Ids of the cases to train on and to validate on."""

    train: list[str]
    val: list[str]


def make_splits(
    cases: Sequence[Case], structures: Mapping[str, Collection[str]], n_folds: int = FOLDS, seed: int = _NNUNET_SEED
) -> tuple[list[Fold], str]:
    """Divide the cases by patient, so that every fold gets its share of each case's rarest structure.

    Only structures that were annotated in a case count there, and partly labelled cases are spread as well.

    Args:
        cases: their ids and patients count, and the structures that were annotated in each.
        structures: names of the structures that are present in each case, by id.
        n_folds: 2 or more; fewer are made where there are fewer patients, and none for a single patient.
        seed: same cases and seed, same folds.

    Returns:
        The folds and a sentence that says how they were made.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    cases = sorted(cases, key=lambda case: case.id)
    ids = np.array([case.id for case in cases])
    patients = [case.patient for case in cases]
    n_patients = len(set(patients))
    folds = min(n_folds, n_patients)
    if folds < 2:
        return [], f"no folds: {counted(len(cases), 'case')} of {n_patients} patient cannot be divided"
    rarest = _rarest(cases, present_and_annotated(structures, cases), folds)
    strata = _strata(cases, rarest, folds)
    with catch_warnings():  # strata smaller than the number of folds are expected
        simplefilter("ignore", UserWarning)
        parts = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(ids, strata, patients))
    why = f"{folds} folds of {counted(len(cases), 'case')}, {counted(n_patients, 'patient')}, divided by patient"
    if folds < n_folds:
        why += f"; not {n_folds}, as there are only {n_patients} patients"
    kinds = sorted(set(rarest) - {_NOTHING})
    if len(kinds) > 1:
        why += f"; each with its share of the cases whose rarest structure is {', '.join(kinds)}"
    if strata != rarest:
        why += "; each with its share of the partly labelled cases"
    return [Fold(train=ids[train].tolist(), val=ids[val].tolist()) for train, val in parts], why


def nnunet_splits(ids: Collection[str]) -> list[Fold]:
    """The five folds that nnU-Net v2 makes: `KFold(5, shuffle=True, random_state=12345)` over the sorted ids.

    Raises:
        DataError: fewer than five cases, of which nnU-Net makes no folds either.
    """
    from sklearn.model_selection import KFold

    names = np.array(sorted(ids))
    if len(names) < FOLDS:
        raise DataError(
            f"nnU-Net's split needs at least {FOLDS} cases; there are {len(names)}.",
            "Use medseg's own split, which makes fewer folds, or write a splits file by hand.",
        )
    parts = KFold(FOLDS, shuffle=True, random_state=_NNUNET_SEED).split(names)
    return [Fold(train=names[train].tolist(), val=names[val].tolist()) for train, val in parts]


def write_splits(path: Path, folds: Sequence[Fold]) -> None:
    """Write the folds in the form of nnU-Net's `splits_final.json`."""
    write_json(path, list(folds))


def read_splits(path: Path, cases: Sequence[Case]) -> list[Fold]:
    """Read folds, as medseg or nnU-Net wrote them or as a user edited them. See also `patient_leaks`.

    Raises:
        DataError: not a list of train and val, an unknown id, or a case twice in a fold.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        folds = [Fold(train=[*map(str, entry["train"])], val=[*map(str, entry["val"])]) for entry in content]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} holds no folds: {type(error).__name__}: {error}.",
            'Expected a list with an entry per fold: [{"train": ["id", ...], "val": ["id", ...]}, ...].',
        ) from None
    for number, fold in enumerate(folds):
        _check(fold, f"{path}, fold {number}", [case.id for case in cases])
    return folds


def patient_leaks(folds: Sequence[Fold], cases: Sequence[Case]) -> list[str]:
    """A warning for each fold that has a patient in train and in val, which makes its scores too good."""
    patient_of = {case.id: case.patient for case in cases}
    warnings = []
    for number, fold in enumerate(folds):
        both = sorted({patient_of[id] for id in fold["train"]} & {patient_of[id] for id in fold["val"]})
        if both:
            more = f" and {len(both) - 1} more" * (len(both) > 1)
            warnings.append(f"fold {number} has patient {both[0]!r}{more} in train and in val: its scores are too good")
    return warnings


def _rarest(cases: Sequence[Case], structures: Mapping[str, Collection[str]], folds: int) -> list[str]:
    """For each case the one of its structures that the fewest patients have; none if no stratum fills the folds."""
    having: dict[str, set[str]] = {}
    for case in cases:
        for name in structures[case.id]:
            having.setdefault(name, set()).add(case.patient)
    rarest = [min(structures[case.id], key=lambda name: (len(having[name]), name), default=_NOTHING) for case in cases]
    return rarest if max(Counter(rarest).values()) >= folds else [_NOTHING] * len(cases)


def _strata(cases: Sequence[Case], rarest: Sequence[str], folds: int) -> list[str]:
    """The rarest structure of each case, told apart by what was annotated where enough cases have it in common."""
    both = [
        one if case.annotated is None else "\n".join([one, *sorted(case.annotated)])
        for case, one in zip(cases, rarest, strict=True)
    ]
    count = Counter(both)
    return [fine if count[fine] >= folds else coarse for fine, coarse in zip(both, rarest, strict=True)]


def _check(fold: Fold, place: str, known: Sequence[str]) -> None:
    times = Counter(fold["train"] + fold["val"])
    unknown = sorted(times.keys() - set(known))
    if unknown:
        raise DataError(
            f"{place} names {unknown[0]!r}{f' and {len(unknown) - 1} more' * (len(unknown) > 1)}, which the data set "
            f"does not have; it has {', '.join(known[:3])}{', ...' * (len(known) > 3)}.",
            "Correct the ids; after a change of the table of cases, `medseg plan --force` makes the folds anew.",
        )
    twice = sorted(id for id, count in times.items() if count > 1)
    if twice:
        both = twice[0] in fold["train"] and twice[0] in fold["val"]
        raise DataError(f"{place} has {twice[0]!r} {'in train and in val' if both else 'twice'}; expected it once.")
    if not fold["train"]:
        raise DataError(f"{place} has no case to train on.")
