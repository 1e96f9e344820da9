"""The names of networks and losses are those of their tables, whether these are imported or not."""

import json
import subprocess
import sys

from medseg.delivery.provenance.row_names import loss_names, network_names
from medseg.networks.table import NETWORKS
from medseg.training.losses.table import LOSSES


def test_tables_that_are_imported_are_asked(monkeypatch):
    assert (network_names(), loss_names()) == (sorted(NETWORKS), sorted(LOSSES))
    monkeypatch.setitem(LOSSES, "mine", LOSSES["dice"])
    assert "mine" in loss_names()


def test_the_same_names_are_found_without_importing_them():
    code = (
        "import json, sys; from medseg.delivery.provenance.row_names import loss_names, network_names; "
        "print(json.dumps([network_names(), loss_names(), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [sorted(NETWORKS), sorted(LOSSES), False]
