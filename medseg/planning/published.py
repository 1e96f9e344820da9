"""Recognize the split that a data set comes with, and make folds of it; the planner uses it before folds of its own.

A split is a column of the table of cases (`split`, `set`), which layouts with lists or folders of training, validation
and test cases fill in (VOC's lists, `train/`, `val/` and `test/`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from medseg.core.case import NO_VALUE, Case
from medseg.core.errors import DataError
from medseg.core.wording import counted, first_few
from medseg.io.layouts.file_names.split_words import COLUMNS, TRAINVAL, part_named, words_for_parts
from medseg.planning.splits import FOLDS, Fold, make_splits, patient_leaks

_GROUPED = "`--splits grouped` makes folds of all cases, as if there were no split."


@dataclass(frozen=True)
class PublishedSplit:
    """The split that a data set comes with.

    Attributes:
        column: the column of the table of cases that holds it.
        train: ids of the cases to train on.
        val: ids of the cases to validate on; empty if the split has no such part.
        test: ids of the cases that are kept out.
    """

    column: str
    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]

    @property
    def sentence(self) -> str:
        """The sizes of its parts, for notes and reasons of the plan."""
        parts = [f"{len(self.train)} train"] + [f"{len(self.val)} val"] * bool(self.val)
        test = f"; {counted(len(self.test), 'test case')} kept out" if self.test else ""
        return f"{', '.join(parts)}{test} (column {self.column})"


def published_split(cases: Sequence[Case]) -> PublishedSplit | None:
    """Return the split in the attributes of the cases; None where no column holds one, or all of it is for training.

    A column holds a split if its values are words for parts (`part_named`), for two of them at least. Cases without a
    value are trained on, and count as a part, so that `test` beside nothing is a split.

    Args:
        cases: all cases of the data set.

    Raises:
        DataError: a case is in two parts, a patient has cases in two parts, there is nothing to train on, or a column
            has another word beside those for parts.
    """
    names = {name for case in cases for name in case.attributes}
    doubtful: DataError | None = None
    for column in sorted((name for name in names if name.lower() in COLUMNS), key=_rank):
        words = {case.id: words_for_parts(case.attributes.get(column, "")) for case in cases}
        part_of = {word: part_named(word) for of_case in words.values() for word in of_case}
        without = {"train"} if not all(words.values()) else set()
        if len({part for part in part_of.values() if part} | without) < 2:
            continue
        if None not in part_of.values():
            return _split(column, cases, {id: {str(part_of[word]) for word in said} for id, said in words.items()})
        doubtful = doubtful or _unknown_words(column, words, part_of)
    if doubtful is not None:
        raise doubtful
    return None


def _unknown_words(column: str, words: Mapping[str, Collection[str]], part_of: Mapping[str, str | None]) -> DataError:
    """Return why a column that has words for parts, and others, is no split: it would not be clear what to train on.

    Args:
        column: its name.
        words: id of each case -> what the column says of it.
        part_of: {word: part of a split, or None}.
    """
    unknown = [word for word, part in part_of.items() if part is None]
    known = [word for word, part in part_of.items() if part is not None]
    of_unknown = [id for id, said in words.items() if not {*unknown}.isdisjoint(said)]
    return DataError(
        f"The column {column} names parts of a split ({first_few(known)}), and for {counted(len(of_unknown), 'case')} "
        f"{first_few([repr(word) for word in unknown])}, which is none (as for {of_unknown[0]}).",
        f"Write train, val, test or trainval there, or nothing for cases to train on. {_GROUPED}",
    )


def published_folds(
    split: PublishedSplit, cases: Sequence[Case], structures: Mapping[str, Collection[str]]
) -> tuple[list[Fold], str]:
    """Return the folds of a published split: fold 0 as published, the others at random over its train and val.

    Args:
        split: the published split.
        cases: the cases to divide; those of its test part are left out.
        structures: id of each case -> the structures that are present in it.

    Returns:
        The folds, and a sentence that says how they were made; `PublishedSplit.sentence` has the sizes.
    """
    usable = [case for case in cases if case.id not in split.test]
    folds, why = make_splits(usable, structures, FOLDS)
    fold = Fold(
        train=sorted(case.id for case in usable if case.id not in split.val),
        val=sorted(case.id for case in usable if case.id in split.val),
    )
    if not fold["train"] or not fold["val"]:
        return folds, f"the published split has no part for validation: {why}"
    others = f"; the other folds are random: {why}" if folds[1:] else ""
    return [fold, *folds[1:]], f"fold 0 is the published split{others}"


def numbered_folds(cases: Sequence[Case]) -> tuple[list[Fold], str] | None:
    """Return the folds that a column `fold` numbers, as Auto3DSeg's datalists do, and a sentence on them.

    The cases of number k are the validation cases of a fold, all others are trained on; cases without a number are
    trained on in every fold.

    Args:
        cases: the cases to divide.

    Returns:
        None where no case has a fold, or all have the same.

    Raises:
        DataError: a value is not a whole number.

    >>> cases = [Case(str(n), str(n), (), attributes={"fold": str(n % 2)}) for n in range(4)]
    >>> numbered_folds(cases)[0][1]
    {'train': ['0', '2'], 'val': ['1', '3']}
    """
    # tables write whole numbers as 1.0 where others are missing
    values = {case.id: re.sub(r"\.0+$", "", case.attributes.get("fold", "").strip()) for case in cases}
    values = {id: "" if value.lower() in NO_VALUE else value for id, value in values.items()}
    given = {value for value in values.values() if value}
    if any(part_named(value) for value in given):  # `published_split` reads these
        return None
    if wrong := sorted(value for value in given if not (value.isascii() and value.isdigit())):
        raise DataError(
            f"The column fold holds {first_few([repr(value) for value in wrong])}; expected 0, 1, 2, ...",
            f"Number the folds from 0. {_GROUPED}",
        )
    numbers = sorted({int(value) for value in given})
    if len(numbers) < 2:
        return None
    number_of = {id: int(value) for id, value in values.items() if value}
    folds = [
        Fold(
            train=sorted(id for id in values if number_of.get(id) != number),
            val=sorted(id for id, of_case in number_of.items() if of_case == number),
        )
        for number in numbers
    ]
    sentence = f"{len(folds)} folds of the data set's own (fold); --splits grouped does not use them"
    if numbers != [*range(len(numbers))]:
        sentence += f"; fold 0 is its fold {numbers[0]}, the others follow in order"
    always = len(values) - len(number_of)
    if always:
        sentence += f"; {counted(always, 'case')} without a fold, trained on in each"
    return folds, "; ".join([sentence, *patient_leaks(folds, cases)])


def _rank(column: str) -> tuple[int, str]:
    """Return where a column stands among `COLUMNS`."""
    return COLUMNS.index(column.lower()), column


def _split(column: str, cases: Sequence[Case], parts: Mapping[str, Collection[str]]) -> PublishedSplit:
    """Return the split of a column, from the parts that it names for each case."""
    hint = f"Correct the split. {_GROUPED}"
    named = {part for of_case in parts.values() for part in of_case}
    trainval = "val" if "train" in named and "val" not in named else "train"
    part_of = {}
    for id, of_case in parts.items():
        settled = {part for part in of_case if part != TRAINVAL} or {trainval}
        if (TRAINVAL in of_case and "test" in settled) or len(settled) > 1:
            raise DataError(f"The case {id!r} is in {' and in '.join(sorted(of_case))} (column {column}).", hint)
        part_of[id] = settled.pop() if of_case else "train"
    _check_patients(column, cases, part_of, hint)
    ids = {
        part: frozenset(id for id, of_case in part_of.items() if of_case == part) for part in ("train", "val", "test")
    }
    if not ids["train"]:
        sizes = ", ".join(f"{len(ids[part])} {part}" for part in ids)
        raise DataError(f"The split of the data set (column {column}) has no case to train on: {sizes}.", hint)
    return PublishedSplit(column, **ids)


def _check_patients(column: str, cases: Sequence[Case], part_of: Mapping[str, str], hint: str) -> None:
    """Refuse a split that has cases of one patient in two parts: its scores would be too good.

    Raises:
        DataError: there are such patients.
    """
    parts: dict[str, set[str]] = {}
    for case in cases:
        parts.setdefault(case.patient, set()).add(part_of[case.id])
    torn = sorted(patient for patient, of_patient in parts.items() if len(of_patient) > 1)
    if torn:
        raise DataError(
            f"The split of the data set (column {column}) has cases of {counted(len(torn), 'patient')} in two parts "
            f"({first_few(torn)}): scores would be too good.",
            hint,
        )
