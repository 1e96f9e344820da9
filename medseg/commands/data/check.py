"""`medseg check`: everything that is wrong, or looks wrong, in a data set, before anything is planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg import __version__
from medseg.checking.check import check_set
from medseg.commands.data.options import CheckOptions
from medseg.core.case import Case
from medseg.core.errors import MedsegError, PlanError
from medseg.core.files import write_json
from medseg.core.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.datasets.find_data import find_data
from medseg.delivery.pages.check_page import CheckFacts, check_page
from medseg.delivery.pages.page import write_page
from medseg.delivery.pages.thumbnails import thumbnail
from medseg.io.images import read_label
from medseg.io.layouts.dataset import LAYOUTS, DataSet, LeftOut
from medseg.io.load import load_case_image
from medseg.planning.findings import Finding
from medseg.planning.survey import Survey, survey

JSON, PAGE = "check.json", "check.html"
_SCHEMA_VERSION = 1
_MOST_PICTURES, _MOST_OF_A_KIND, _MOST_VALUES = 60, 8, 12


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        findings: errors first; files and messages name files relative to the data set's folder.
        cases: ids of all cases, those included that the layout leaves out.
        left_out: ids of the cases in which there is an error.
        notes: other sentences about how the data set was read.
        json_path, page_path: where the findings were written.
    """

    findings: list[Finding]
    cases: list[str]
    left_out: list[str]
    notes: list[str]
    json_path: Path
    page_path: Path

    @property
    def errors(self) -> list[Finding]:
        """Those that leave a case out."""
        return [one for one in self.findings if one.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """Those that keep the case."""
        return [one for one in self.findings if one.severity == "warning"]

    @property
    def usable(self) -> int:
        """How many cases are left."""
        return len(self.cases) - len(self.left_out)


def check(
    data: str | Path,
    workspace: str | Path = ".",
    options: CheckOptions | None = None,
    callback: Callback = silent,
) -> CheckResult:
    """Read every case of the data set in `data`, and write what is wrong with it as `check.json` and `check.html`.

    Raises:
        MedsegError: the folder is no data set, or an option does not fit it.
    """
    options = options or CheckOptions()
    if options.orientation not in ("canonical", "stored"):
        raise PlanError(f"orientation is {options.orientation!r}; valid are canonical, stored.")
    orientation: Literal["canonical", "stored"] = "stored" if options.orientation == "stored" else "canonical"
    found = find_data(Path(data), options.data)
    seen = survey(found, orientation, callback)
    checked = check_set(found, seen, orientation, options.data.annotated_from_values)
    findings = [_brief(one, found.folder) for one in checked]
    cases = sorted({case.id for case in found.cases} | {one.id for one in found.problems if isinstance(one, LeftOut)})
    left_out = sorted({one.case for one in findings if one.severity == "error"} & {*cases})
    name = found.folder.resolve().name or "dataset"
    folder = options.output or Path(workspace) / "checks" / name
    notes = [_without(text, found.folder) for text in found.problems if not isinstance(text, LeftOut)] + seen.notes
    result = CheckResult(findings, cases, left_out, notes, folder / JSON, folder / PAGE)
    said = _said(found, seen)
    write_json(result.json_path, _as_json(result, found, said))
    facts = CheckFacts(name, [*said.items()], len(cases), left_out, notes)
    write_page(result.page_path, check_page(facts, findings, _pictures(findings, found, callback)))
    return result


def _without(text: str, folder: Path) -> str:
    """A message that names files relative to the data set's folder."""
    for end in ("/", "\\"):
        text = text.replace(f"{folder}{end}", "")
    return text


def _brief(finding: Finding, folder: Path) -> Finding:
    file = finding.file
    if file is not None and file.is_relative_to(folder):
        file = file.relative_to(folder)
    return replace(
        finding, message=_without(finding.message, folder), remedy=_without(finding.remedy, folder), file=file
    )


def _said(data: DataSet, seen: Survey) -> dict[str, str]:
    """How the data set was understood."""
    values = sorted({value for one in seen.cases for value in one.voxels})
    if data.labels is not None:
        structures = ", ".join(f"{name} ({', '.join(map(str, own))})" for name, own in data.labels.members.items())
    else:
        structures = f"not declared; the label files hold {', '.join(map(str, values[:_MOST_VALUES]))}" + (
            f" and {len(values) - _MOST_VALUES} more values" * (len(values) > _MOST_VALUES)
        )
    worst = max((one.grid_difference_voxels for one in seen.cases), default=0.0)
    return {
        "layout": LAYOUTS.get(data.layout, data.layout),
        "channels": ", ".join(data.channels),
        "structures": structures,
        "grids": f"channels and labels of the cases that can be used agree within {worst:.2g} voxels",
    }


def _as_json(result: CheckResult, data: DataSet, said: dict[str, str]) -> dict[str, Any]:
    return {
        "schema_version": _SCHEMA_VERSION,
        "made_by": f"medseg {__version__}",
        "data_set": data.folder.resolve().name,
        **said,
        "cases": len(result.cases),
        "usable": result.usable,
        "left_out": result.left_out,
        "counts": dict(Counter(one.kind for one in result.findings)),
        "findings": [
            {
                "severity": one.severity,
                "kind": one.kind,
                "case": one.case or None,
                "file": None if one.file is None else one.file.as_posix(),
                "message": one.message,
                "remedy": one.remedy,
            }
            for one in result.findings
        ],
        "notes": result.notes,
    }


def _pictures(findings: Sequence[Finding], data: DataSet, callback: Callback) -> dict[str, tuple[bytes, str]]:
    """Pictures of the suspected cases that can be drawn, a few of each kind."""
    of_a_kind: Counter[str] = Counter()
    wanted: dict[str, None] = {}
    for one in findings:
        of_a_kind[one.kind] += 1
        if of_a_kind[one.kind] <= _MOST_OF_A_KIND and len(wanted) < _MOST_PICTURES:
            wanted[one.case] = None
    cases = [case for case in data.cases if case.id in wanted]
    results = map_cases(lambda case: _draw(case, data), cases)
    drawn = track(results, "pictures", len(cases), callback) if cases else ()
    return {case.id: picture for case, picture in drawn if not isinstance(picture, MedsegError)}


def _draw(case: Case, data: DataSet) -> tuple[bytes, str]:
    """A picture of a case, without its label where that cannot be read or has another shape.

    Raises:
        MedsegError: the scan cannot be read.
    """
    image = load_case_image(case, None, data.reading)
    label: NDArray[np.integer] | None = None
    remark = ""
    try:
        if case.label is not None:
            read = read_label(case.label, data.reading)
            if read.shape_zyx == image.shape_zyx:
                label = read.array[0]
                remark = "" if image.same_grid(read) else "; drawn as if the label lay on the grid of the scan"
    except MedsegError:
        remark = "; the label cannot be read"
    png, words = thumbnail(image, label, 0 if data.labels is None else data.labels.background)
    return png, words + remark
