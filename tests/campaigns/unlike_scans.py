"""Count false alarms: every second case of data sets is compared with what a model of the other cases would know.

python tests/campaigns/unlike_scans.py FOLDER [FOLDER ...]

Each folder is a data set; `FOLDER,NAME=VALUE` declares its structure. Nothing is trained: the rules look at the plan
and at the scans alone. Prints refusals and warnings with the ranges of the training scans, and with the medians alone,
which is what models without ranges know.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import medseg
from medseg.checking.check import check_set
from medseg.commands.data.plan import _NO_EXAMPLES
from medseg.datasets.find_data import find_data
from medseg.inference.unlike_scans import scan_findings
from medseg.io.load import load_case_image
from medseg.planning.scan_range import scan_range
from medseg.planning.survey import survey
from medseg.plans.schema import Plan
from medseg.preprocessing.volume import geometry_of


def main() -> None:
    for text in sys.argv[1:]:
        folder, *structures = text.split(",")
        options = medseg.DataOptions(structures=structures)
        with tempfile.TemporaryDirectory() as workspace:
            plan = medseg.plan(folder, workspace, options=medseg.PlanOptions(data=options, preset="cpu")).plan
        data = find_data(Path(folder), options)
        surveyed = survey(data, "canonical")
        odd = {finding.case for finding in check_set(data, surveyed, "canonical") if finding.kind in _NO_EXAMPLES}
        plan.data.scans = scan_range(surveyed.cases[::2], odd)
        medians = plan.model_copy(deep=True)
        medians.data.scans = None
        unseen = {case.id for case in surveyed.cases[1::2]}
        cases = [case for case in data.cases if case.id in unseen]
        counts: Counter[str] = Counter()
        for case in cases:
            image = load_case_image(case, len(plan.data.channels), plan.data.reading)
            for name, of_model in (("ranges", plan), ("medians", medians)):
                counts.update(f"{name}: {kind}" for kind in _kinds(image, of_model))
        said = dict(counts) or "nothing is said"
        sys.stdout.write(f"{Path(folder).name}: {len(cases)} unseen scans; {said}\n")
        sys.stdout.flush()


def _kinds(image: medseg.Image, plan: Plan) -> set[str]:
    """Return the kinds of the findings on a scan."""
    configuration = plan.configuration(plan.default_configuration)
    findings = scan_findings(image, geometry_of(image, plan, configuration), plan, configuration)
    return {f"{finding.kind} ({'refused' if finding.refused else 'warning'})" for finding in findings}


if __name__ == "__main__":
    main()
