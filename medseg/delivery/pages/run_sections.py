"""Sections of a page that show a training run: what was run, the data, the plan with its reasons, the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from medseg.delivery.pages.charts import Axis, line_chart
from medseg.delivery.pages.page import Block, Chart, Facts, Section, Table
from medseg.plans.schema import Plan

_SMOOTHED = 9


def run_section(facts: Sequence[tuple[str, str]]) -> Section:
    """What was run: versions, hashes, device, how to repeat it."""
    return Section("run", "What was run", [Facts(facts)])


def record_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run's record says, as terms in words; what it does not say is left out."""
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
        "plan_hash": "plan (BLAKE2b)",
        "medseg": "medseg",
        "torch": "torch",
        "python": "Python",
    }
    said = [(term, str(record[key])) for key, term in terms.items() if record.get(key) is not None]
    facts = [(term, f"medseg train {text}" if term == "repeat with" else text) for term, text in said]
    return [*facts, *_history(record)]


def _history(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What became of a run after its begin: what was changed, how often it was extended, and its schedule from then."""
    changes = [
        ("changed", f"from step {one['step']} on, {one['key']}: {one['old']} -> {one['new']}{_why(one)}")
        for one in record.get("changes", ())
    ]
    extended = [
        ("extended", f"from step {one['from_step']} to {one['to_step']}, by --extend {one['asked']}")
        for one in record.get("extended", ())
    ]
    schedule = [
        ("schedule", f"steps {start} to {stop}: from {begin:.0%} to {end:.0%}")
        for start, stop, begin, end in record.get("schedule", ())
    ]
    return [*changes, *extended, *schedule]


def _why(change: Mapping[str, Any]) -> str:
    return f" ({change['why']})" if change.get("why") else ""


def start_section(start: Mapping[str, Any]) -> Section:
    """What a run took over from the model that it started from, as its record has it."""
    rows = [
        [str(part["name"]), f"{part['taken']:,}", f"{part['weights']:,}", str(part["detail"])]
        for part in start["parts"]
    ]
    facts = [
        ("started from", f"{start['source']}, fold {start['fold']}"),
        ("its identity", str(start["model"])),
        ("weights taken", f"{start['share']:.1%}"),
    ]
    table = Table("Parts of the network", ["part", "weights taken", "of", "what there is to say"], rows, words=[3])
    return Section("start", "Start", [Facts([*facts, *(("note", note) for note in start["notes"])]), table])


def data_section(plan: Plan) -> Section:
    """The data set that the plan was made from."""
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
    rows = [
        [name, str(data.structure_cases.get(name, "–")), f"{data.structure_volume.get(name, float('nan')):.4g}"]
        for name in plan.labels.names
        if name in data.structure_volume
    ]
    table = Table("Structures in the training labels", ["structure", "cases", f"mean volume ({unit})"], rows)
    return Section("data", "Data", [Facts(facts), table])


def plan_section(plan: Plan, configuration: str) -> Section:
    """What was decided and why: the keys of the plan that have a reason, and all others folded."""
    values = _flat(plan.model_dump(mode="json"))
    there = {key: text for key, text in values.items() if not _elsewhere(key, configuration)}
    reasoned = [[key, there[key], why] for key, why in plan.reasons.items() if key in there]
    rest = [[key, value] for key, value in there.items() if key not in plan.reasons]
    blocks: list[Block] = [
        Table("Decisions and their reasons", ["key", "value", "reason"], reasoned, words=[1, 2]),
        Table("Everything else in the plan", ["key", "value"], rest, words=[1], folded=True),
    ]
    return Section("plan", f"Plan {plan.name}", blocks)


def curves_section(records: Sequence[Mapping[str, Any]]) -> Section:
    """Loss, Dice per structure and learning rate over the steps, from log.jsonl."""
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation" and record.get("dice")]
    loss = {
        "training loss": _smooth([(float(one["step"]), float(one["loss"])) for one in train]),
    }
    rate = {"learning rate": [(float(one["step"]), float(one["learning_rate"])) for one in train]}
    names = list(dict.fromkeys(name for one in validation for name in one["dice"]))
    dice = {name: [(float(one["step"]), one["dice"].get(name)) for one in validation] for name in names}
    if len(names) > 1:
        dice = {"mean": [(float(one["step"]), _mean(one["dice"].values())) for one in validation], **dice}
    steps = Axis("steps", 0)
    charts = [
        Chart(f"Training loss, mean of {_SMOOTHED} records", line_chart("Training loss", loss, steps, Axis("loss"))),
        Chart("Dice on whole volumes while training", line_chart("Validation Dice", dice, steps, Axis("Dice", 0, 1))),
        Chart("Learning rate", line_chart("Learning rate", rate, steps, Axis("learning rate", 0))),
    ]
    return Section("training", "Training", charts)


def _elsewhere(key: str, configuration: str) -> bool:
    """Whether a key belongs to another configuration, or to what nnU-Net's plan said."""
    return (key.startswith("configurations.") and not key.startswith(f"configurations.{configuration}.")) or (
        key.startswith("nnunet.")
    )


def _mean(values: Any) -> float | None:
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float | None]]:
    """Mean over a centred window, narrower towards both ends so that a steep start stays steep."""
    smoothed: list[tuple[float, float | None]] = []
    for place, (step, _) in enumerate(points):
        reach = min(_SMOOTHED // 2, place, len(points) - 1 - place)
        smoothed.append((step, fmean(value for _, value in points[place - reach : place + reach + 1])))
    return smoothed


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Dotted keys to values as text; lists stay in one piece."""
    if not isinstance(value, dict) or not value:
        return {path: "–" if value is None or value == {} else str(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{path}.{key}" if path else str(key))
    return found
