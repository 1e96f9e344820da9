"""Sections of the page of a training run: what was run, the data, the plan with its reasons, the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from medseg.delivery.pages.blocks import Block, Chart, Facts, Table
from medseg.delivery.pages.charts import Axis, line_chart
from medseg.delivery.pages.figures import NOTHING, digits_for, figure
from medseg.delivery.pages.page import Section
from medseg.evaluation.statistics import mean_defined
from medseg.models.record import ChangeRecord, EncoderWeightsRecord, RunRecord, StartRecord
from medseg.plans.schema import Plan

_SMOOTHED = 9
"""Records of the log that a point of the loss curve is the mean of."""


def run_section(facts: Sequence[tuple[str, str]]) -> Section:
    """Return the section on what was run: versions, hashes, device, how to repeat it."""
    return Section("run", "What was run", [Facts(facts)])


def record_facts(record: RunRecord) -> list[tuple[str, str]]:
    """Return the entries of a run's record as (term, text), without those that it does not have."""
    terms = {
        "configuration": "configuration",
        "fold": "fold",
        "steps": "optimizer steps",
        "budget_seconds": "budget (s)",
        "train_seconds": "seconds until trained",
        "seconds": "seconds in all",
        "repeat_with": "repeat with",
        "device": "device",
        "precision": "precision",
        "network_factory": "network of the user's own",
        "plan_hash": "plan (SHA-256)",
        "medseg": "medseg",
        "torch": "torch",
        "python": "Python",
    }
    values = [(term, getattr(record, key)) for key, term in terms.items()]
    facts = [(term, str(value)) for term, value in values if value is not None]
    facts = [(term, f"medseg train {text}" if term == "repeat with" else text) for term, text in facts]
    return [*facts, *_history(record)]


def _history(record: RunRecord) -> list[tuple[str, str]]:
    """Return facts on a run after its start: changes, extensions, and the schedule that followed."""
    changes = [
        ("changed", f"from step {change.step} on, {change.key}: {change.old} -> {change.new}{_why(change)}")
        for change in record.changes or ()
    ]
    extended = [
        ("extended", f"from step {extension.from_step} to {extension.to_step}, by --extend {extension.asked}")
        for extension in record.extended or ()
    ]
    schedule = [
        ("schedule", f"steps {leg.start} to {leg.stop}: from {leg.start_progress:.0%} to {leg.stop_progress:.0%}")
        for leg in record.schedule or ()
    ]
    return [*changes, *extended, *schedule]


def _why(change: ChangeRecord) -> str:
    return f" ({change.why})" if change.why else ""


def start_section(start: StartRecord) -> Section:
    """Return the section on what a run took over from the model that it started from."""
    rows = [[part.name, f"{part.taken:,}", f"{part.weights:,}", part.detail] for part in start.parts]
    facts = [
        ("started from", f"{start.source}, fold {start.fold}"),
        ("its identity", start.model),
        ("weights taken", f"{start.share:.1%}"),
    ]
    table = Table("Parts of the network", ["part", "weights taken", "of", "remarks"], rows, words=[3])
    return Section("start", "Start", [Facts([*facts, *(("note", note) for note in start.notes)]), table])


def weights_section(weights: EncoderWeightsRecord) -> Section:
    """Return the section on the file of pretrained weights that a run's encoder started from."""
    rows = [[part.name, f"{part.taken:,}", f"{part.weights:,}", part.detail] for part in weights.parts]
    facts = [
        ("encoder", weights.encoder),
        ("pretrained weights", weights.source),
        ("SHA-256", weights.sha256),
        ("weights taken", f"{weights.share:.1%}, found by {weights.found_by}"),
    ]
    table = Table("Parts of the encoder", ["part", "weights taken", "of", "remarks"], rows, words=[3])
    return Section(
        "weights", "Pretrained encoder", [Facts([*facts, *(("note", note) for note in weights.notes)]), table]
    )


def data_section(plan: Plan) -> Section:
    """Return the section on the data set that the plan was made from."""
    data = plan.data
    unit = "ml" if data.spacing_known else "pixels"
    facts = [
        ("folder", data.folder),
        ("layout", data.layout),
        ("cases", str(data.cases)),
        ("channels", ", ".join(data.channels)),
        ("dimensions", f"{data.dimensions}D"),
        ("orientation", plan.orientation),
    ]
    digits = digits_for(data.structure_volume.values())
    rows = [
        [name, str(data.structure_cases.get(name, NOTHING)), figure(data.structure_volume[name], digits)]
        for name in plan.labels.names
        if name in data.structure_volume
    ]
    table = Table("Structures in the training labels", ["structure", "cases", f"mean volume ({unit})"], rows)
    return Section("data", "Data", [Facts(facts), table])


def plan_section(plan: Plan, configuration: str) -> Section:
    """Return the section on what was decided and why.

    Args:
        plan: the plan of the run; keys with a reason come first, all others are folded.
        configuration: the configuration that was trained; keys of others are left out.
    """
    values = _flat(plan.model_dump(mode="json"))
    shown = {key: text for key, text in values.items() if not _is_foreign(key, configuration)}
    reasoned = [[key, shown[key], why] for key, why in plan.reasons.items() if key in shown]
    rest = [[key, value] for key, value in shown.items() if key not in plan.reasons]
    blocks: list[Block] = [
        Table("Decisions and their reasons", ["key", "value", "reason"], reasoned, words=[1, 2]),
        Table("Everything else in the plan", ["key", "value"], rest, words=[1], folded=True),
    ]
    return Section("plan", f"Plan {plan.name}", blocks)


def curves_section(records: Sequence[Mapping[str, Any]]) -> Section:
    """Return the section with loss, Dice per structure and learning rate over the steps.

    Args:
        records: the records of log.jsonl.
    """
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation" and record.get("dice")]
    loss = {"training": _smooth([(float(record["step"]), float(record["loss"])) for record in train])}
    validation_loss = [(float(record["step"]), record.get("loss")) for record in validation]
    if any(value is not None for _, value in validation_loss):
        loss["validation"] = validation_loss
    rate = {"learning rate": [(float(record["step"]), float(record["learning_rate"])) for record in train]}
    steps = Axis("steps", 0)
    charts = [
        Chart(
            f"Training loss, mean of {_SMOOTHED} records" + "; validation loss of the same patches" * (len(loss) > 1),
            line_chart("Training loss", loss, steps, Axis("loss")),
        ),
        Chart(
            "Dice on whole volumes while training",
            line_chart("Validation Dice", _by_structure(validation, "dice"), steps, Axis("Dice", 0, 1)),
        ),
        Chart(
            "IoU on whole volumes while training",
            line_chart("Validation IoU", _by_structure(validation, "iou"), steps, Axis("IoU", 0, 1)),
        ),
        Chart(
            "Dice of training cases while training",
            line_chart("Training Dice", _by_structure(validation, "train_dice"), steps, Axis("Dice", 0, 1)),
        ),
        Chart("Learning rate", line_chart("Learning rate", rate, steps, Axis("learning rate", 0))),
    ]
    return Section("training", "Training", charts)


def _by_structure(validations: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[tuple[float, float | None]]]:
    """Return {structure: (step, score) points} of a score in the log; first their mean, where there are several."""
    scored = [(float(record["step"]), record[key]) for record in validations if record.get(key)]
    names = list(dict.fromkeys(name for _, scores in scored for name in scores))
    lines = {name: [(step, scores.get(name)) for step, scores in scored] for name in names}
    if len(names) > 1:
        lines = {"mean": [(step, mean_defined(scores.values())) for step, scores in scored], **lines}
    return lines


def _is_foreign(key: str, configuration: str) -> bool:
    """Return whether a key belongs to another configuration, or to what nnU-Net's plan said."""
    return (key.startswith("configurations.") and not key.startswith(f"configurations.{configuration}.")) or (
        key.startswith("nnunet.")
    )


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float | None]]:
    """Return the mean over a centred window, narrower towards both ends so that a steep start stays steep."""
    smoothed: list[tuple[float, float | None]] = []
    for index, (step, _) in enumerate(points):
        reach = min(_SMOOTHED // 2, index, len(points) - 1 - index)
        smoothed.append((step, fmean(value for _, value in points[index - reach : index + reach + 1])))
    return smoothed


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Return {dotted key: value as text}; lists stay in one piece."""
    if not isinstance(value, dict) or not value:
        return {path: "–" if value is None or value == {} else str(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{path}.{key}" if path else str(key))
    return flat
