"""A cluster gives what one machine gives: the same files, byte for byte where they hold no times, and exit codes.

Probabilities are compared within 1e-6: once in some hundred runs one map of one scan had another last digit.
"""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_work import SharedCluster, shared_cluster
from numpy.testing import assert_allclose
from small_sets import run, write_data
from toy_workspace import write_toy_workspace

from medseg.commands.crossval.crossval import crossval
from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.train.options import TrainOptions
from medseg.core.errors import Cancelled, ModelError
from medseg.core.files import write_json
from medseg.core.progress import Progress
from medseg.io.images import read_image
from medseg.models.workspace import splits_path

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow  # the processes of a cluster take seconds to start

HASHES = re.compile(r'("(?:predict\.jsonl|probabilities/[^"]+)", "sha256": )"\w+"')
TIMES = re.compile(r'"(started|ended|seconds|train_seconds|steps_per_second)": ("[^"]*"|[\d.]+),?')
FOLDS = [{"train": ["0", "1"], "val": ["2", "3"]}, {"train": ["2", "3"], "val": ["0", "1"]}]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    with shared_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, without times in JSON, hashes of such files and of maps, and the folder's name."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            text = TIMES.sub("", data.decode())
            data = HASHES.sub(r"\1", re.sub(r"\s+", " ", text)).encode()
        files[path.relative_to(folder).as_posix()] = re.sub(rb"\b(here|there)/", b"", data)
    return files


def assert_same(one: Path, other: Path) -> None:
    first, second = content(one), content(other)
    assert [*first] == [*second]
    for name, data in first.items():
        if name.startswith("probabilities/"):
            assert_allclose(read_image(one / name).array, read_image(other / name).array, rtol=0, atol=1e-6)
        else:
            assert data == second[name], name


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_predict(
    cluster: SharedCluster, small_model: Path, write_scans: Callable[[Path, int], Path], in_folder: Path
) -> None:
    write_scans(in_folder / "scans", 4)
    (in_folder / "scans" / "bad_0000.nii.gz").write_bytes(b"no scan")
    line = f"predict scans {{}} --model {small_model} --probabilities --instances --device cpu --overlay"
    assert run(line.format("here")) == 1
    assert run(f"{line.format('there')} --cluster {cluster.address}") == 1
    assert_same(in_folder / "here", in_folder / "there")
    manifest = json.loads((in_folder / "there" / "manifest.json").read_text())["commands"]["predict"]
    assert [case["case"] for case in manifest["cases"] if "problem" in case] == ["bad"]
    assert cluster.address.partition(",")[0] not in (in_folder / "there" / "manifest.json").read_text()
    # what is finished stays
    (in_folder / "there" / "scan002.nii.gz").unlink()
    before = (in_folder / "there" / "scan001.nii.gz").stat().st_mtime_ns
    assert run(f"{line.format('there')} --cluster {cluster.address} --continue") == 1
    assert (in_folder / "there" / "scan001.nii.gz").stat().st_mtime_ns == before
    for folder in ("here", "there"):  # the manifest says that this run went on from another
        (in_folder / folder / "manifest.json").unlink()
    assert_same(in_folder / "here", in_folder / "there")


def test_check_plan_and_evaluate(cluster: SharedCluster, in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(in_folder / "data")
    (in_folder / "data" / "labelsTr" / "case_3.nii.gz").write_bytes(b"no labels")
    shutil.copytree(in_folder / "data" / "labelsTr", in_folder / "answers")
    for line, expected in {
        "check data --workspace {}": 1,
        "plan data --name balls --workspace {} --preset cpu": 1,
        "evaluate answers data --output {}/scores --lesions": 1,
    }.items():
        printed = []
        for where, more in (("here", ""), ("there", f" --cluster {cluster.address}")):
            capsys.readouterr()
            assert run(line.format(where) + more) == expected, (line, where)
            out = " ".join(capsys.readouterr().out.replace("there", "here").split())
            printed.append(re.sub(r"in \d\S*( s)?|( --cluster \S+)", "", out))
        assert printed[0] == printed[1], line
    assert_same(in_folder / "here", in_folder / "there")


def test_a_worker_that_is_killed_costs_no_answer(
    cluster: SharedCluster, small_model: Path, write_scans: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    write_scans(tmp_path / "scans", 8)
    victims = cluster.pids()[:1]
    killed: list[int] = []

    def kill(event: Progress) -> None:
        if event.stage == "predict" and event.done == 1 and victims:
            killed.append(victims.pop())
            os.kill(killed[0], signal.SIGKILL)

    options = PredictOptions(device="cpu", cluster=cluster.address)
    result = predict(tmp_path / "scans", tmp_path / "there", small_model, options=options, callback=kill)
    assert killed
    assert not result.failed
    assert len(result.files) == 8
    predict(tmp_path / "scans", tmp_path / "here", small_model, options=PredictOptions(device="cpu"))
    assert_same(tmp_path / "here", tmp_path / "there")


def test_another_model_where_the_workers_are_is_refused(
    cluster: SharedCluster, small_model: Path, write_scans: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    from medseg.commands.predict.on_cluster import Loading, describe_worker, how_computed_there
    from medseg.commands.predict.predict import load_predictors

    options = PredictOptions(device="cpu")
    [predictor] = load_predictors(small_model, tmp_path, options)
    computed = {**how_computed_there(predictor), "model": "another"}
    with pytest.raises(ModelError, match="would answer otherwise than the others: model: "):
        describe_worker(Loading(small_model, tmp_path, options, computed))


def write_workspace(workspace: Path) -> Path:
    write_toy_workspace(workspace)
    write_json(splits_path(workspace / "plans" / "toy.yaml"), FOLDS)
    return workspace


def test_crossval_trains_to_the_same_weights_bit_for_bit(cluster: SharedCluster, tmp_path: Path) -> None:
    training, seen = TrainOptions(device="cpu", steps=4), dict[str | None, list[Progress]]()
    for name, address in (("here", None), ("there", cluster.address)):
        workspace = write_workspace(tmp_path / name)
        options = CrossvalOptions(training=training, cluster=address)
        result = crossval(None, workspace, options, seen.setdefault(address, []).append)
        assert not result.failed
        assert [fold.fold for fold in result.folds] == ["0", "1"]
    run_here, run_there = (tmp_path / name / "runs" / "toy" / "main" for name in ("here", "there"))
    for fold in (0, 1):
        weights = Path(f"fold_{fold}") / "weights.safetensors"
        assert (run_here / weights).read_bytes() == (run_there / weights).read_bytes()
        assert_same(run_here / f"fold_{fold}" / "validation", run_there / f"fold_{fold}" / "validation")
    tables_here, tables_there = (content(path / "crossval") for path in (run_here, run_there))
    for table in ("metrics.csv", "pooled.csv", "metrics.json"):
        assert tables_here[table] == tables_there[table]
    assert {event.info.get("part") for event in seen[cluster.address] if event.stage == "train"} == {"fold 0", "fold 1"}
    assert [event.done for event in seen[cluster.address] if event.stage == "folds"] == [0, 1, 2]


def test_a_fold_of_several_processes_on_a_worker(cluster: SharedCluster, tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path)
    training = TrainOptions(device="cpu", steps=2, overrides=["inference.backend=torch"])
    options = CrossvalOptions(folds=("1",), processes=2, training=training, cluster=cluster.address)
    result = crossval(None, workspace, options)
    assert not result.failed
    assert (workspace / "runs" / "toy" / "main" / "fold_1" / "weights.safetensors").exists()


def test_crossval_that_is_stopped_goes_on(cluster: SharedCluster, tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path)

    def stop(event: Progress) -> None:
        if event.stage == "train" and event.done > 0:
            raise Cancelled

    many = CrossvalOptions(training=TrainOptions(device="cpu", steps=200_000), cluster=cluster.address)
    with pytest.raises(Cancelled):
        crossval(None, workspace, many, stop)
    fold = workspace / "runs" / "toy" / "main" / "fold_0"
    for _ in range(600):  # the worker hears of it at its next event
        if not (fold / "lock").exists() and not [*fold.glob("*lock*")]:
            break
        _sleep()
    assert (fold / "run.json").exists()
    assert not (fold / "weights.safetensors").exists()


def test_a_fold_that_fails_is_named_and_the_other_is_scored(cluster: SharedCluster, tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path)
    options = CrossvalOptions(training=TrainOptions(device="cpu", steps=2), cluster=cluster.address)
    broken = workspace / "runs" / "toy" / "main" / "fold_1" / "run.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    result = crossval(None, workspace, options)
    assert [*result.failed] == ["main, fold 1"]
    assert {case.case for case in result.scores["main"].evaluation.summary.cases} == {"2", "3"}


def _sleep() -> None:
    import time

    time.sleep(0.05)


def test_waves_of_a_cascade(tmp_path: Path) -> None:
    from medseg.commands.crossval.folds import FoldJob, waves

    class Stage:
        def __init__(self, previous: str | None) -> None:
            self.previous_stage = previous

    class Plan:
        configurations = ("3d_lowres", "3d_cascade_fullres", "2d")

        def configuration(self, name: str) -> Any:
            return Stage("3d_lowres" if "cascade" in name else None)

    def jobs(*names: str) -> list[FoldJob]:
        options = TrainOptions()
        return [FoldJob(tmp_path, "p", tmp_path, name, str(fold), options, None) for name in names for fold in range(3)]

    def order(*names: str) -> list[list[str]]:
        return [[f"{job.configuration[:5]}{job.fold}" for job in wave] for wave in waves(jobs(*names), Plan())]  # type: ignore[arg-type]

    assert order("2d", "3d_lowres") == [["2d0", "2d1", "2d2", "3d_lo0", "3d_lo1", "3d_lo2"]]
    both = order("3d_cascade_fullres", "3d_lowres")
    assert both == [["3d_lo0", "3d_lo1", "3d_lo2"], ["3d_ca0", "3d_ca1", "3d_ca2"]]
    assert order("3d_cascade_fullres") == [["3d_ca0"], ["3d_ca1", "3d_ca2"]]
    assert order("2d", "3d_cascade_fullres") == [["2d0", "2d1", "2d2", "3d_ca0"], ["3d_ca1", "3d_ca2"]]
