"""Could SimpleITK replace medseg's own readers of NRRD, MetaImage and GIPL? Safety, features and speed of both.

    python benchmarks/data/itk_readers.py                     everything (about ten minutes)
    python benchmarks/data/itk_readers.py --count 100 nrrd    100 damaged files of one format

Damaged files are those of tests/helpers/fuzz.py (seeded). SimpleITK reads each after a look at `ReadImageInformation`,
in a process of its own whose memory is limited to 1 GiB more than it started with; when the process dies, the next one
goes on with the next file.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
import fuzz
import SimpleITK as sitk

from medseg.core.errors import MedsegError
from medseg.core.image import Image
from medseg.io.images import read_image

KINDS = ("nrrd", "nhdr", "mha", "mhd", "gipl", "gipl.gz")
MOST_BYTES_FROM_ONE = 1032  # what deflate can make of one byte
SLACK_BYTES = 1 << 20


def read_with_itk(path: Path) -> Image:
    """Read a file with SimpleITK, unless the header declares more than the files beside it could hold."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    bytes_each = np.dtype(np.float64).itemsize if "64" in sitk.GetPixelIDValueAsString(reader.GetPixelID()) else 1
    declared = prod(reader.GetSize()) * reader.GetNumberOfComponents() * bytes_each
    stored = sum(file.stat().st_size for file in path.parent.glob("*") if file.is_file())
    if declared > stored * MOST_BYTES_FROM_ONE + SLACK_BYTES:
        raise ValueError(f"refused after a look: {declared} bytes declared, {stored} stored")
    image = reader.Execute()
    if image.GetDimension() != 4:
        return Image.from_sitk(image)
    volumes = [Image.from_sitk(image[:, :, :, number]) for number in range(image.GetSize()[3])]
    return volumes[0].with_array(np.concatenate([volume.array for volume in volumes]))


# --- damaged files ---


def outcome(read: Callable[[Path], Image], path: Path) -> tuple[str, Image | None]:
    """Return "read", or in a word why not, and the image."""
    signal.setitimer(signal.ITIMER_REAL, fuzz.SECONDS_EACH)
    try:
        return "read", read(path)
    except fuzz.Overdue:
        return "overdue", None
    except MemoryError:
        return "memory", None
    except MedsegError as error:
        broken = "is incomplete" in str(error) or "packed content" in str(error)
        return ("broken voxels" if broken else "refused"), None
    except Exception as error:
        text = str(error)
        if "after a look" in text:
            return "look", None
        return ("memory" if "alloc" in text or "memory" in text.lower() else "refused"), None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def read_damaged(kind: str, count: int, seed: int, first: int) -> None:
    """Damage files `first` to `count` of a format, read each both ways, and print a line of JSON for each."""
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(fuzz.Overdue()))
    with tempfile.TemporaryDirectory() as folder:
        originals = fuzz.samples(Path(folder))[kind]
        for path in originals:
            read_image(path)
            read_with_itk(path)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + fuzz.BYTES_MORE, resource.RLIM_INFINITY))
        for number in range(first, count):
            original = originals[number % len(originals)]
            path = original.with_name(f"damaged_{original.name}")
            path.write_bytes(fuzz.mutated(original.read_bytes(), np.random.default_rng([seed, number])))
            ours, image = outcome(read_image, path)
            print(json.dumps({"number": number, "name": original.name, "ours": ours}), flush=True)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            theirs, other = outcome(read_with_itk, path)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            line: dict[str, Any] = {"number": number, "itk": theirs, "grown_mb": grown // 1024}
            if image is not None and other is not None:
                line["same"] = image.array.shape == other.array.shape and bool(
                    np.array_equal(image.array, other.array, equal_nan=True)
                )
                line["same_grid"] = bool(np.allclose(image.affine, other.affine, rtol=1e-5, atol=1e-5))
            print(json.dumps(line), flush=True)


def campaign(kind: str, count: int, seed: int, verbose: bool) -> str:
    """Read `count` damaged files of a format and return a row of the table."""
    found: dict[int, dict[str, Any]] = {}
    died: list[int] = []
    first = 0
    while first < count:
        command = [sys.executable, "-W", "ignore", __file__, "--inside", str(first), "--count", str(count), kind]
        done = subprocess.run(
            [*command, "--seed", str(seed)], capture_output=True, text=True, errors="replace", check=False
        )
        for text in done.stdout.splitlines():
            line = json.loads(text)
            found.setdefault(line["number"], {}).update(line)
        last = max(found, default=-1)
        if done.returncode == 0:
            break
        if last < first:
            raise RuntimeError(f"{kind}: the process did not start: {done.stderr[-2000:]}")
        died.append(last)
        found[last]["itk"] = f"died ({done.returncode})"
        first = last + 1
    itk, ours = (Counter(line.get(name) for line in found.values()) for name in ("itk", "ours"))
    both = [line for line in found.values() if "same" in line]
    wrong = [line for line in both if not (line["same"] and line["same_grid"])]
    only = [line for line in found.values() if line.get("itk") == "read" and line["ours"] != "read"]
    broken = [line for line in only if line["ours"] == "broken voxels"]
    only_ours = [line for line in found.values() if line.get("itk") != "read" and line["ours"] == "read"]
    if verbose:
        for name, lines in (("differ", wrong), ("ITK only", only), ("ours only", only_ours)):
            print(f"  {kind} {name}: {[(line['number'], line['name']) for line in lines]}")
        print(f"  {kind}: ours {dict(ours)}, itk {dict(itk)}, died at {died}")
    grown = max(line.get("grown_mb", 0) for line in found.values())
    return (
        f"| `.{kind}` | {len(died)} | {itk['memory']} | {itk['overdue']} | {grown} | {itk['look']} | {itk['read']} | "
        f"{ours['read']} | {len(wrong)} | {len(only)} | {len(broken)} |"
    )


# --- what is read at all ---


def features(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write files with what headers may say, and give what each shows."""
    voxels = np.arange(24, dtype=np.int16)

    def nrrd(name: str, data: bytes = voxels.tobytes(), **fields: str) -> Path:
        given = {"type": "short", "dimension": "3"}
        given |= {key: fields.pop(key) for key in ("dimension", "space") if key in fields}  # NRRD wants these first
        given |= {"sizes": "4 3 2", "endian": "little", "encoding": "raw"}
        given |= {key.replace("_", " "): value for key, value in fields.items()}
        text = "NRRD0005\n" + "".join(f"{key}: {value}\n" for key, value in given.items()) + "\n"
        (folder / name).write_bytes(text.encode() + data)
        return folder / name

    def meta(name: str, data: bytes = voxels.tobytes(), **fields: str) -> Path:
        given = {"ObjectType": "Image", "NDims": "3", "DimSize": "4 3 2", "ElementType": "MET_SHORT", **fields}
        given["ElementDataFile"] = given.pop("ElementDataFile", "LOCAL")
        text = "".join(f"{key} = {value}\n" for key, value in given.items())
        (folder / name).write_bytes(text.encode() + data)
        return folder / name

    lps = {"space": "left-posterior-superior"}
    yield "NRRD, oblique", nrrd("oblique.nrrd", space_directions="(0.6,0.8,0) (-0.8,0.6,0) (0,0,2)", **lps)
    yield "NRRD, sheared", nrrd("sheared.nrrd", space_directions="(1,0,0) (0,1,0) (0,0.6,0.8)", **lps)
    yield "NRRD, RAS", nrrd("ras.nrrd", space="RAS", space_directions="(1,0,0) (0,1,0) (0,0,2)")
    yield "NRRD, LAS", nrrd("las.nrrd", space="LAS", space_directions="(1,0,0) (0,1,0) (0,0,2)")
    micrometres = {"space_units": '"um" "um" "um"', "space_directions": "(500,0,0) (0,500,0) (0,0,900)"}
    yield "NRRD, micrometres", nrrd("um.nrrd", **micrometres, **lps)
    plane = {"dimension": "2", "sizes": "4 6", "space_directions": "(0,1,0) (0,0,1)"}
    yield "NRRD, a plane in space", nrrd("plane.nrrd", **plane, **lps)
    layers = {"dimension": "4", "sizes": "2 4 3 1", "kinds": "list domain domain domain"}
    layers |= {"space_directions": "none (1,0,0) (0,1,0) (0,0,1)"}
    yield "NRRD, layers of a .seg.nrrd", nrrd("layers.seg.nrrd", **layers, **lps)
    series = {"dimension": "4", "sizes": "2 2 3 2", "kinds": "domain domain domain time"}
    yield "NRRD, time as last axis", nrrd("time.nrrd", **series)
    yield "NRRD, bzip2", nrrd("bzip2.nrrd", bz2.compress(voxels.tobytes()), encoding="bzip2")
    yield "NRRD, text", nrrd("text.nrrd", b" ".join(b"%d" % value for value in voxels), encoding="text")
    (folder / "voxels.raw").write_bytes(b"abc" + voxels.tobytes())
    yield "NRRD, detached data after 3 bytes", nrrd("detached.nhdr", b"", data_file="voxels.raw", byte_skip="3")
    yield "NRRD, no spacing", nrrd("none.nrrd")
    sheared = "1 0 0 0 1 0 0 0.6 0.8"
    yield "MetaImage, sheared", meta("sheared.mha", TransformMatrix=sheared, ElementSpacing="1 1 2")
    text = b" ".join(b"%d" % value for value in voxels)
    yield "MetaImage, text", meta("text.mha", text, BinaryData="False", ElementSpacing="1 1 2")
    yield "MetaImage, HeaderSize = -1", meta("skip.mhd", b"", HeaderSize="-1", ElementDataFile="voxels.raw")
    yield "MetaImage, no spacing", meta("none.mha")
    yield "MetaImage, cut off", meta("cut.mha", voxels.tobytes()[:20])
    yield "NRRD, cut off", nrrd("cut.nrrd", voxels.tobytes()[:20])
    broken = bytearray(gzip.compress(voxels.tobytes()))
    broken[-6] ^= 255
    yield "NRRD, wrong checksum", nrrd("checksum.nrrd", bytes(broken), encoding="gzip")


def compare_features() -> None:
    """Print what both readers make of each feature."""
    with tempfile.TemporaryDirectory() as folder:
        for what, path in features(Path(folder)):
            (ours, image), (itk, other) = outcome(read_image, path), outcome(read_with_itk, path)
            verdict = ""
            if image is not None and other is not None:
                same = np.array_equal(image.array, other.array) and np.allclose(image.affine, other.affine)
                known = "" if image.spacing_known else "; that there is no spacing is lost"
                verdict = (
                    "the same"
                    if same
                    else f"shapes {image.array.shape} and {other.array.shape}, "
                    f"steps {np.diag(image.affine)[:3]} and {np.diag(other.affine)[:3]}"
                ) + known
            print(f"| {what} | {ours} | {itk} | {verdict} |")


# --- speed ---


def compare_speed(repeats: int = 5) -> None:
    """Print the best time in seconds to read 256^3 int16, plain and compressed, both ways."""
    noise = np.random.default_rng(0).normal(0, 40, (256, 256, 256))
    image = sitk.GetImageFromArray((noise + np.linspace(-500, 500, 256)).astype(np.int16))
    with tempfile.TemporaryDirectory() as folder:
        for name, packed in (("a.nrrd", 0), ("b.nrrd", 1), ("a.mha", 0), ("b.mha", 1), ("a.gipl", 0), ("a.gipl.gz", 1)):
            path = Path(folder) / name
            sitk.WriteImage(image, str(path), useCompression=bool(packed))
            times = []
            for read in (read_image, read_with_itk):
                taken = []
                for _ in range(repeats):
                    start = time.perf_counter()
                    read(path)
                    taken.append(time.perf_counter() - start)
                times.append(min(taken))
            print(f"| {path.suffixes[0]} {'compressed' if packed else 'plain'} | {times[0]:.2f} | {times[1]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS, help="formats")
    parser.add_argument("--count", type=int, default=1000, help="damaged files a format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="also list the files on which the readers differ")
    parser.add_argument("--inside", type=int, help="read damaged files from this number on, in this process")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if options.inside is not None:
        read_damaged(options.kinds[0], options.count, options.seed, options.inside)
        return
    print(f"SimpleITK {sitk.Version.VersionString()}, {options.count} damaged files a format, seed {options.seed}")
    columns = ("died", "out of memory", "over 5 s", "MB more", "refused after a look", "ITK reads", "medseg reads")
    columns = ("format", *columns, "differ", "ITK alone", "of these with voxels missing or broken")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for kind in options.kinds:
        print(campaign(kind, options.count, options.seed, options.verbose), flush=True)
    print("\n| file | medseg | ITK | |\n|---|---|---|---|")
    compare_features()
    print("\n| 256 x 256 x 256 int16 | medseg (s) | ITK (s) |\n|---|---|---|")
    compare_speed()


if __name__ == "__main__":
    main()
