"""Sections on a run: what its record, log and plan say is on the page."""

from builders import make_plan

from medseg.delivery.pages.blocks import Chart, Facts, Table
from medseg.delivery.pages.run_sections import curves_section, data_section, plan_section, record_facts
from medseg.models.record import RunRecord


def test_what_became_of_a_run_is_told() -> None:
    record = {
        "steps": 90,
        "changes": [{"step": 10, "key": "training.learning_rate", "old": 0.01, "new": 0.002}],
        "extended": [{"from_step": 45, "to_step": 90, "asked": "2x"}],
        "schedule": [[0, 45, 0.0, 1.0], [45, 90, 0.0, 1.0]],
    }
    assert record_facts(RunRecord.model_validate(record))[1:] == [
        ("changed", "from step 10 on, training.learning_rate: 0.01 -> 0.002"),
        ("extended", "from step 45 to 90, by --extend 2x"),
        ("schedule", "steps 0 to 45: from 0% to 100%"),
        ("schedule", "steps 45 to 90: from 0% to 100%"),
    ]


def test_a_record_is_told_in_words_and_only_what_it_says():
    record = {"steps": 12, "repeat_with": "--fold 0 --steps 12", "budget_seconds": None, "odd": 1}
    facts = record_facts(RunRecord.model_validate(record))
    assert facts == [("optimizer steps", "12"), ("repeat with", "medseg train --fold 0 --steps 12")]


def test_curves_are_drawn_of_what_was_logged():
    records = [{"kind": "train", "step": s, "loss": 1 / s, "learning_rate": 0.1} for s in (10, 20, 30)]
    loss, dice, iou, train_dice, rate = curves_section(records).blocks
    assert iou.svg == train_dice.svg == ""
    assert isinstance(loss, Chart)
    assert loss.svg
    assert rate.svg
    assert dice.svg == ""  # no validation was logged: the page leaves the panel out
    records.append({"kind": "validation", "step": 30, "dice": {"liver": 0.5, "spleen": None}})
    assert "liver from 0.5" in curves_section(records).blocks[1].svg


def test_the_plan_is_shown_with_its_reasons_and_without_other_configurations():
    plan = make_plan()
    (name,) = plan.configurations
    plan.reasons[f"configurations.{name}.batch_size"] = "fits into memory"
    plan.reasons["configurations.other.batch_size"] = "of another configuration"
    decisions, rest = plan_section(plan, name).blocks
    assert isinstance(decisions, Table)
    batch = str(plan.configuration(name).batch_size)
    assert [f"configurations.{name}.batch_size", batch, "fits into memory"] in [list(row) for row in decisions.rows]
    assert not any("other" in row[0] for row in decisions.rows)
    assert ["training.seed", str(plan.training.seed)] in [list(row) for row in rest.rows]


def test_the_data_are_described():
    plan = make_plan()
    facts, _ = data_section(plan).blocks
    assert isinstance(facts, Facts)
    assert ("channels", ", ".join(plan.data.channels)) in facts.rows
