"""`medseg predict`: scans in, labels on their own grids out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from csv import writer
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from medseg.case import Case
from medseg.commands.workspace import Workspace
from medseg.errors import DataError, MedsegError
from medseg.files import write_json, write_text
from medseg.image import Image
from medseg.inference.predictor import Predictor
from medseg.io import answer_suffix, write_label
from medseg.io.load import load_case_image
from medseg.io.scans import find_scans
from medseg.labels import Labels
from medseg.parallel import map_cases
from medseg.progress import Callback, silent, track


@dataclass(frozen=True)
class PredictOptions:
    """What may be asked of a prediction.

    Attributes:
        configuration: which of a plan's trained configurations; None if only one is trained.
        folds: None for all that are trained; several are averaged.
        mirror: also predict mirrored copies and average; None for what the plan says.
        channels: one pattern a channel (`*_flair.nii.gz`), where names carry no `_0000`.
        device: `auto`, `cuda`, `cuda:1`, `mps` or `cpu`.
        overrides: `dotted.key=value` strings for the plan.
    """

    configuration: str | None = None
    folds: Sequence[str] | None = None
    mirror: bool | None = None
    channels: Sequence[str] | None = None
    device: str = "auto"
    overrides: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PredictResult:
    """What came of it.

    Attributes:
        files: {case: label file}.
        volumes: {case: {structure: volume}}, in the unit of `units[case]` ("ml" or "pixels").
        failed: {case: why}; these have no answer.
    """

    files: dict[str, Path]
    volumes: dict[str, dict[str, float]]
    units: dict[str, str]
    failed: dict[str, str]


def predict(
    source: str | Path,
    output: str | Path,
    model: str | Path | None = None,
    workspace: str | Path = ".",
    options: PredictOptions | None = None,
    callback: Callback = silent,
) -> PredictResult:
    """Segment one scan or a folder of them, and write labels, volumes.csv and labels.json.

    Raises:
        MedsegError: no model is meant, or there is nothing to segment. A single bad case does not raise.
    """
    options = options or PredictOptions()
    folder = Workspace(Path(workspace)).model_path(model, options.configuration)
    overrides = list(options.overrides)
    if options.mirror is not None:
        overrides.append(f"inference.mirror={str(options.mirror).lower()}")
    predictor = Predictor.load(folder, options.device, options.folds, overrides)
    plan = predictor.model.plan
    cases, failed = find_scans(Path(source), plan.data.channels, options.channels)
    _check_output(Path(output), cases)
    result = segment(predictor, cases, Path(output), callback)
    result.failed.update(failed)
    write_labels(Path(output) / "labels.json", plan.labels)
    write_text(Path(output) / "volumes.csv", _volumes_csv(result))
    return result


def answer_path(case: Case, output: Path) -> Path:
    """Where the answer to a case goes: its id, in the format of its first file."""
    return output / f"{case.id}{answer_suffix(case.channels[0])}"


def _check_output(output: Path, cases: Sequence[Case]) -> None:
    """Make the folder before anything is computed, and refuse one in which an answer would replace a scan."""
    output.mkdir(parents=True, exist_ok=True)
    for case in cases:
        target = answer_path(case, output).resolve()
        if any(target == file.resolve() for file in case.channels):
            raise DataError(
                f"The answer {target} would replace the scan itself.", "Name another folder for the answers."
            )


def segment(
    predictor: Predictor, cases: Sequence[Case], output: Path, callback: Callback, stage: str = "predict"
) -> PredictResult:
    """Segment cases into a folder. Reads ahead and writes behind, so that the disk is waited for only when slowest."""
    result = PredictResult({}, {}, {}, {})
    channels = len(predictor.model.plan.data.channels)
    writing: list[tuple[Case, Future[Path]]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="write") as behind:
        loaded = map_cases(lambda case: load_case_image(case, channels), cases, workers=1)
        for case, image in track(loaded, stage, len(cases), callback):
            try:
                if isinstance(image, MedsegError):
                    raise image
                answer = predictor(image)
                result.volumes[case.id] = predictor.volumes(answer)
                result.units[case.id] = "ml" if image.spacing_known else "pixels"
                writing.append((case, behind.submit(_write, answer, case, output)))
            except MedsegError as error:
                result.failed[case.id] = str(error)
    for case, future in writing:
        try:
            result.files[case.id] = future.result()
        except (MedsegError, OSError) as error:
            result.failed[case.id] = str(error)
            del result.volumes[case.id], result.units[case.id]
    return result


def _write(answer: Image, case: Case, output: Path) -> Path:
    path = answer_path(case, output)
    write_label(path, answer, like=case.channels[0])
    return path


def write_labels(path: Path, labels: Labels) -> None:
    """labels.json: which value in the label files is which structure."""
    content = {"schema_version": 1, "names": labels.written_values, "labels": labels.model_dump(mode="json")}
    write_json(path, content)


def _volumes_csv(result: PredictResult) -> str:
    text = StringIO()
    rows = writer(text, lineterminator="\n")
    rows.writerow(["case", "structure", "volume", "unit"])
    for case, volumes in result.volumes.items():
        rows.writerows([case, name, f"{volume:.6g}", result.units[case]] for name, volume in volumes.items())
    return text.getvalue()
