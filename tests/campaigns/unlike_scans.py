"""Count false alarms: every second case of data sets is compared with what a model of the other cases would know.

python tests/campaigns/unlike_scans.py FOLDER [FOLDER ...]

Each folder is a data set; `FOLDER,NAME=VALUE` declares its structure. Nothing is trained: the rules look at the plan
and at the scans alone. Prints refusals and warnings with the ranges of the training scans, and with the medians alone,
which is what models without ranges know.

python tests/campaigns/unlike_scans.py --ct SCAN SCAN [SCAN ...]

CTs (files, or folders of DICOM), of which each is compared with what a model of all others would know: the scan, and
the parts of it that a hospital sends as well: half of its slices, of its rows or columns, and every second slice.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np

import medseg
from medseg.checking.check import check_set
from medseg.commands.data.plan import _NO_EXAMPLES
from medseg.datasets.find_data import find_data
from medseg.inference.unlike_scans import scan_findings
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.load import load_case_image
from medseg.planning.scan_range import scan_range
from medseg.planning.survey import survey
from medseg.plans.schema import Plan
from medseg.preprocessing.volume import geometry_of


def main() -> None:
    if sys.argv[1:2] == ["--ct"]:
        each_against_the_others([Path(text) for text in sys.argv[2:]])
        return
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


def each_against_the_others(scans: list[Path]) -> None:
    """Print what is said of each CT and of its parts by a model of all others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = _write_data_set(folder / "ct", scans)
        made = medseg.plan(folder / "ct", folder, options=medseg.PlanOptions(preset="cpu")).plan
        cases = survey(find_data(folder / "ct", medseg.DataOptions()), "canonical").cases
    counts: Counter[str] = Counter()
    tries = 0
    for number, (scan, image) in enumerate(zip(scans, images, strict=True)):
        plan = made.model_copy(deep=True)
        plan.data.scans = scan_range([case for case in cases if case.id != f"ct_{number}"])
        for part, view in _parts(image).items():
            kinds = _kinds(view, plan)
            tries += 1
            counts.update(kinds)
            sys.stdout.write(f"{scan.name}, {part}: {', '.join(sorted(kinds)) or 'nothing is said'}\n")
    sys.stdout.write(f"{tries} scans and parts; {dict(counts) or 'nothing is said'}\n")


def _write_data_set(folder: Path, scans: list[Path]) -> list[medseg.Image]:
    """Write CTs as nnU-Net lays them out, with what is denser than fat as the structure, and return them."""
    images = []
    for number, scan in enumerate(scans):
        study = scan.is_dir()
        image = read_volume(find_series(scan).series[0], DicomOptions(True, True)).image if study else None
        image = medseg.read_image(scan) if image is None else image
        for kind, array in (("imagesTr", image.array[0]), ("labelsTr", (image.array[0] > -20).astype(np.uint8))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            file = folder / kind / f"ct_{number}{'_0000' * (kind == 'imagesTr')}.nii.gz"
            nib.save(nib.Nifti1Image(array.transpose().astype(np.float32), image.affine), file)
        images.append(image)
    declared = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "body": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**declared, "numTraining": len(scans)}))
    return images


def _parts(image: medseg.Image) -> dict[str, medseg.Image]:
    """Return a scan, its halves along each axis, and every second slice of it."""
    parts = {"whole": image}
    for axis, name in enumerate(("slices", "rows", "columns"), start=1):
        half = image.array.shape[axis] // 2
        for which, part in (("first", slice(half)), ("last", slice(half, None))):
            view = image.array[tuple(part if number == axis else slice(None) for number in range(4))]
            parts[f"{which} half of the {name}"] = medseg.Image(view, image.affine)
    affine = image.affine.copy()
    affine[:3, 2] *= 2
    return parts | {"every second slice": medseg.Image(image.array[:, ::2], affine)}


def _kinds(image: medseg.Image, plan: Plan) -> set[str]:
    """Return the kinds of the findings on a scan."""
    configuration = plan.configuration(plan.default_configuration)
    findings = scan_findings(image, geometry_of(image, plan, configuration), plan, configuration)
    return {f"{finding.kind} ({'refused' if finding.refused else 'warning'})" for finding in findings}


if __name__ == "__main__":
    main()
