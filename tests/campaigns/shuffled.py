"""Evaluation of folders whose names are shuffled, renamed, missing or extra: no wrong pair is scored unless asked for.

    python tests/campaigns/shuffled.py --count 500

The references of a try follow one of the patterns that names have in the field; the predictions get names that are
equal apart from known suffixes, or renumbered, padded, turned round, cut, put into folders, in two formats, or there
without a reference. Only a name that is equal apart from known suffixes makes a pair. A pair of two cases is a failure;
with `--pair similar` every pair that rests on similar names must be listed by the result, metrics.json and report.html.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from campaign import Fault, Settings, Tally, main

PATTERNS: dict[str, Callable[[int, Any], str]] = {
    "case_000": lambda k, rng: f"case_{k:03d}",
    "0": lambda k, rng: f"{k}",
    "p1_s2": lambda k, rng: f"p{k // 3 + 1}_s{k % 3 + 1}",
    "sub-01_ses-1": lambda k, rng: f"sub-{k // 2:02d}_ses-{k % 2 + 1}",
    "Liver 1 left": lambda k, rng: f"Liver {k // 2} {('left', 'right')[k % 2]}",
    "hash": lambda k, rng: "".join(rng.choice([*"0123456789abcdef"], 8)),
    "date": lambda k, rng: f"2024-0{k % 9 + 1}-1{k // 9}_visit",
    "é1": lambda k, rng: f"fälle_é{k}",
}
_SUFFIXES = ("_seg", "_pred", "_mask", "_0000", "_label")


def turned(name: str) -> str:
    """Return a name with its parts in another order."""
    parts = re.split(r"([_\- ])", name)
    return "".join(reversed(parts)) if len(parts) > 1 else name[::-1]


def numbers_changed(name: str, change: Callable[[int], str]) -> str:
    return re.sub(r"\d+", lambda number: change(int(number[0])), name)


def numbers_swapped(name: str) -> str:
    numbers = re.findall(r"\d+", name)[::-1]
    return re.sub(r"\d+", lambda _: numbers.pop(0), name)


RENAMED: dict[str, Callable[[str, Any], str]] = {
    "equal": lambda name, rng: name,
    "known suffix": lambda name, rng: name + str(rng.choice(_SUFFIXES)),
    "known prefix": lambda name, rng: f"pred_{name}",
    "other prefix": lambda name, rng: f"model3_{name}",
    "other suffix": lambda name, rng: f"{name}_v2",
    "renumbered": lambda name, rng: numbers_changed(name, lambda number: f"{number + 3:03d}"),
    "padded": lambda name, rng: numbers_changed(name, lambda number: f"{number:05d}"),
    "numbers swapped": lambda name, rng: numbers_swapped(name),
    "turned": lambda name, rng: turned(name),
    "cut": lambda name, rng: name[:-1] or "x",
    "longer": lambda name, rng: f"{name}{rng.integers(10)}",
    "upper case": lambda name, rng: name.upper(),
    "decomposed": lambda name, rng: __import__("unicodedata").normalize("NFD", name),
    "another name": lambda name, rng: f"answer_{rng.integers(1000)}",
}


def plain(stem: str) -> str:
    """Return a name without the known suffixes of this campaign."""
    stem = stem.removeprefix("pred_")
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    return stem


def write(path: Path, number: int) -> None:
    """Write a label map that no other number has: a block of number + 1 slices."""
    import nibabel as nib
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((4, 4, 16), np.uint8)
    array[1:3, 1:3, : number + 1] = 1
    nib.Nifti1Image(array, np.eye(4)).to_filename(path)


def attempt(folder: Path, how: Sequence[str], pattern: str, pair: str, rng: Any) -> str:
    """Write both sides, evaluate, and look at every pair.

    Args:
        folder: where to work.
        how: keys of `RENAMED`, of which each prediction gets one.
        pattern: key of `PATTERNS`.
        pair: which pairs are asked for.
        rng: random numbers.
    """
    import medseg
    from medseg.core.errors import MedsegError

    shutil.rmtree(folder, ignore_errors=True)
    cases = [PATTERNS[pattern](number, rng) for number in range(int(rng.integers(2, 10)))]
    truth = {folder / "references" / f"{case}.nii.gz": case for case in cases}
    for number, path in enumerate(truth):
        write(path, number)
    predictions = folder / "predictions"
    for number, case in enumerate(cases):
        if rng.random() < 0.1:
            continue  # missing
        name = RENAMED[how[rng.integers(len(how))]](case, rng)
        below = predictions / "more" if rng.random() < 0.05 else predictions
        path = below / f"{name}{rng.choice(['.nii.gz', '.nii.gz', '.nii'])}"
        if path not in truth:
            write(path, number)
            truth[path] = plain(name) if plain(name) in cases else case
    if rng.random() < 0.2:
        extra = predictions / f"extra_{rng.integers(100)}.nii.gz"
        write(extra, 15)
        truth[extra] = "none"
    predictions.mkdir(exist_ok=True)
    options = medseg.EvaluateOptions(pair=pair, surface=False, output=folder / "out")
    try:
        result = medseg.evaluate(predictions, folder / "references", options=options)
    except MedsegError as error:
        if len(str(error)) > 3000:
            raise Fault(f"a message of {len(str(error))} characters:\n{error}") from None
        return "refused"
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    listed = {*result.similar.items()}
    if listed != {*metrics.get("paired_by_similar_names", {}).items()}:
        raise Fault(f"listed {listed}, in metrics.json {metrics.get('paired_by_similar_names')}")
    page = (folder / "out" / "report.html").read_text()
    for score in result.summary.cases:
        both = Path(score.prediction), Path(score.reference)
        of = [next(case for path, case in truth.items() if path.samefile(file)) for file in both]
        equal = plain(re.sub(r"\.nii(\.gz)?$", "", both[0].name)) == of[1]
        told = any({both[0].name, both[1].name} == {Path(name).name for name in names} for names in listed)
        if not equal and not told:
            raise Fault(f"{both[0].name} (of {of[0]}) was scored against {both[1].name}, and not listed")
        if told and both[0].name not in page:
            raise Fault(f"{both[0].name} was paired by a similar name, and report.html does not say so")
    scored = len(result.summary.cases)
    return "every case scored" if scored == len(cases) else "some cases scored"


def campaign(settings: Settings, tally: Tally) -> None:
    """Draw a pattern and one or two ways to rename for every try."""
    warnings.simplefilter("error", RuntimeWarning)
    for number, rng in settings.tries():
        ways = [*RENAMED]
        how = [ways[number % len(ways)]] if rng.random() < 0.6 else [*rng.choice(ways, 3)]
        pattern = str(rng.choice([*PATTERNS]))
        pair = "similar" if rng.random() < 0.3 else "equal"
        name = f"--pair {pair}: {how[0] if len(how) == 1 else 'mixed'}"
        tally.try_it(
            name, number, lambda a=(settings.folder / "try", how, pattern, pair, rng): attempt(*a), f"{how} {pattern}"
        )


if __name__ == "__main__":
    sys.exit(main(campaign, __doc__, 500))
