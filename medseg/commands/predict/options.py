"""Options of `medseg predict`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from medseg.core.options import OFTEN, Option, parse_list
from medseg.datasets.data_options import SeriesOptions
from medseg.delivery.answers.options import Maps, WriteOptions
from medseg.engines.options import ClusterOptions

_MODEL = Option(group="Which model")
_SCANS = Option(group="Which scans")
_HOW = Option(group="How")
_COLOUR = Option(group="Answers in colour")
_OBJECTS = Option(group="Objects")
_OUTPUT = Option(group="Where, and what is kept")


@dataclass(frozen=True)
class PredictOptions(SeriesOptions, ClusterOptions):
    """Options of `medseg predict`.

    Attributes:
        configuration: Configuration: 2d, 3d_fullres, ...; may be left out if only one is trained.
        folds: Folds whose predictions are averaged, joined by commas, such as 0,1,2; if left out, all trained folds.
        checkpoint: For models of nnU-Net: final, best, latest, or the name of a file; if left out, final, or best if
            there is no final one.
        selection: Of a plan with a selection.yaml (medseg select), use the models and operations that it names; if
            configuration, folds or checkpoint are named, it is left out in any case.
        channels: One file pattern per channel where names carry no _0000: '*_flair.nii.gz,*_t1.nii.gz'; * is the case.
        frame: Which volume of a time series is the scan, counted from 0.
        table: CSV with facts on the scans, such as patient, age and sex: its columns stand in volumes_wide.csv and
            volumes.xlsx, too. Its column id (or case) holds the names of the scans.
        mirror: Also predict mirrored copies and average; if left out, as the plan says.
        fast: Trade some accuracy for time: larger steps, no mirrored copies, empty tiles left out.
            docs/prediction/inference.md says what it costs. Other options take precedence.
        overrides: Setting of the plan to change, such as inference.step_fraction=0.5; repeatable.
        maps: Maps that are written beside the labels.
        format: Format of the label maps: nifti, nrrd, seg.nrrd (3D Slicer), mha, mgz, tiff, and for 2D images png and
            geojson (QuPath); if left out, that of each scan. NIfTI, NRRD and GeoJSON hold names and colours.
        overlay: Also draw each answer over its scan, in the colours of report.html: overlays/CASE.png; of a volume the
            slices where its structures are largest.
        palette: Write label maps that are PNG with a palette: viewers show the colours of the structures, and the
            pixels stay the label values. Programs that convert palettes to colours must not be used to read them.
        page: Write index.html, a contact sheet of all answers with volumes and warnings, which leads to a page for each
            scan to look at it in a browser (view/CASE.html, with the scan in it). If left out: for up to 20 scans, and
            those pages only of scans of up to 4 million voxels.
        instances: Also number the objects: instances/CASE holds the number of the object at each pixel or voxel, and
            instances.csv size, centre, box and mean probability of each. Objects are what touches; of a model planned
            with --boundaries, what its boundaries part.
        write: Forms in which answers are written.
        xlsx: Also write the volumes as a workbook, volumes.xlsx, with units, warnings and flags.
        device: Device to predict on: auto, cuda, cuda:1, mps or cpu. Several share the scans: cuda:0,cuda:1, or all.
        keep_finished: Skip scans that an earlier run of this command finished in OUT.
        identify: Name patients in manifest.json: PatientID and the UIDs of DICOM, which are written nowhere otherwise.
    """

    configuration: Annotated[str | None, Option("--config -c", _MODEL.group), OFTEN] = None
    folds: Annotated[Sequence[str] | None, Option("--folds -f", _MODEL.group, "FOLDS", parse_list), OFTEN] = None
    checkpoint: Annotated[str | None, _MODEL] = None
    selection: Annotated[bool, Option("--selection/--no-selection", _MODEL.group)] = True
    channels: Annotated[Sequence[str] | None, Option("", _SCANS.group, "PATTERNS", parse_list), OFTEN] = None
    frame: Annotated[int | None, Option(group=_SCANS.group, minimum=0)] = None
    table: Annotated[Path | None, Option("--cases", _SCANS.group, "TABLE")] = None
    mirror: Annotated[bool | None, Option("--mirror/--no-mirror", _HOW.group)] = None
    fast: Annotated[bool, _HOW, OFTEN] = False
    overrides: Annotated[list[str], Option("--set", _HOW.group, "KEY=VALUE")] = field(default_factory=list)
    maps: Maps = field(default_factory=Maps)
    format: Annotated[str | None, _OUTPUT, OFTEN] = None
    overlay: Annotated[bool, _COLOUR, OFTEN] = False
    palette: Annotated[bool, _COLOUR] = False
    page: Annotated[bool | None, Option("--page/--no-page", _OUTPUT.group)] = None
    instances: Annotated[bool, _OBJECTS] = False
    write: WriteOptions = field(default_factory=WriteOptions)
    xlsx: Annotated[bool, _OUTPUT] = False
    device: Annotated[str, _OUTPUT, OFTEN] = "auto"
    keep_finished: Annotated[bool, Option("--continue", _OUTPUT.group), OFTEN] = False
    identify: Annotated[bool, _OUTPUT] = False
