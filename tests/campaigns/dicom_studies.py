"""Damaged DICOM studies: a volume that is right, or one message that names the file; soon, and in little memory.

    python tests/campaigns/dicom_studies.py --count 900

Half of the tries damage the bytes of a file (`tests/helpers/dicom/damaged.py`: plain, implicit, big endian, deflated,
RLE, enhanced, zipped). The others damage a study: slices missing, there twice, of another acquisition or of another
size, elements that geometry and pixels rest on taken away or replaced, files cut, renamed or put into folders. Where a
volume is read of such a study without a note, every voxel must be one of the original's, at its place in millimetres.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from campaign import Fault, Settings, Tally, main

KINDS = ("plain", "implicit", "big", "deflated", "rle", "enhanced", "zip")
SLICES = 7
_ELEMENTS = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "SeriesInstanceUID", "SOPInstanceUID"),
    *("InstanceNumber", "FrameOfReferenceUID", "SamplesPerPixel", "PhotometricInterpretation", "PixelData"),
    *("SOPClassUID", "Modality", "StudyInstanceUID", "PatientName", "SliceThickness", "SpecificCharacterSet"),
)
_VALUES: tuple[Any, ...] = (
    "",
    None,
    0,
    -1,
    1,
    65535,
    "x",
    "1e300",
    "nan",
    [],
    [0, 0, 0],
    [1, 0, 0, 0, 1, 0],
    ["1"] * 9,
)


def missing(files: list[Path], rng: Any) -> None:
    """Take away one or two slices that are not at an end."""
    for path in rng.choice(files[1:-1], int(rng.integers(1, 3)), replace=False):
        Path(path).unlink()


def twice(files: list[Path], rng: Any) -> None:
    """Put a slice there twice, with its own name or another, and perhaps other pixels."""
    import pydicom

    dataset = pydicom.dcmread(files[rng.integers(len(files))])
    if rng.random() < 0.5:
        dataset.PixelData = bytes(len(dataset.PixelData))
    if rng.random() < 0.5:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.9"
    dataset.save_as(files[0].parent / "again.dcm")


def mixed(files: list[Path], rng: Any) -> None:
    """Let some slices be of another acquisition, time, energy or kind."""
    import pydicom

    key, value = [("AcquisitionNumber", 7), ("AcquisitionTime", "235959"), ("KVP", 80), ("ImageType", ["DERIVED"])][
        rng.integers(4)
    ]
    for path in files[:: int(rng.integers(2, 4))]:
        dataset = pydicom.dcmread(path)
        setattr(dataset, key, value)
        dataset.save_as(path)


def other_size(files: list[Path], rng: Any) -> None:
    """Let a slice have another shape or spacing."""
    import pydicom

    path = files[rng.integers(len(files))]
    dataset = pydicom.dcmread(path)
    if rng.random() < 0.5:
        dataset.PixelSpacing = [9, 9]
    else:
        dataset.Rows = dataset.Rows // 2
        dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
    dataset.save_as(path)


def elements(files: list[Path], rng: Any) -> None:
    """Take away or replace elements of one slice, or of all."""
    import warnings

    import pydicom

    key, value = _ELEMENTS[rng.integers(len(_ELEMENTS))], _VALUES[rng.integers(len(_VALUES))]
    for path in files if rng.random() < 0.3 else [files[rng.integers(len(files))]]:
        dataset = pydicom.dcmread(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if value is None:
                    delattr(dataset, key)
                else:
                    setattr(dataset, key, value)
                dataset.save_as(path)
        except Exception:  # pydicom does not write such a value
            path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def cut(files: list[Path], rng: Any) -> None:
    """Cut a file, or empty it."""
    path = files[rng.integers(len(files))]
    path.write_bytes(path.read_bytes()[: int(rng.integers(path.stat().st_size))] if rng.random() < 0.8 else b"")


def moved(files: list[Path], rng: Any) -> None:
    """Rename files and put some into folders: nothing is lost, and names mean nothing."""
    for number, path in enumerate(files):
        folder = path.parent / str(rng.choice(["", "a", "b"]))
        folder.mkdir(exist_ok=True)
        path.rename(folder / f"{rng.integers(10**6)}-{number}")


STUDIES: dict[str, Callable[[list[Path], Any], None]] = {
    "slices missing": missing,
    "a slice twice": twice,
    "slices of two acquisitions": mixed,
    "a slice of another size": other_size,
    "elements": elements,
    "a file cut": cut,
    "files moved": moved,
}


def check_voxels(volume: Any, original: Any) -> None:
    """Refuse voxels that the original does not have at that place."""
    shape = volume.image.array.shape[1:]
    index = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), -1).reshape(-1, 3)
    to_original = np.linalg.inv(original.image.affine) @ volume.image.affine
    place = index[:, ::-1] @ to_original[:3, :3].T + to_original[:3, 3]  # (x, y, z)
    nearest = np.rint(place).astype(int)[:, ::-1]
    inside = ((nearest >= 0) & (nearest < original.image.array.shape[1:])).all(1)
    if not inside.all() or np.abs(place[:, ::-1] - nearest).max() > 0.02:
        raise Fault(f"a grid that is not the original's was read without a note: {volume.image.affine.tolist()}")
    expected = original.image.array[0][tuple(nearest.T)].reshape(shape)
    if not np.array_equal(volume.image.array[0], expected):
        raise Fault("other voxels than the original's were read without a note")


def attempt_study(kind: str, folder: Path, original: Any, rng: Any) -> str:
    """Write a study, damage it, list it and read every series."""
    from dicom.builders import write_series

    from medseg.core.errors import MedsegError
    from medseg.io.dicom.elements.options import DicomOptions
    from medseg.io.dicom.listing.find import find_series
    from medseg.io.dicom.pixels.volume import read_volume

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = write_series(folder, pixels())
    intensities = [path.read_bytes() for path in files]
    STUDIES[kind](files, rng)
    try:
        listing = find_series(folder)
    except MedsegError:
        return "refused"
    results = set()
    for series in listing.series:
        try:
            volume = read_volume(series, DicomOptions())
        except MedsegError as error:
            if not str(error).strip():
                raise Fault("an empty message") from None
            results.add("refused")
            continue
        noted = bool(volume.image.notes or series.problems or series.notes)
        changed = kind in ("elements", "a slice twice") and [p.read_bytes() for p in files if p.exists()] != intensities
        if kind == "slices missing" and volume.image.array.shape[1] == SLICES - 1:
            raise Fault("a gap was closed without being asked for")
        if not noted and not changed:
            check_voxels(volume, original)
        results.add("read with a note" if noted else "read")
    return " and ".join(sorted(results)) or "refused"


def pixels() -> np.ndarray:
    """(z, y, x) in which no voxel has the value of another."""
    return np.random.default_rng(0).permutation(SLICES * 80).reshape(SLICES, 8, 10).astype(np.int16)


def attempt_bytes(kind: str, folder: Path, rng: Any) -> str:
    """Damage the bytes of one file of a series and read it."""
    from dicom.damaged import attempt, damaged_bytes, sample

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    first = sample(kind, folder)[0]
    first.write_bytes(damaged_bytes(kind, first.read_bytes(), rng))
    return "read" if attempt(first if kind == "zip" else folder) else "refused"


def campaign(settings: Settings, tally: Tally) -> None:
    """Try bytes and studies in turn, in this process, whose memory is limited."""
    import resource
    import signal

    from dicom.builders import write_series
    from dicom.damaged import BYTES_MORE, SECONDS_EACH

    from medseg.io.dicom.listing.find import find_series
    from medseg.io.dicom.pixels.volume import read_volume

    folder = settings.folder / "original"
    write_series(folder, pixels())
    original = read_volume(find_series(folder).series[0])

    def overdue(*_: object) -> None:
        raise Fault(f"did not end within {SECONDS_EACH} s")

    signal.signal(signal.SIGALRM, overdue)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES_MORE, resource.RLIM_INFINITY))
    studies = [*STUDIES]
    for number, rng in settings.tries():
        if number % 2:
            kind = KINDS[number // 2 % len(KINDS)]
            what, run = f"bytes: {kind}", lambda k=kind, r=rng: attempt_bytes(k, settings.folder / "try", r)
        else:
            kind = studies[number // 2 % len(studies)]
            what, run = f"study: {kind}", lambda k=kind, r=rng: attempt_study(k, settings.folder / "try", original, r)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
        tally.try_it(what, number, run)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main(campaign, __doc__, 900))
