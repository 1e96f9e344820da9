"""Quantize one fold: ranges from tiles of its training cases, evidence from its validation cases."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import version
from math import ceil
from statistics import fmean
from typing import Literal

import torch

from medseg import __version__
from medseg.core.case import Case
from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError
from medseg.core.progress import Callback, track
from medseg.core.wording import lines_of
from medseg.evaluation.overlap import confusion, overlaps
from medseg.inference.predictor import Predictor
from medseg.inference.tiles import Views
from medseg.io.load import load_case, load_case_image
from medseg.models.identity import network_identity
from medseg.models.model import Model
from medseg.models.quantization import DICE_DIGITS, Evidence, Quantization
from medseg.models.run import load_run
from medseg.models.run_files import FoldFolder
from medseg.networks.device import first_line, precision_name

_MOST_TILES = 64
_MOST_CASES = 32
"""Training cases and their tiles that ranges are found on: NNCF's own number of tiles is 300."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class FoldCases:
    """The labelled cases of a fold, which are in the data set: `training` and `validation`."""

    training: Sequence[Case]
    validation: Sequence[Case]


def quantized_fold(
    files: FoldFolder, cases: FoldCases, weight_bits: Literal[7, 8], callback: Callback
) -> tuple[Quantization, dict[str, str]]:
    """Return how a fold is computed in 8 bits with what that costs, and {case: why it could not be used}.

    Args:
        files: of the fold.
        cases: of the fold.
        weight_bits: as `fit_roundings`.
        callback: receives progress, as the stages `calibrate` and `validate`.

    Raises:
        MedsegError: the network cannot be quantized, or no case can be read.
    """
    model = load_run(files.run.path, _CPU, [files.fold], ["inference.precision=auto"])
    plain = Predictor(model, _CPU, compares=False)  # with its own data set
    calibration = _calibration(plain, cases.training, callback)
    before = _scores(plain, cases.validation, callback)
    failed = calibration.failed | before.failed
    for careful in (False, True):
        tried = quantization_of(model, calibration.tiles, careful, weight_bits)
        after = _scores(_in_int8(model, tried), cases.validation, callback)
        evidence = _evidence(model.plan.labels.names, precision_name(plain.precision), calibration, before, after)
        tried = tried.model_copy(update={"evidence": evidence})
        if tried.kept:
            break
    return tried, failed | after.failed


def _in_int8(model: Model, quantization: Quantization) -> Predictor:
    """Return a predictor that computes the only fold of a model in 8 bits."""
    inference = model.plan.inference.model_copy(update={"precision": "int8", "backend": "auto"})
    plan = model.plan.model_copy(update={"inference": inference})
    return Predictor(replace(model, plan=plan, quantizations=(quantization,)), _CPU, compares=False)


def quantization_of(
    model: Model, tiles: Sequence[torch.Tensor], careful: bool, weight_bits: Literal[7, 8]
) -> Quantization:
    """Return how the only fold of a model is computed in 8 bits, without evidence.

    Args:
        model: of one fold.
        tiles: (1, channel, ...) of training cases.
        careful: as `fit_roundings`.
        weight_bits: likewise.

    Raises:
        ModelError: its network cannot be quantized.
    """
    from medseg.inference.backends.openvino_fit_int8 import fit_roundings  # NNCF takes a second to import

    network = model.networks[0]
    try:
        graph, roundings = fit_roundings(network, tiles, careful, weight_bits)
    except Exception as error:  # OpenVINO and NNCF raise unrelated types
        name = model.configuration.network.name
        raise ModelError(
            f"The network {name} of {model.folder} cannot be quantized: {first_line(error)}",
            "It predicts in other precisions: --set inference.precision=auto",
        ) from None
    return Quantization(
        schema_version=1 if weight_bits == 8 else 2,
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        medseg=__version__,
        nncf=version("nncf"),
        openvino=version("openvino"),
        network=network_identity(network),
        graph=graph,
        careful=careful,
        weight_bits=weight_bits,
        evidence=None,
        roundings=roundings,
    )


@dataclass
class _Calibration:
    """Tiles (1, channel, ...) of training cases, the ids of these cases, and {case: why it could not be used}."""

    tiles: list[torch.Tensor] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def _calibration(predictor: Predictor, cases: Sequence[Case], callback: Callback) -> _Calibration:
    """Return tiles of training cases as the network sees them: spread over cases, and over each of them.

    Raises:
        DataError: no case could be read.
    """
    made = _Calibration()
    chosen = [
        cases[number * len(cases) // min(_MOST_CASES, len(cases))] for number in range(min(_MOST_CASES, len(cases)))
    ]
    each = ceil(_MOST_TILES / len(chosen))
    data = predictor.model.plan.data
    for case in track(chosen, "calibrate", len(chosen), callback):
        try:
            image = torch.from_numpy(predictor.prepare(load_case_image(case, len(data.channels), data.reading)).image)
        except Cancelled:
            raise
        except MedsegError as error:
            made.failed[case.id] = str(error)
            continue
        views = Views.of(
            image.shape[1:], predictor.configuration, predictor.inference.model_copy(update={"mirror": False})
        )
        count = min(each, len(views))
        for number in range(count):
            made.tiles.append(views.cut(image, views.batch((2 * number + 1) * len(views) // (2 * count), 1)))
        made.cases.append(case.id)
    if not made.tiles:
        raise DataError(f"No training case could be read:{lines_of(made.failed)}")
    return made


@dataclass(frozen=True)
class _Scores:
    """Scores of validation cases.

    Attributes:
        dice: {case: {structure: Dice}}; None where neither reference nor answer has it.
        seconds: {case: seconds from the network's grid to labels}.
        failed: {case: why it could not be scored}.
    """

    dice: dict[str, dict[str, float | None]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def mean_dice(self, name: str, cases: Collection[str]) -> float | None:
        """Return the mean Dice of a structure over cases; None where none has it."""
        values = [value for case in cases if (value := self.dice[case].get(name)) is not None]
        return round(fmean(values), DICE_DIGITS) if values else None

    def mean_seconds(self, cases: Collection[str]) -> float:
        """Return the mean time of cases."""
        return round(fmean(self.seconds[case] for case in cases), 4)


def _scores(predictor: Predictor, cases: Sequence[Case], callback: Callback) -> _Scores:
    """Score a predictor on labelled cases."""
    data, labels = predictor.model.plan.data, predictor.model.plan.labels
    scores = _Scores()
    predictor.warm_up()
    for case in track(cases, "validate", len(cases), callback):
        try:
            loaded = load_case(case, len(data.channels), data.reading, labels)
            reference = labels.encode(loaded.label.array[0], str(case.label))
            volume = predictor.prepare(loaded.image)
            start_time = time.monotonic()
            answer = labels.encode(predictor.labels(volume), "the answer")
        except Cancelled:
            raise
        except MedsegError as error:
            scores.failed[case.id] = str(error)
            continue
        scores.seconds[case.id] = time.monotonic() - start_time
        counts = confusion(reference, answer, len(labels.values))
        scores.dice[case.id] = {
            name: overlap.dice for name, overlap in overlaps(counts, labels, case.annotated).items()
        }
    return scores


def _evidence(
    names: Sequence[str], beside: str, calibration: _Calibration, before: _Scores, after: _Scores
) -> Evidence:
    """Return what int8 costs on the cases that were scored in both precisions.

    Args:
        names: the structures.
        beside: name of the precision that it is compared with.
        calibration: what ranges were found on.
        before: scores in that precision.
        after: scores in int8.

    Raises:
        DataError: no case could be scored in both.
    """
    cases = [case for case in before.dice if case in after.dice]
    # a structure that one of both lacks in every case has no Dice there, and counts as 0 where the other one has it
    pairs = {name: (before.mean_dice(name, cases), after.mean_dice(name, cases)) for name in names}
    known = [pair for pair in pairs.values() if pair != (None, None)]
    if not known:
        whys = lines_of(before.failed | after.failed)
        raise DataError(f"No validation case could be scored: nothing shows what 8 bits cost.{whys}")
    return Evidence(
        beside=beside,
        tiles=len(calibration.tiles),
        training_cases=len(calibration.cases),
        calibrated_on=calibration.cases,
        validation_cases=len(cases),
        dice_before=round(fmean(pair[0] or 0.0 for pair in known), DICE_DIGITS),
        dice_after=round(fmean(pair[1] or 0.0 for pair in known), DICE_DIGITS),
        structures=pairs,
        seconds_before=before.mean_seconds(cases),
        seconds_after=after.mean_seconds(cases),
    )
