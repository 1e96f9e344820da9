"""What tests of several verbs start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged_workspace import STEPS, write_judged_workspace

from medseg.commands.crossval.crossval import crossval
from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.select.options import SelectOptions
from medseg.commands.select.select import select
from medseg.commands.train.options import TrainOptions


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds, trained and selected among; new scans, of which one is spoilt."""
    folder = tmp_path_factory.mktemp("judged")
    write_judged_workspace(folder)
    assert not crossval(None, folder, CrossvalOptions(training=TrainOptions(device="cpu", steps=STEPS))).failed
    assert not select(None, folder, SelectOptions(device="cpu", postprocessing=False)).failed
    return folder
