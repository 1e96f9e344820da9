"""The table of files in the folders that medseg writes, and README.txt, which is made from it.

docs/prediction/answer-files.md says more of each; a test compares the page with the table.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from medseg.core.files import write_text
from medseg.io.formats.table import FORMATS
from medseg.models.run_files import RANKING, README

VOLUMES, VOLUMES_WIDE, WORKBOOK = "volumes.csv", "volumes_wide.csv", "volumes.xlsx"
VOLUME_TABLES = (VOLUMES, VOLUMES_WIDE, WORKBOOK)
INDEX, QUALITY = "index.html", "quality.html"
"""Pages of a folder of answers; each leads to the other."""

FolderKind = Literal["answers", "run", "plans"]

_FIRST_LINE = "What lies in this folder. Written by medseg; every command that writes here writes it again.\n"
"""By it a README.txt of ours is told from one that a user wrote, which stays as it is."""
_STATEMENT = "For research use only. Not a medical device: not for diagnosis or treatment.\n"
_NAME_WIDTH, _WIDTH = 26, 96
_LABEL_MAPS = tuple(f"*{suffix}" for suffix, row in FORMATS.items() if row.write is not None)


@dataclass(frozen=True)
class FileNote:
    """A row of the table.

    Attributes:
        name: how documentation calls the file; a folder ends in `/`, capitals stand for names of the user's.
        about: what it is, as a phrase.
        patterns: which names in the folder it is about; if left out, the name itself.
    """

    name: str
    about: str
    patterns: tuple[str, ...] = ()

    def lies_in(self, names: Sequence[str]) -> bool:
        """Return whether one of the names in a folder is meant; folders end in `/`."""
        return any(fnmatch(name, pattern) for pattern in self.patterns or (self.name,) for name in names)


FOLDER_FILES: dict[FolderKind, tuple[FileNote, ...]] = {
    "answers": (
        FileNote("CASE.nii.gz", "label map of a scan, on its grid; other formats likewise", _LABEL_MAPS),
        FileNote("CASE.seg.dcm", "DICOM segmentation of a scan", ("*.seg.dcm",)),
        FileNote("CASE.rtstruct.dcm", "DICOM contours of a scan", ("*.rtstruct.dcm",)),
        FileNote("CASE.sr.dcm", "DICOM report with the volumes of a scan", ("*.sr.dcm",)),
        FileNote("CASE.sc.dcm", "DICOM picture of an answer over its scan", ("*.sc.dcm",)),
        FileNote("labels.json", "which value means which structure; colours and codes"),
        FileNote("labels.itksnap.txt", "the same for ITK-SNAP: Segmentation, Import Label Descriptions"),
        FileNote("labels.slicer.ctbl", "the same for 3D Slicer: a colour table, load it before the label maps"),
        FileNote(VOLUMES, "volume of each structure in each case, a row for each"),
        FileNote(VOLUMES_WIDE, "the same with a row for each case and a column for each structure"),
        FileNote(WORKBOOK, "the same as a workbook, with units, warnings and flags"),
        FileNote(INDEX, "all answers at a glance, in a browser: pictures, volumes, warnings"),
        FileNote("view/", "what index.html leads to: CASE.html shows a scan with its answer, and holds the scan"),
        FileNote(QUALITY, "which answers to distrust, and why"),
        FileNote("probabilities/", "probability of each structure: CASE/STRUCTURE.nii.gz"),
        FileNote("entropy/", "how uncertain each voxel is, 0 to 1: CASE.nii.gz"),
        FileNote("mean/", "mean probability over folds and mirrored copies"),
        FileNote("spread/", "standard deviation of the probability over folds and mirrored copies"),
        FileNote("overlays/", "pictures of the answers over their scans: CASE.png"),
        FileNote("instances/", "number of the object at each voxel, and a table of objects for each case"),
        FileNote("instances.csv", "the objects of all cases: size, centre, box"),
        FileNote(RANKING, "in which order to annotate the scans"),
        FileNote("metrics.json", "scores: every case, means and intervals"),
        FileNote("metrics.csv", "scores: a row for each case and structure"),
        FileNote("pooled.csv", "scores over the voxels of all cases together"),
        FileNote("report.html", "the scores as a page, with pictures of cases"),
        FileNote("report_cases/", "what its pictures lead to: CASE.html shows a scan with answer and reference"),
        FileNote(
            "earlier-DATE-TIME/",
            "what new answers replaced: scores, ranking, corrections, files of others",
            ("earlier-*/",),
        ),
        FileNote(
            "predict.jsonl",
            "how the answers were made, and which cases are finished; medseg predict --continue goes by it",
        ),
        FileNote("manifest.json", "what made these files, from what, and their hashes; medseg verify compares"),
    ),
    "run": (
        FileNote("weights.safetensors", "the trained network"),
        FileNote("plan.yaml", "the plan that it was trained by"),
        FileNote("split.json", "which cases it was trained on, and which it was validated on"),
        FileNote("run.json", "how the run came about: steps, device, changes on the way"),
        FileNote("log.jsonl", "losses, learning rates and validations, a record in each line"),
        FileNote("live.html", "the run while it goes on; the page loads itself again"),
        FileNote("report.html", "the run when it is finished: curves, scores, pictures of cases"),
        FileNote("report_cases/", "cases of the report: CASE.html shows a scan with answer and reference"),
        FileNote("pictures/", "the same slices after each validation"),
        FileNote("validation/", "answers to the validation cases, and their scores"),
        FileNote("checkpoint.pt", "state of the training; medseg train --resume goes on from it"),
        FileNote("tensorboard/", "figures of the run for TensorBoard, where medseg train --log asked for them"),
        FileNote("mlflow/", "figures of the run for MLflow, where medseg train --log asked for them"),
        FileNote("manifest.json", "what the run was made from, and hashes of its files; medseg verify compares"),
    ),
    "plans": (
        FileNote("NAME.yaml", "a plan: every decision with its reason; edit it as you like"),
        FileNote("NAME.cases.csv", "its cases: files, patients, weights; edit it as you like"),
        FileNote("NAME.splits.json", "the folds of its cross-validation"),
        FileNote("plan.schema.json", "JSON Schema of plans: editors complete and check keys by it"),
        FileNote("../runs/", "what medseg train writes: PLAN/CONFIGURATION/fold_0"),
        FileNote("../cache/", "preprocessed cases; may be deleted at any time"),
    ),
}
"""Kind of folder -> its files, the most important first."""


def readme_text(rows: Sequence[FileNote]) -> str:
    """Return README.txt for some rows of the table."""
    lines = [_FIRST_LINE]
    for row in rows:
        about = textwrap.wrap(row.about, _WIDTH - _NAME_WIDTH)
        lines += [f"{name:<{_NAME_WIDTH}}{part}\n" for name, part in zip([row.name, *[""] * len(about)], about)]  # noqa: B905
    return "".join([*lines, "\n", _STATEMENT])


def write_readme(folder: Path, kind: FolderKind) -> None:
    """Write README.txt into a folder: what each file is. One that a user wrote stays as it is.

    Args:
        folder: the folder.
        kind: what it holds; of answers only the files are listed that lie there now.
    """
    path, rows = folder / README, FOLDER_FILES[kind]
    if path.exists() and not _is_ours(path):
        return
    if kind == "answers":
        names = [entry.name + "/" * entry.is_dir() for entry in folder.iterdir()]
        rows = tuple(row for row in rows if row.lies_in(names))
    write_text(path, readme_text(rows))


def _is_ours(path: Path) -> bool:
    """Return whether medseg wrote a README.txt."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_FIRST_LINE)) == _FIRST_LINE.encode()
    except OSError:
        return False
