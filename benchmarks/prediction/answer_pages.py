"""What the page of a folder of answers costs: time of the processor and bytes, of a made-up CT and of real scans.

python benchmarks/prediction/answer_pages.py
python benchmarks/prediction/answer_pages.py --model runs/hippocampus/3d_fullres --scans scans/
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ct_scan import make_ct, write_ct

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.case_pages import CasePages, case_files
from medseg.io.images import read_image
from medseg.plans.sections.data import Data
from medseg.plans.sections.reading import Reading

STRUCTURES = 105
REPEATS = 5


def made_up(folder: Path) -> tuple[Path, Image]:
    """Write a CT with noise, and return it with a label map of cubes."""
    scan = make_ct()
    write_ct(folder / "ct.nii.gz", scan)
    label = np.zeros(scan.shape, np.uint8)
    for number in range(STRUCTURES):
        z, rows, columns = number // 25 * 55 + 10, number // 5 % 5 * 60 + 100, number % 5 * 60 + 100
        label[z : z + 40, rows : rows + 50, columns : columns + 50] = number + 1
    return folder / "ct.nii.gz", read_image(folder / "ct.nii.gz").with_array(label[np.newaxis])


def time_ct(folder: Path) -> None:
    path, answer = made_up(folder)
    labels = Labels(structures={f"structure_{number}": number for number in range(1, STRUCTURES + 1)})
    case = Case("ct", "ct", (path,))
    data = Data.model_construct(channels=["CT"], reading=Reading())
    for what, most in (("contact sheet", 0), ("contact sheet and viewer", None)):
        start = time.process_time()
        problem = CasePages(True, most, data).write(case, answer, folder, labels)
        seconds = time.process_time() - start
        size = sum(file.stat().st_size for file in case_files(case, folder))
        figures = {"cpu_s": round(seconds, 2), "mb": size / 1e6, "problem": problem}
        print(json.dumps({"ct": answer.shape_zyx, "made": what, **figures}))


def time_command(model: str, scans: str, folder: Path) -> None:
    best: dict[str, float] = {}
    for repeat in range(REPEATS):
        for option in ("--no-page", "--page"):
            out = folder / f"{repeat}{option}"
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "medseg", "predict", scans, str(out), "--model", model, option]
            subprocess.run(command, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            best[option] = min(spent, best.get(option, spent))
    pages = [*out.glob("view/*.html")]
    figures = {option: round(seconds, 2) for option, seconds in best.items()}
    sizes = {
        "index_mb": (out / "index.html").stat().st_size / 1e6,
        "viewer_mb": max(p.stat().st_size for p in pages) / 1e6,
    }
    print(json.dumps({"scans": len(pages), "cpu_s": figures, **sizes}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained model; with --scans")
    parser.add_argument("--scans", help="a folder of at most 20 scans")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.model and options.scans:
            time_command(options.model, options.scans, Path(folder))
        else:
            time_ct(Path(folder))


if __name__ == "__main__":
    main()
