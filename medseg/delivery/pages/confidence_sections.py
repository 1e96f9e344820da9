"""Sections of a selection's page: how well probabilities are calibrated, and how reliable flags were out of fold."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.confidence.calibration import Calibration
from medseg.confidence.quality import Quality
from medseg.confidence.reliability import Bin
from medseg.confidence.voxel_sample import LEAST_PROBABILITY
from medseg.delivery.pages.blocks import Chart, Facts, Notes, Table
from medseg.delivery.pages.charts import Axis, line_chart
from medseg.delivery.pages.page import Section


def calibration_section(calibration: Calibration, names: Sequence[str]) -> Section:
    """Return the reliability diagram, and calibration errors before and after.

    Args:
        calibration: the calibration.
        names: the structures.
    """
    several = len(calibration.temperatures) > 1
    outputs = names if len(calibration.biases) == len(names) else ["background", *names]
    temperatures = _of_each(calibration.temperatures, names if several else [""])
    drawn = f"{calibration.voxels:,} voxels of {calibration.cases} out-of-fold cases"
    facts = [
        ("temperature", f"{temperatures}; logits are divided by it. Above 1, the network was too sure"),
        ("fitted on", f"{drawn}; uncertain ones are drawn more often, and weigh less"),
        ("negative log-likelihood", f"{calibration.nll.before:.5f} before, {calibration.nll.after:.5f} after"),
    ]
    if calibration.biases:
        why = "is added to the divided logits. Below 0, the network answers the structure too readily"
        facts.insert(1, ("bias", f"{_of_each(calibration.biases, outputs)}; it {why}. Labels stay as they are"))
    errors = {"all": calibration.ece_all, **calibration.ece}
    rows = [(name, f"{error.before:.4f}", f"{error.after:.4f}") for name, error in errors.items()]
    lines: dict[str, list[tuple[float, float | None]]] = {
        "as it should be": [(0.0, 0.0), (1.0, 1.0)],
        "before": _points(calibration.diagram_before),
        "after": _points(calibration.diagram_after),
    }
    chart = line_chart("Reliability", lines, Axis("probability", 0, 1), Axis("share that is the structure", 0, 1))
    caption = (
        f"Expected calibration error, over voxels with a probability of at least {LEAST_PROBABILITY:g}; after: with "
        "what was fitted without the case's fold"
    )
    table = Table(caption, ("structure", "before", "after"), rows)
    diagram = Chart("Of the voxels with a probability, the share that belongs to the structure", chart)
    return Section("calibration", "Do probabilities mean what they say?", [Facts(facts), table, diagram])


def quality_section(quality: Quality) -> Section:
    """Return how reliable predicted Dice and flags were on out-of-fold answers.

    Args:
        quality: the quality model.
    """
    evidence = quality.evidence
    rows = [
        (
            name,
            f"{evidence.correlation[name]:.3f}" if name in evidence.correlation else "",
            f"{evidence.error[name]:.3f}",
            f"{evidence.coverage[name]:.0%}" if name in evidence.coverage else "",
            _share(quality.volume[name][0].coverage) if name in quality.volume else "",
        )
        for name in evidence.error
    ]
    head = ("structure", "correlation", "mean error", "within its interval", "volume within its interval")
    table = Table("Predicted Dice, each by a fit without the case's fold; intervals are meant to hold 90 %", head, rows)
    facts = [
        ("good answers flagged", f"{evidence.flagged_good:.1%} of {evidence.good}"),
        ("other answers flagged", _of_others(quality)),
    ]
    few = [f"There are only {evidence.cases} cases: thresholds are rough."] if evidence.cases < _FEW else []
    return Section("quality", "What flags are worth", [Facts(facts), table, Notes(few, "warning")])


_FEW = 50


def _of_others(quality: Quality) -> str:
    evidence = quality.evidence
    if evidence.flagged_bad is None:
        return "there are none: what flags are worth on bad answers is not known"
    return f"{evidence.flagged_bad:.1%} of {evidence.cases - evidence.good}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _of_each(values: Sequence[float], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {value:g}".strip() for name, value in zip(names, values, strict=True))


def _points(bins: Sequence[Bin]) -> list[tuple[float, float | None]]:
    return [(bar.probability, bar.frequency) for bar in bins]
