"""What `--cluster` takes, and what it says to anything else."""

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

import medseg.engines
from medseg.core.errors import PlanError
from medseg.core.installing import pip_install
from medseg.engines.engine import HERE
from medseg.engines.open import open_engine, parse_cluster


def test_nothing_asked_for_is_this_process() -> None:
    with open_engine(None) as engine:
        assert engine is HERE
        assert not engine.elsewhere


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("local:4", ("local", "4")),
        ("local:08", ("local", "8")),
        ("tcp://10.0.0.1:8786", ("address", "tcp://10.0.0.1:8786")),
        ("tls://node7.example:8786", ("address", "tls://node7.example:8786")),
        ("tls://node7:8786,dask.yaml", ("address", "tls://node7:8786,dask.yaml")),
    ],
)
def test_forms(text: str, parsed: tuple[str, str]) -> None:
    assert parse_cluster(text) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "4", "local", "local:", "local:0", "local:-1", "local:two", "tcp://", "tcp://node", "http://x:1", "dask"],
)
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(PlanError, match="names no cluster") as caught:
        parse_cluster(text)
    assert "local:4, tcp://HOST:8786, tls://HOST:8786 or slurm:FILE.yaml" in str(caught.value.hint)


def test_slurm_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="there is no file"):
        parse_cluster(f"slurm:{tmp_path / 'none.yaml'}")
    (tmp_path / "options.yaml").write_text("cores: 1\n")
    assert parse_cluster(f"slurm:{tmp_path / 'options.yaml'}") == ("slurm", f"{tmp_path / 'options.yaml'}")


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("start", "dask_engine"):
        monkeypatch.delitem(sys.modules, f"medseg.engines.{name}", raising=False)
        monkeypatch.delattr(medseg.engines, name, raising=False)
    real = builtins.__import__

    def without(name: str, *others: Any) -> Any:
        if name.split(".")[0] in ("distributed", "dask"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PlanError, match="needs another package") as caught, open_engine("local:1"):
        pass
    assert caught.value.hint == f"{pip_install('cluster')} installs all of them."
