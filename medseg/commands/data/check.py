"""`medseg check`: find everything that is wrong, or looks wrong, in a data set, before anything is planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg import __version__
from medseg.checking.check import check_set
from medseg.commands.data.options import CheckOptions
from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.core.files import check_folder, write_json
from medseg.core.progress import Callback, silent, track
from medseg.core.wording import counted, summary_line
from medseg.datasets.find_data import find_data
from medseg.delivery.pages.check_page import CheckFacts, check_page
from medseg.delivery.pages.page import write_page
from medseg.delivery.pictures.thumbnails import thumbnail
from medseg.engines.engine import Engine
from medseg.engines.open import open_engine
from medseg.io.images import read_label
from medseg.io.layouts.dataset import LAYOUTS, DataSet, LeftOut
from medseg.io.layouts.find import infer_labels
from medseg.io.load import load_case_image
from medseg.planning.findings import Finding
from medseg.planning.survey import Survey, survey
from medseg.plans.sections.reading import Reading

JSON, PAGE = "check.json", "check.html"
_SCHEMA_VERSION = 1
_MOST_PICTURES, _MOST_OF_A_KIND, _MOST_VALUES = 60, 8, 12


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
        findings: errors first; files and messages name files relative to the data set's folder.
        cases: ids of all cases, also of those that the layout leaves out.
        left_out: ids of the cases that have an error.
        notes: other sentences about how the data set was read.
        json_path: the findings as JSON.
        page_path: the findings as a page.
    """

    findings: list[Finding]
    cases: list[str]
    left_out: list[str]
    notes: list[str]
    json_path: Path
    page_path: Path

    def __repr__(self) -> str:
        counts = counted(len(self.errors), "error"), counted(len(self.warnings), "warning")
        return summary_line(self, f"{self.usable} of {counted(len(self.cases), 'case')} usable", *counts)

    @property
    def errors(self) -> list[Finding]:
        """The findings that leave a case out."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """The findings that do not leave the case out."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    @property
    def usable(self) -> int:
        """How many cases can be used."""
        return len(self.cases) - len(self.left_out)


def check(
    data: str | Path,
    workspace: str | Path = ".",
    options: CheckOptions | None = None,
    callback: Callback = silent,
) -> CheckResult:
    """Read every case of a data set, and write what is wrong with it as `check.json` and `check.html`.

    Args:
        data: the folder of the data set.
        workspace: the findings go to `checks/NAME/` in it.
        options: how to read the data set and where to write; None for the defaults.
        callback: told of the progress; may raise `Cancelled`.

    Returns:
        The findings, the cases that they leave out, and the files that were written.

    Raises:
        MedsegError: the folder is not a data set, or an option does not fit it.
    """
    options = options or CheckOptions()
    if options.orientation not in ("canonical", "stored"):
        raise PlanError(f"orientation is {options.orientation!r}; valid are canonical, stored.")
    orientation: Literal["canonical", "stored"] = "stored" if options.orientation == "stored" else "canonical"
    check_folder(_output_folder(Path(data), Path(workspace), options))
    data_set = find_data(Path(data), options.data)
    with open_engine(options.cluster, callback) as engine:
        return _check(data_set, orientation, Path(workspace), options, engine, callback)


def _check(
    data_set: DataSet,
    orientation: Literal["canonical", "stored"],
    workspace: Path,
    options: CheckOptions,
    engine: Engine,
    callback: Callback,
) -> CheckResult:
    """Check a data set whose cases are known, on an open engine."""
    surveyed = survey(data_set, orientation, callback, engine)
    checked = check_set(data_set, surveyed, orientation, options.data.annotated_from_values)
    findings = [_relative(finding, data_set.folder) for finding in checked]
    not_listed = {problem.id for problem in data_set.problems if isinstance(problem, LeftOut)}
    cases = sorted({case.id for case in data_set.cases} | not_listed)
    left_out = sorted({finding.case for finding in findings if finding.severity == "error"} & {*cases})
    name, folder = _name_of(data_set.folder), _output_folder(data_set.folder, workspace, options)
    notes = [_without(text, data_set.folder) for text in data_set.problems if not isinstance(text, LeftOut)]
    notes += [*surveyed.notes, *_refused_values(data_set, surveyed)]
    result = CheckResult(findings, cases, left_out, notes, folder / JSON, folder / PAGE)
    understood = _understood(data_set, surveyed)
    write_json(result.json_path, _as_json(result, data_set, understood))
    facts = CheckFacts(name, [*understood.items()], len(cases), left_out, notes)
    write_page(result.page_path, check_page(facts, findings, _pictures(findings, data_set, engine, callback)))
    return result


def _name_of(data: Path) -> str:
    return data.resolve().name or "dataset"


def _output_folder(data: Path, workspace: Path, options: CheckOptions) -> Path:
    return options.output or workspace / "checks" / _name_of(data)


def _refused_values(data_set: DataSet, surveyed: Survey) -> list[str]:
    """Return why `medseg plan` would refuse undeclared label values; [] if it would accept them."""
    if data_set.labels is not None or not surveyed.cases:
        return []
    values = {value for facts in surveyed.cases for value in facts.voxels}
    try:
        infer_labels(values, data_set.ignore, not data_set.no_background)
    except DataError as error:
        return [" ".join(str(error).split())]
    return []


def _without(text: str, folder: Path) -> str:
    """Return a message in which files are named relative to the data set's folder."""
    for end in ("/", "\\"):
        text = text.replace(f"{folder}{end}", "")
    return text


def _relative(finding: Finding, folder: Path) -> Finding:
    """Return a finding in which files are named relative to the data set's folder."""
    file = finding.file
    if file is not None and file.is_relative_to(folder):
        file = file.relative_to(folder)
    return replace(
        finding, message=_without(finding.message, folder), remedy=_without(finding.remedy, folder), file=file
    )


def _understood(data: DataSet, surveyed: Survey) -> dict[str, str]:
    """Return how the data set was understood, as {what: in words}."""
    values = sorted({value for case in surveyed.cases for value in case.voxels})
    if data.labels is not None:
        structures = ", ".join(
            f"{name} ({', '.join(map(str, members))})" for name, members in data.labels.members.items()
        )
    else:
        structures = f"not declared; the label files hold {', '.join(map(str, values[:_MOST_VALUES]))}" + (
            f" and {len(values) - _MOST_VALUES} more values" * (len(values) > _MOST_VALUES)
        )
    worst = max((case.grid_difference_voxels for case in surveyed.cases), default=0.0)
    return {
        "layout": LAYOUTS.get(data.layout, data.layout),
        "channels": ", ".join(data.channels),
        "structures": structures,
        "grids": f"channels and labels of the cases that can be used agree within {worst:.2g} voxels",
    }


def _as_json(result: CheckResult, data: DataSet, understood: dict[str, str]) -> dict[str, Any]:
    return {
        "schema_version": _SCHEMA_VERSION,
        "made_by": f"medseg {__version__}",
        "data_set": data.folder.resolve().name,
        **understood,
        "cases": len(result.cases),
        "usable": result.usable,
        "left_out": result.left_out,
        "counts": dict(Counter(finding.kind for finding in result.findings)),
        "findings": [
            {
                "severity": finding.severity,
                "kind": finding.kind,
                "case": finding.case or None,
                "file": None if finding.file is None else finding.file.as_posix(),
                "message": finding.message,
                "remedy": finding.remedy,
            }
            for finding in result.findings
        ],
        "notes": result.notes,
    }


def _pictures(
    findings: Sequence[Finding], data: DataSet, engine: Engine, callback: Callback
) -> dict[str, tuple[bytes, str]]:
    """Return {case: (PNG, description)} of the cases with findings that can be drawn, a few of each kind."""
    of_a_kind: Counter[str] = Counter()
    cases_shown: dict[str, None] = {}
    for finding in findings:
        of_a_kind[finding.kind] += 1
        if of_a_kind[finding.kind] <= _MOST_OF_A_KIND and len(cases_shown) < _MOST_PICTURES:
            cases_shown[finding.case] = None
    cases = [case for case in data.cases if case.id in cases_shown]
    draw = partial(_draw, reading=data.reading, background=data.background_value)
    drawn = track(engine.map(draw, cases), "pictures", len(cases), callback) if cases else ()
    return {case.id: picture for case, picture in drawn if not isinstance(picture, MedsegError)}


def _draw(case: Case, reading: Reading, background: int) -> tuple[bytes, str]:
    """Return a picture of a case as PNG, and its description; without the label where it does not fit.

    Raises:
        MedsegError: the scan cannot be read.
    """
    image = load_case_image(case, None, reading)
    label: NDArray[np.integer] | None = None
    remark = ""
    try:
        if case.label is not None:
            read = read_label(case.label, reading)
            if read.shape_zyx == image.shape_zyx:
                label = read.array[0]
                remark = "" if image.same_grid(read) else "; drawn as if the label lay on the grid of the scan"
    except MedsegError:
        remark = "; the label cannot be read"
    png, words = thumbnail(image, label, background)
    return png, words + remark
