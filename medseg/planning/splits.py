"""Make, read and check the folds of a cross-validation: all cases of a patient in one fold, rare structures in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.files import write_json
from medseg.core.json_text import parse_json
from medseg.core.wording import counted, first_few
from medseg.planning.annotation import present_and_annotated
from medseg.planning.group_folds import stratified_group_folds

FOLDS = 5
_MOST_FOLDS = 1000
"""In a file; as many as cases, where each is left out once, are rare even for a hundred."""
_NNUNET_SEED = 12345
"""Seed of nnU-Net's split (`utilities/crossval_split.py`)."""
_FINEST_SHARE = 20
"""Cases are divided into at most so many parts to make a share of them."""
_NO_STRUCTURE = ""


class Fold(TypedDict):
    """One fold.

    Attributes:
        train: ids of the cases to train on.
        val: ids of the cases to validate on.
    """

    train: list[str]
    val: list[str]


def make_splits(
    cases: Sequence[Case], structures: Mapping[str, Collection[str]], n_folds: int = FOLDS, seed: int = _NNUNET_SEED
) -> tuple[list[Fold], str]:
    """Divide cases into folds by patient, so that every fold gets its share of the cases with rare structures.

    Cases are stratified by the rarest of their structures. Only structures that were annotated in a case count there,
    and partly labelled cases are spread evenly as well.

    Args:
        cases: the cases; their ids, patients and annotated structures count.
        structures: id of each case -> the structures that are present in it.
        n_folds: 2 or more; fewer are made if there are fewer patients, and none for a single patient.
        seed: the same cases and seed give the same folds.

    Returns:
        The folds, and a sentence that says how they were made.
    """
    # the order in which files were found must not change the folds
    cases = sorted(cases, key=lambda case: case.id)
    ids = np.array([case.id for case in cases])
    patients = [case.patient for case in cases]
    n_patients = len(set(patients))
    folds = min(n_folds, n_patients)
    if folds < 2:
        return [], f"no folds: {counted(len(cases), 'case')} of {n_patients} patient cannot be divided"
    rarest = _rarest_structures(cases, present_and_annotated(structures, cases), folds)
    strata = _strata(cases, rarest, folds)
    fold_of = stratified_group_folds(strata, _shuffled(patients, seed), folds)
    reason = f"{folds} folds of {counted(len(cases), 'case')}, {counted(n_patients, 'patient')}, divided by patient"
    if folds < n_folds:
        reason += f"; not {n_folds}, as there are only {n_patients} patients"
    names = sorted(set(rarest) - {_NO_STRUCTURE})
    if len(names) > 1:
        reason += f"; each with its share of the cases whose rarest structure is {', '.join(names)}"
    if strata != rarest:
        reason += "; each with its share of the partly labelled cases"
    return _folds_of(ids, fold_of, folds), reason


def share_split(
    cases: Sequence[Case], structures: Mapping[str, Collection[str]], share: float
) -> tuple[list[Fold], str]:
    """Return one fold with a share of the cases to validate on, divided by patient as `make_splits` does.

    Args:
        cases: the cases; their ids, patients and annotated structures count.
        structures: id of each case -> the structures that are present in it.
        share: the share of the cases to validate on, more than 0 and less than 1; it is rounded to twentieths or to
            what the number of patients allows.

    Returns:
        The fold, and a sentence that says how it was made; no fold for a single patient.
    """
    patients = len({case.patient for case in cases})
    fraction = Fraction(share).limit_denominator(_FINEST_SHARE)
    parts, taken = fraction.denominator, fraction.numerator
    if not 0 < taken < parts or parts > patients:
        parts = min(patients, _FINEST_SHARE)
        taken = min(max(round(share * parts), 1), parts - 1)
    # 3/20 are three of twenty folds: these are divided by patient and structure already
    folds, why = make_splits(cases, structures, parts)
    if not folds:
        return folds, why
    val = sorted(id for fold in folds[:taken] for id in fold["val"])
    train = sorted({case.id for case in cases} - {*val})
    made = (
        f"one fold, as asked for: {len(train)} cases to train on, {len(val)} to validate ({len(val) / len(cases):.0%})"
    )
    return [Fold(train=train, val=val)], f"{made}, divided by patient"


def nnunet_splits(ids: Collection[str]) -> list[Fold]:
    """Return the five folds that nnU-Net v2 makes (`utilities/crossval_split.py`).

    These are `KFold(5, shuffle=True, random_state=12345)` over the sorted ids; patients do not count.

    Args:
        ids: the ids of all cases.

    Raises:
        DataError: there are fewer than five cases, for which nnU-Net makes no folds either.
    """
    names = np.array(sorted(ids))
    if len(names) < FOLDS:
        raise DataError(
            f"nnU-Net's split needs at least {FOLDS} cases; there are {len(names)}.",
            "Leave --splits out: medseg's own split makes fewer folds.",
        )
    order = np.arange(len(names))
    np.random.RandomState(_NNUNET_SEED).shuffle(order)
    fold_of = np.empty(len(names), np.int64)
    for fold, part in enumerate(np.array_split(order, FOLDS)):
        fold_of[part] = fold
    return _folds_of(names, fold_of, FOLDS)


def write_splits(path: Path, folds: Sequence[Fold]) -> None:
    """Write folds as JSON, in the form of nnU-Net's `splits_final.json`."""
    write_json(path, list(folds))


def read_splits(path: Path, cases: Sequence[Case]) -> list[Fold]:
    """Read folds as medseg or nnU-Net wrote them, or as a user edited them.

    Args:
        path: the JSON file.
        cases: all cases of the data set.

    Returns:
        The folds, in the order of the file.

    Raises:
        DataError: the file is not a list of train and val, names an unknown id, or has a case twice in a fold; a
            patient on both sides is not an error, see `patient_leaks`.
    """
    try:
        content = parse_json(Path(path).read_text(encoding="utf-8-sig"))
        folds = [Fold(train=[*map(str, entry["train"])], val=[*map(str, entry["val"])]) for entry in content]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} holds no folds: {type(error).__name__}: {error}.",
            'Expected a list with an entry per fold: [{"train": ["id", ...], "val": ["id", ...]}, ...].',
        ) from None
    if len(folds) > _MOST_FOLDS:
        raise DataError(f"{path} holds {len(folds):,} folds; expected at most {_MOST_FOLDS:,}.")
    ids = [case.id for case in cases]
    for number, fold in enumerate(folds):
        _check_fold(fold, f"{path}, fold {number}", ids)
    return folds


def patient_leaks(folds: Sequence[Fold], cases: Sequence[Case]) -> list[str]:
    """Return a warning for each fold that has a patient in train and in val, which makes its scores too good."""
    patient_of = {case.id: case.patient for case in cases}
    warnings = []
    for number, fold in enumerate(folds):
        both = sorted({patient_of[id] for id in fold["train"]} & {patient_of[id] for id in fold["val"]})
        if both:
            more = f" and {len(both) - 1} more" * (len(both) > 1)
            warnings.append(f"fold {number} has patient {both[0]!r}{more} in train and in val: its scores are too good")
    return warnings


def unlearnable(folds: Sequence[Fold], cases: Sequence[Case], structures: Mapping[str, Collection[str]]) -> list[str]:
    """Return a warning for each structure that no training case of some fold holds: that fold cannot learn it.

    Args:
        folds: the folds.
        cases: the cases; only structures that were annotated in a case count there.
        structures: id of each case -> the structures that are present in it.
    """
    present = present_and_annotated(structures, cases)
    warnings = []
    for name in sorted({name for names in present.values() for name in names}):
        holding = {id for id, names in present.items() if name in names}
        without = [str(number) for number, fold in enumerate(folds) if holding.isdisjoint(fold["train"])]
        if without:
            warnings.append(
                f"no training case of fold{'s' * (len(without) > 1)} {', '.join(without)} holds {name} (only "
                f"{first_few(sorted(holding))} of all cases {'has' if len(holding) == 1 else 'have'} it): it cannot be "
                "learnt there, and its score there says nothing"
            )
    return warnings


def _folds_of(ids: NDArray[np.str_], fold_of: NDArray[np.int64], folds: int) -> list[Fold]:
    """Return folds of ids (case,), of which each is validated in the fold that `fold_of` (case,) has for it."""
    return [Fold(train=ids[fold_of != fold].tolist(), val=ids[fold_of == fold].tolist()) for fold in range(folds)]


def _shuffled(patients: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Return a number for each case's patient, in a random order: in this order patients are put into folds.

    It is the order of `StratifiedGroupKFold(shuffle=True)` from scikit-learn 1.8 on.

    Args:
        patients: the patient of each case.
        seed: of the order.
    """
    _, number = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    order = np.arange(number.max() + 1)
    np.random.RandomState(seed).shuffle(order)
    return np.argsort(order)[number]


def _rarest_structures(cases: Sequence[Case], structures: Mapping[str, Collection[str]], folds: int) -> list[str]:
    """Return for each case the one of its structures that the fewest patients have.

    All are `_NO_STRUCTURE` if no stratum is large enough for the folds: there is then nothing to share out.
    """
    patients: dict[str, set[str]] = {}
    for case in cases:
        for name in structures[case.id]:
            patients.setdefault(name, set()).add(case.patient)
    rarest = [
        min(structures[case.id], key=lambda name: (len(patients[name]), name), default=_NO_STRUCTURE) for case in cases
    ]
    return rarest if max(Counter(rarest).values()) >= folds else [_NO_STRUCTURE] * len(cases)


def _strata(cases: Sequence[Case], rarest: Sequence[str], folds: int) -> list[str]:
    """Return the stratum of each case: its rarest structure and, if enough cases share them, what was annotated."""
    fine = [
        structure if case.annotated is None else "\n".join([structure, *sorted(case.annotated)])
        for case, structure in zip(cases, rarest, strict=True)
    ]
    count = Counter(fine)
    return [with_both if count[with_both] >= folds else coarse for with_both, coarse in zip(fine, rarest, strict=True)]


def _check_fold(fold: Fold, source: str, known: Sequence[str]) -> None:
    """Refuse a fold with unknown ids, a case twice, or nothing to train on; `source` names it in messages."""
    count = Counter(fold["train"] + fold["val"])
    unknown = sorted(count.keys() - set(known))
    if unknown:
        more = f" and {len(unknown) - 1} more" * (len(unknown) > 1)
        raise DataError(
            f"{source} names {unknown[0]!r}{more}, which the data set does not have; it has {first_few(known, 3)}.",
            "Correct the ids; after a change of the table of cases, `medseg plan --force` makes the folds again.",
        )
    repeated = sorted(id for id, times in count.items() if times > 1)
    if repeated:
        both = repeated[0] in fold["train"] and repeated[0] in fold["val"]
        where = "in train and in val" if both else "twice"
        raise DataError(f"{source} has {repeated[0]!r} {where}; expected it once.")
    if not fold["train"]:
        raise DataError(f"{source} has no case to train on.")
