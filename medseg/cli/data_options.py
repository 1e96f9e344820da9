"""Options of every verb that looks at a data set: which files are meant, and what the values in them mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FILES = "Which files"
VALUES = "What label files mean"

DataSetFolder = Annotated[Path, typer.Argument(help="Folder of the data set, as it lies.", metavar="DATASET")]
Images = Annotated[
    list[str] | None,
    typer.Option(
        help="Image files where the folder does not say: a pattern such as '*_flair.nii.gz' in which * is the case, or "
        "the name that they have in each case, flair. Repeat for several channels.",
        rich_help_panel=FILES,
    ),
]
LabelFiles = Annotated[
    str | None,
    typer.Option("--labels", help="Label files, likewise: '*_seg.nii.gz', or seg.", rich_help_panel=FILES),
]
Cases = Annotated[
    Path | None,
    typer.Option(
        help="CSV with a row a case: a column for each channel, label; also id, patient, annotated, weight. "
        "A cases.csv in the folder needs no option.",
        rich_help_panel=FILES,
    ),
]
PatientPattern = Annotated[
    str | None,
    typer.Option(help="Regular expression that finds the patient in a case's name.", rich_help_panel=FILES),
]
Exclude = Annotated[
    Path | None,
    typer.Option(help="Text file of case ids, one a line, to leave out (a test set).", rich_help_panel=FILES),
]
Frame = Annotated[
    int | None,
    typer.Option(min=0, help="Which point in time of a time series is the scan, from 0.", rich_help_panel=FILES),
]
Structures = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE of a structure, where the data set does not say; repeatable.", rich_help_panel=VALUES
    ),
]
Ignore = Annotated[
    int | None,
    typer.Option(help="Value of voxels without annotation: no loss, no score there.", rich_help_panel=VALUES),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="For soft masks: what is at least this large is the structure, as value 1.", rich_help_panel=VALUES
    ),
]
ValueMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map", help="FOUND=MEANT for values in label files: 3=0, or 128-255=1; repeatable.", rich_help_panel=VALUES
    ),
]
Colours = Annotated[
    list[str] | None,
    typer.Option(
        help="For masks in colours: NAME=#rrggbb, repeatable, or a CSV with name and colour.", rich_help_panel=VALUES
    ),
]
AnnotatedFromValues = Annotated[
    bool,
    typer.Option(
        "--annotated-from-values",
        help="Partly labelled cases: a structure that a label file does not hold was not annotated in that case.",
        rich_help_panel=VALUES,
    ),
]
ResampleLabels = Annotated[
    bool,
    typer.Option(
        "--resample-labels",
        help="Bring label maps on another grid to that of their scan, by nearest neighbour.",
        rich_help_panel=VALUES,
    ),
]
Segments = Annotated[
    list[str] | None,
    typer.Option(
        help="Structures in RTSTRUCT and DICOM SEG: NAME=PATTERN of ROI or segment names ('tumour=GTV*'), or a name; "
        "repeatable. Every name is a structure unless given.",
        rich_help_panel=VALUES,
    ),
]
OverlapsOption = Annotated[
    str | None,
    typer.Option(
        "--overlaps",
        help="Where such structures overlap: refuse, later (the one named later in --segments counts) or regions "
        "(each is decided by itself).",
        rich_help_panel=VALUES,
    ),
]
SERIES = "DICOM"
Series = Annotated[
    list[str] | None,
    typer.Option(
        help="Which series of a DICOM study is the scan: a number, a key of `medseg series`, a UID, or a rule such as "
        "'Modality=CT,SeriesDescription~thorax'. Of several channels one each: 'T1:SeriesDescription~t1', repeated.",
        rich_help_panel=SERIES,
    ),
]
ResampleTilt = Annotated[
    bool,
    typer.Option(
        "--resample-tilt", help="Read series with a gantry tilt, resampled to right angles.", rich_help_panel=SERIES
    ),
]
AllowGaps = Annotated[
    bool,
    typer.Option(
        "--allow-gaps",
        help="Read series with missing slices or unequal steps, interpolated to equal ones.",
        rich_help_panel=SERIES,
    ),
]
