"""Write the model card of a package: what the model does, its training data and scores, and what it is not for.

Fields follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). Fields that nobody filled in say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from medseg.core.options import OFTEN
from medseg.core.wording import counted, four_digits

if TYPE_CHECKING:
    from medseg.models.model import Model
    from medseg.plans.schema import Configuration
    from medseg.selection.record import Selection

NOT_STATED = "Not stated."
_SPECIAL = re.compile(r"([\\\\`*\[\]<>|&~$]|(?<!\w)_|_(?!\w))")
"""Characters that mean something in Markdown; not `_` within a word, where it means nothing."""
_LIMITS = (
    "Scans unlike those it was trained on (another scanner, protocol, body part, age or disease) may be segmented "
    "badly, without a warning. It is research software: someone who can judge its answers has to check them."
)


@dataclass(frozen=True)
class About:
    """Fields of the model card that only people know.

    Attributes:
        author: Who made the model.
        license: Licence of the weights.
        intended_use: What the model is for.
        limitations: What the model is not for, and where it fails.
        training_data: What the model was trained on, in words.
        contact: Whom to ask about the model.
        citation: What to cite.
    """

    author: Annotated[str | None, OFTEN] = None
    license: Annotated[str | None, OFTEN] = None
    intended_use: str | None = None
    limitations: str | None = None
    training_data: str | None = None
    contact: str | None = None
    citation: str | None = None


@dataclass(frozen=True)
class FoldScore:
    """The scores of one fold on its validation cases.

    Attributes:
        fold: its name.
        cases: how many were scored.
        dice: {structure: mean Dice}; None where it is not defined.
        steps: training steps; None where that is not recorded.
    """

    fold: str
    cases: int
    dice: Mapping[str, float | None]
    steps: int | None = None


def model_card(model: Model, about: About, scores: Sequence[FoldScore], made_by: str) -> str:
    """Return the model card in Markdown; equal input gives equal text.

    Args:
        model: what the card describes.
        about: the fields that only people know.
        scores: the scores of those of its folds that have any.
        made_by: programs that made the model, and their versions.
    """
    plan = model.plan
    stages = [stage for part in model.together for stage in (part, part.previous) if stage is not None]
    lines = [f"# {_escaped(plan.name)}", ""]
    lines += ["A model that segments medical images, for use with medseg.", ""]
    lines += _section("What it does", _abilities(model))
    lines += _section("Intended use", [_written(about.intended_use)])
    lines += _section("Limits", [*([_written(about.limitations)] if about.limitations else []), _LIMITS])
    lines += _section("Training data", _training_data(model, about))
    lines += _section("Scores", _scores(model, scores))
    if model.selection is not None:
        lines += _section("Selection", _selection(model.selection))
    lines += _section("How it is built", [line for stage in stages for line in _network(stage)])
    facts = [("Author", about.author), ("Licence", about.license), ("Contact", about.contact), ("Cite", about.citation)]
    lines += _section(
        "Who and how", [f"- {name}: {_written(value)}" for name, value in facts] + [f"- Made by: {_escaped(made_by)}"]
    )
    return "\n".join(lines).rstrip() + "\n"


def _escaped(name: str) -> str:
    """Return a name from a plan as one line of Markdown that shows it as it is: no table cell, link or HTML of it."""
    return _SPECIAL.sub(r"\\\1", " ".join(name.split()))


def _written(text: str | None) -> str:
    """Return what a person wrote for the card: Markdown, but no HTML and no sections of its own."""
    lines = (text or NOT_STATED).replace("&", "&amp;").replace("<", "&lt;").splitlines()
    return "\n".join(re.sub(r"^(\s*)(#|[=-]+\s*$)", r"\1\\\2", line) for line in lines)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _abilities(model: Model) -> list[str]:
    plan = model.plan
    channels = ", ".join(map(_escaped, plan.data.channels))
    rows = [f"| {_escaped(name)} | {value} |" for name, value in plan.labels.written_values.items()]
    overlapping = ["", "Structures may overlap; a voxel of several gets the last one's value."]
    return [
        f"It takes scans of {len(plan.data.channels)} channel{'s' * (len(plan.data.channels) > 1)} ({channels}) and "
        "writes label maps on their own grid.",
        "",
        "| structure | value |",
        "|---|---|",
        *rows,
        *(overlapping if plan.labels.activation == "sigmoid" else []),
    ]


def _training_data(model: Model, about: About) -> list[str]:
    data = model.plan.data
    lines = [_written(about.training_data), ""] if about.training_data else []
    what = f"{counted(data.cases, 'case')}, {data.dimensions}D" if data.cases else f"{data.dimensions}D scans"
    lines.append(f"- {what}; channels: {', '.join(map(_escaped, data.channels))}")
    for name, cases in data.structure_cases.items():
        volume = data.structure_volume.get(name)
        unit = "ml" if data.spacing_known else "pixels"
        lines.append(
            f"- {_escaped(name)}: in {counted(cases, 'case')}" + (f", {volume:.4g} {unit} on average" if volume else "")
        )
    return lines


def _scores(model: Model, scores: Sequence[FoldScore]) -> list[str]:
    if not scores:
        return ["None of the model's folds came with scores of validation cases."]
    names = list(model.plan.labels.names)
    lines = ["Mean Dice over the cases that each fold was not trained on.", ""]
    lines += [f"| fold | steps | cases | {' | '.join(map(_escaped, names))} |", "|" + "---|" * (3 + len(names))]
    for score in scores:
        figures = [four_digits(score.dice.get(name)) for name in names]
        steps = "-" if score.steps is None else str(score.steps)
        lines.append(f"| {score.fold} | {steps} | {score.cases} | {' | '.join(figures)} |")
    return lines


def _selection(selection: Selection) -> list[str]:
    """Return the section on the selection: which models answer, with which postprocessing, and why."""
    evidence = [] if selection.evidence is None else [f"- Why: {_escaped(selection.evidence.reason)}."]
    done = selection.describe()
    treated = ", ".join(map(_escaped, done)) if done else "none"
    return [f"- Models: {_escaped(selection.title)}", *evidence, f"- Postprocessing: {treated}"]


def _network(model: Model) -> list[str]:
    configuration: Configuration = model.configuration
    network: dict[str, Any] = configuration.network.model_dump()
    spacing = " x ".join(f"{value:g}" for value in configuration.spacing_mm)
    patch = " x ".join(map(str, configuration.patch_voxels))
    unit = "mm" if model.plan.data.spacing_known else "pixels"
    after = (
        "" if model.configuration.previous_stage is None else f", after {_escaped(model.configuration.previous_stage)}"
    )
    return [
        f"- {_escaped(model.configuration_name)}{after}: {_escaped(network['name'])}, "
        f"features {network['features']}, patches of {patch} "
        f"at {spacing} {unit}; folds {', '.join(model.folds)}"
    ]
