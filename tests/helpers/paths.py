"""Where things lie that tests read: the repository, its documents, the real scans and nnU-Net's own answers."""

import os
from pathlib import Path

HELPERS = Path(__file__).parent
ROOT = HELPERS.parents[1]
DOCS = ROOT / "docs"
DATA = Path(os.environ.get("MEDSEG_TEST_DATA") or ROOT.parent / "shared" / "data")
GOLDENS = Path(os.environ.get("MEDSEG_TEST_GOLDENS") or ROOT.parent / "shared" / "goldens")
