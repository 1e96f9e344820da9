"""`medseg predict` on a folder of scans, mirrored: wall-clock of the whole command, start-up, peak memory.

    python benchmarks/predict.py MODEL_FOLDER SCANS --cases 60

Start-up is what a single scan takes, less the time that one more scan takes in the long run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds_for(model: Path, scans: list[Path]) -> float:
    """Seconds of one command over these scans."""
    place = Path(tempfile.mkdtemp(prefix="medseg-predict-"))
    (place / "scans").mkdir()
    for scan in scans:
        os.symlink(scan.resolve(), place / "scans" / scan.name)
    command = [sys.executable, "-m", "medseg", "predict", "scans", "out", "--model", str(model.resolve()), "--mirror"]
    began = time.monotonic()
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    assert len(list((place / "out").glob("*.nii.gz"))) == len(scans)
    shutil.rmtree(place)
    return seconds


def main() -> None:
    """All scans three times, one scan three times; the median of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--cases", type=int, default=60)
    arguments = parser.parse_args()
    scans = sorted(arguments.scans.glob("*.nii.gz"))[: arguments.cases]
    many = sorted(seconds_for(arguments.model, scans) for _ in range(3))[1]
    one = sorted(seconds_for(arguments.model, scans[:1]) for _ in range(3))[1]
    each = (many - one) / max(len(scans) - 1, 1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    row = {"cases": len(scans), "seconds": many, "seconds_a_case": each, "start_up": one - each, "peak_rss_gb": peak}
    print(json.dumps({key: round(value, 3) for key, value in row.items()}))


if __name__ == "__main__":
    main()
