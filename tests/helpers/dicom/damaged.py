"""Damaged DICOM, seeded: a listing with or without the file, and voxels or a MedsegError; soon, in little memory.

    python tests/helpers/dicom/damaged.py --count 1000            every kind
    python tests/helpers/dicom/damaged.py --count 1000 rle zip    some

One file of a series of four is damaged at a time. Each kind runs in a process of its own with a limit on its memory.
"""

from __future__ import annotations

import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

import numpy as np

sys.path += [str(Path(__file__).parents[1])]

from dicom.builders import image_dataset, item, ramp, save, write_enhanced, write_series
from fuzz import campaign, mutated, say
from paths import DATA

SECONDS_EACH = 10
BYTES_MORE = 2 << 30
_PREAMBLE = 128
KINDS = ("plain", "implicit", "big", "deflated", "rle", "jpeg", "jpegls", "j2k", "enhanced", "zip")


def sample(kind: str, folder: Path) -> list[Path]:
    """The files of a series of a kind; the first one is to be damaged."""
    syntaxes = {"implicit": "1.2.840.10008.1.2", "big": "1.2.840.10008.1.2.2", "deflated": "1.2.840.10008.1.2.1.99"}
    if kind in ("jpeg", "jpegls", "j2k"):
        found = sorted((DATA / "dicom_odd" / "generic" / f"compressed_{kind}" / "001").glob("*"))
        return [Path(shutil.copy(path, folder)) for path in found]
    if kind == "enhanced":
        positions = [(0, 0, 3.0 * (k % 3)) for k in range(6)]
        diffusion = lambda k: {"MRDiffusionSequence": item(DiffusionBValue=500.0 * (k // 3))}  # noqa: E731
        content = lambda k: {"StackID": "1", "InStackPositionNumber": k % 3 + 1}  # noqa: E731
        array = np.concatenate([ramp(3), ramp(3)])
        return [write_enhanced(folder / "one.dcm", array, positions, each=diffusion, content=content)]
    if kind in syntaxes:
        for k, plane in enumerate(ramp(4)):
            found = image_dataset(plane, (0, 0, 3 * k), instance=k)
            found.file_meta.TransferSyntaxUID = syntaxes[kind]
            save(found, folder / f"{k}.dcm")
        return sorted(folder.iterdir())
    padding = {"PixelPaddingValue": 3, "RescaleSlope": 2, "RescaleIntercept": -5, "BitsStored": 12, "HighBit": 11}
    syntax = "1.2.840.10008.1.2.5" if kind == "rle" else None
    files = write_series(folder, ramp(4), syntax=syntax, **({} if kind == "rle" else padding))
    if kind != "zip":
        return files
    with zipfile.ZipFile(folder / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.name)
            path.unlink()
    return [folder / "study.zip"]


def damaged_bytes(kind: str, data: bytes, rng: np.random.Generator) -> bytes:
    """The file, damaged; mostly behind the preamble, in which nothing is read."""
    if kind == "zip" or rng.random() < 0.1:
        return mutated(data, rng)
    return data[:_PREAMBLE] + mutated(data[_PREAMBLE:], rng)


def attempt(source: Path) -> bool:
    """List what there is and read every series; True if a volume could be read.

    Raises:
        Exception: anything but a MedsegError, which is what is looked for.
    """
    from medseg.core.errors import MedsegError
    from medseg.io.dicom.elements.options import DicomOptions
    from medseg.io.dicom.listing.find import find_series
    from medseg.io.dicom.listing.rules import matching_series
    from medseg.io.dicom.pixels.volume import read_volume

    readable = False
    try:
        listing = find_series(source)
        matching_series(listing, "SeriesDescription~thorax")
    except MedsegError:
        return False
    for series in listing.series:
        try:
            series.attributes  # noqa: B018
            volume = read_volume(series, DicomOptions(resample_tilt=True, allow_gaps=True))
            volume.to_source(volume.image.array[0])
            readable = True
        except MedsegError as error:
            if str(source) not in str(error) and not any(
                slice_.file.path.name in str(error) for slice_ in series.slices
            ):
                raise ValueError(f"the message does not name what it is about: {error}") from error
    return readable


def run(kind: str, count: int, seed: int) -> int:
    """Damage a series of a kind `count` times and read it; the number of failures, each printed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        first = sample(kind, folder)[0]
        source = first if kind == "zip" else folder
        original = first.read_bytes()
        if not attempt(source):
            say(f"{kind}: cannot be read though it is valid")
            return 1
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES_MORE, resource.RLIM_INFINITY))
        began, failures, readable = time.perf_counter(), 0, 0
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            first.write_bytes(damaged_bytes(kind, original, rng))
            sys.stderr.write(f"{kind} {number}\n")  # the last line tells where a process died
            signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
            try:
                readable += attempt(source)
            except BaseException:
                failures += 1
                say(f"{kind}: number {number} of seed {seed}\n{traceback.format_exc()}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.perf_counter() - began
        say(
            f"{kind}: {count} damaged, {failures} failures, {readable} readable, {seconds:.1f} s, at most {peak:.0f} MB"
        )
        return failures


if __name__ == "__main__":
    sys.exit(campaign(__file__, run, lambda: KINDS))
