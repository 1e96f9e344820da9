"""Read damaged files of every format: each ends in an image or a MedsegError, soon, and in little memory.

    python tests/helpers/fuzz.py --count 1000            every format
    python tests/helpers/fuzz.py --count 1000 nii.gz     one

The damage follows from a seed. Each format runs in a process of its own with a limit on its memory, so that a crash in
a library is noticed too.
"""

from __future__ import annotations

import argparse
import gzip
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paths import DATA

SECONDS_EACH = 5
BYTES_MORE = 1 << 30
"""Memory that a process may claim beyond what it takes before the first damaged file."""
_NUMBERS = (b"0", b"-1", b"1", b"3", b"65536", b"2147483648", b"99999999999", b"1e300", b"nan", b"-inf", b"x", b"")
AFFINE = np.array([[0, -0.8, 0.1, 12], [0.9, 0, 0, -7.5], [0, 0.08, 3, 40], [0, 0, 0, 1]])
_DATA_SUFFIX = {"hdr": ".img", "par": ".rec"}  # of formats in pairs of files
_EXTREME_BYTES = (0, 1, 0x7F, 0x80, 0xFF)


# --- valid files to start from ---


def samples(folder: Path) -> dict[str, list[Path]]:
    """Write a few small valid files of every format, and return them by format; their other parts lie beside them."""
    files: dict[str, list[Path]] = {}

    def add(name: str) -> Path:
        path = folder / name
        files.setdefault(name.split(".", 1)[1], []).append(path)
        return path

    volume = np.random.default_rng(0).integers(0, 5, (4, 5, 6), dtype=np.int16)
    _with_nibabel(folder, add, volume)
    files["hdr"] = [folder / "pair.hdr"]
    _of_itk(folder, add, volume)
    _pictures(add, volume)
    _read_only(folder, add, volume)
    for path in sorted((DATA / "nifti_odd" / "misc").glob("minc*.mnc")):
        add(path.name).write_bytes(path.read_bytes())
    return files


def _with_nibabel(folder: Path, add: Callable[[str], Path], volume: NDArray) -> None:
    """Write NIfTI and MGH."""
    import nibabel as nib

    for name, kind in (("one.nii", nib.Nifti1Image), ("two.nii", nib.Nifti2Image)):
        stored = kind(volume, AFFINE)
        stored.header.set_slope_inter(2, 1)
        for suffix in ("", ".gz"):
            nib.save(stored, add(name + suffix))
    nib.save(nib.Nifti1Image(np.stack([volume] * 3, -1).astype(np.float32), AFFINE), add("four.nii"))
    nib.save(nib.Nifti1Pair(volume, AFFINE), folder / "pair.img")
    nib.save(nib.MGHImage(volume, AFFINE), add("a.mgz"))
    nib.save(nib.MGHImage(volume.astype(np.float32), AFFINE), add("a.mgh"))


def _of_itk(folder: Path, add: Callable[[str], Path], volume: NDArray) -> None:
    """Write NRRD, MetaImage and GIPL."""
    from medseg.core.image import Image
    from medseg.io.images import write_label

    label = Image(volume[np.newaxis] % 3, AFFINE)
    for name in ("a.nrrd", "a.mha"):
        write_label(add(name), label)
    for name in ("a.gipl", "a.gipl.gz"):
        write_label(add(name), Image(label.array, np.diag([-1.0, -2, 3, 1])))
    add("raw.nrrd").write_bytes(
        b"NRRD0004\ntype: short\ndimension: 4\nsizes: 2 6 5 2\nkinds: vector domain domain domain\nendian: little\n"
        b"space: right-anterior-superior\nspace directions: none (1,0,0) (0,1,0) (0,0,2)\nspace origin: (1,2,3)\n"
        b"encoding: raw\n\n" + volume.tobytes()
    )
    add("text.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 6 5 4\nspacings: 1 1 2\nencoding: text\n\n"
        + b" ".join(b"%d" % value for value in volume.ravel())
    )
    (folder / "voxels.raw").write_bytes(volume.tobytes())
    add("a.nhdr").write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\ndata file: voxels.raw\n"
    )
    add("a.mhd").write_bytes(
        b"ObjectType = Image\nNDims = 3\nElementByteOrderMSB = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
        b"Offset = 1 2 3\nElementSpacing = 1 1 2\nDimSize = 6 5 4\nElementType = MET_SHORT\n"
        b"ElementDataFile = voxels.raw\n"
    )


def _pictures(add: Callable[[str], Path], volume: NDArray) -> None:
    """Write PNG, BMP, GIF, JPEG and TIFF."""
    import tifffile
    from PIL import Image as pillow

    from medseg.core.image import Image
    from medseg.io.images import write_label

    plane = (volume[0] * 50).astype(np.uint8)
    colour = np.dstack([plane] * 3)
    for suffix in ("png", "bmp", "gif", "jpg"):
        pillow.fromarray(colour).save(add(f"colour.{suffix}"))
        pillow.fromarray(plane).save(add(f"grey.{suffix}"))
    pillow.fromarray(volume[0].astype(np.uint16)).save(add("deep.png"))
    pillow.fromarray(plane).save(add("lzw.tif"), compression="tiff_lzw")
    tifffile.imwrite(add("stack.tif"), volume, metadata=None, photometric="minisblack")
    tifffile.imwrite(add("packed.tif"), colour, compression="zlib", predictor=2)
    write_label(add("imagej.tif"), Image(volume[np.newaxis] % 3, np.diag([0.5, 0.5, 2, 1])))
    tifffile.imwrite(
        add("big.tif"), volume.astype(np.float32), bigtiff=True, tile=(16, 16), ome=True, metadata={"axes": "ZYX"}
    )


def _read_only(folder: Path, add: Callable[[str], Path], volume: NDArray) -> None:
    """Write MRC and VTK with SimpleITK, and copy PAR/REC, of which nibabel has samples."""
    import SimpleITK as sitk
    from nibabel.testing import data_path

    for name, dtype in (("short", np.int16), ("byte", np.uint8), ("real", np.float32)):
        image = sitk.GetImageFromArray(volume.astype(dtype))
        for suffix in ("mrc", "vtk"):
            sitk.WriteImage(image, str(add(f"{name}.{suffix}")))
    colour = sitk.GetImageFromArray(np.dstack([volume[0].astype(np.uint8)] * 3), isVector=True)
    sitk.WriteImage(colour, str(add("colour.vtk")))
    sitk.WriteImage(colour, str(add("colour.mrc")))
    add("text.vtk").write_text(
        "# vtk DataFile Version 3.0\ntitle\nASCII\nDATASET STRUCTURED_POINTS\nDIMENSIONS 6 5 4\nSPACING 1 1 2\n"
        f"ORIGIN 0 0 0\nPOINT_DATA {volume.size}\nSCALARS scalars short 1\nLOOKUP_TABLE default\n"
        + " ".join(map(str, volume.ravel()))
    )
    for name in ("phantom_EPI_asc_CLEAR_2_1", "phantom_varscale"):
        for suffix in (".PAR", ".REC"):
            (folder / (name + suffix.lower())).write_bytes((Path(data_path) / (name + suffix)).read_bytes())
        add(f"{name}.par")


# --- damage ---


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes damaged in one to three ways; of a gzip file the content as often as the file itself."""
    if data[:2] == b"\x1f\x8b" and rng.random() < 0.5:
        return gzip.compress(mutated(gzip.decompress(data), rng), 1)
    ways: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...]
    ways = (*[_bytes_anywhere, _bytes_at_the_start, _field, _number] * 2, _cut, _removed, _repeated)
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if damaged:
            damaged = ways[rng.integers(len(ways))](damaged, rng)
    return bytes(damaged)


def _bytes_anywhere(data: bytearray, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(len(data), size=rng.integers(1, 9)):
        data[position] = rng.choice(_EXTREME_BYTES) if rng.random() < 0.5 else rng.integers(256)
    return data


def _bytes_at_the_start(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = min(len(data), 400)
    return _bytes_anywhere(data[:start], rng) + data[start:]


def _field(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Replace 2, 4 or 8 bytes of a header by an extreme number, in either byte order."""
    size = int(rng.choice([2, 4, 8]))
    value = int(rng.choice([0, 1, -1, 2, 3, 255, 1 << 14])) if rng.random() < 0.5 else (1 << (8 * size - 1)) - 1
    position = 2 * int(rng.integers(min(len(data), 400) // 2 + 1))
    order = "little" if rng.random() < 0.5 else "big"
    data[position : position + size] = value.to_bytes(size, order, signed=True)
    return data


def _number(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Replace a number that is written out by another."""
    numbers = list(re.finditer(rb"\d+", bytes(data[:2000])))
    if not numbers:
        return _field(data, rng)
    number = numbers[rng.integers(len(numbers))]
    return data[: number.start()] + bytearray(_NUMBERS[rng.integers(len(_NUMBERS))]) + data[number.end() :]


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: rng.integers(len(data))]


def _removed(data: bytearray, rng: np.random.Generator) -> bytearray:
    first = int(rng.integers(len(data)))
    return data[:first] + data[first + int(rng.integers(1, 64)) :]


def _repeated(data: bytearray, rng: np.random.Generator) -> bytearray:
    first = int(rng.integers(len(data)))
    return data[:first] + data[first : first + int(rng.integers(1, 64))] * int(rng.integers(2, 5)) + data[first:]


# --- reading them ---


def attempt(path: Path) -> bool:
    """Read a file in every way, and return whether it could be read as an image.

    Raises:
        Exception: any error other than a MedsegError: a defect.
    """
    from medseg.core.errors import MedsegError
    from medseg.io.images import header_notes, read_image, read_label
    from medseg.io.several_files import files_of

    readable = False
    for read in (read_image, read_label, header_notes, files_of):
        try:
            read(path)
            readable = readable or read is read_image
        except MedsegError as error:
            if str(path.parent) not in str(error):
                raise ValueError(f"the message does not name the file: {error}") from error
    return readable


def run(kind: str, count: int, seed: int) -> int:
    """Damage and read `count` files of one format; print the failures and return their number."""
    with tempfile.TemporaryDirectory() as folder:
        originals = samples(Path(folder))[kind]
        for path in originals:
            if not attempt(path):
                say(f"{kind}: {path.name} cannot be read though it is valid")
                return 1
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES_MORE, resource.RLIM_INFINITY))
        start_time, failures, readable = time.perf_counter(), 0, 0
        for number in range(count):
            original = originals[number % len(originals)]
            rng = np.random.default_rng([seed, number])
            path = original.with_name(f"damaged_{original.name}")
            path.write_bytes(mutated(original.read_bytes(), rng))
            if kind in _DATA_SUFFIX:
                data = original.with_suffix(_DATA_SUFFIX[kind]).read_bytes()
                data = data if rng.random() < 0.7 else mutated(data, rng)
                path.with_suffix(_DATA_SUFFIX[kind]).write_bytes(data)
            sys.stderr.write(f"{kind} {number}\n")  # the last line shows where a process died
            signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
            try:
                readable += attempt(path)
            except BaseException:
                failures += 1
                say(f"{kind}: number {number} of seed {seed} ({original.name})\n{traceback.format_exc()}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(
            f"{kind}: {count} damaged files, {failures} failures, {readable} readable, "
            f"{time.perf_counter() - start_time:.1f} s, at most {peak:.0f} MB"
        )
        return failures


def say(text: str) -> None:
    """Print a line at once: the process may die next."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def kinds() -> list[str]:
    """Return the formats."""
    with tempfile.TemporaryDirectory() as folder:
        return sorted(samples(Path(folder)))


def isolated(script: str, kind: str, count: int, seed: int) -> tuple[bool, str]:
    """Call `run` of a script in a process of its own, and return whether all went well, and what it printed."""
    command = [sys.executable, "-W", "ignore", script, "--inside", "--count", str(count), "--seed", str(seed), kind]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    died = "" if done.returncode in (0, 1) else f"the process died ({done.returncode}):\n{done.stderr[-2000:]}"
    return done.returncode == 0, done.stdout + died


class Overdue(BaseException):
    """A file was not read in time; it is not an `Exception`, since readers turn those into messages."""


def _overdue(number: int, frame: object) -> None:
    raise Overdue("not read in time")


def campaign(script: str, run: Callable[[str, int, int], int], kinds: Callable[[], Sequence[str]]) -> int:
    """Run the command line of a script that damages files, each kind in a process of its own; return the exit code.

    Args:
        script: the script's file, which calls this function.
        run: damages and reads (kind, count, seed) files, and returns the number of failures.
        kinds: returns all kinds of files.
    """
    parser = argparse.ArgumentParser(description=f"Damage files and read them ({Path(script).name}).")
    parser.add_argument("kinds", nargs="*", help="kinds of files; all of them by default")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help="in this process")
    options = parser.parse_args()
    chosen = options.kinds or kinds()
    if options.inside:
        signal.signal(signal.SIGALRM, _overdue)
        return int(sum(run(kind, options.count, options.seed) for kind in chosen) > 0)
    results = [isolated(script, kind, options.count, options.seed) for kind in chosen]
    say("".join(text for _, text in results).rstrip())
    return int(not all(well for well, _ in results))


if __name__ == "__main__":
    sys.exit(campaign(__file__, run, kinds))
