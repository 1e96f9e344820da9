"""From cross-validation over a selection to answers, and to the same answers from a package."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from small_sets import run
from trained.two_configurations import NAMES, write_made_up, write_trained

from medseg.commands.models.options import PackageOptions
from medseg.commands.models.package import package
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.select.consumers import CONSUMERS
from medseg.commands.select.kept_answers import Candidate
from medseg.commands.select.options import SelectOptions
from medseg.commands.select.select import select
from medseg.commands.select.treated_answers import TreatedAnswers
from medseg.core.errors import DataError, ModelError, PlanError
from medseg.delivery.answers.options import Maps
from medseg.inference.predictor import Predictor
from medseg.io.images import read_image, read_label
from medseg.models.identity import identity
from medseg.models.open import load_model
from medseg.models.workspace import Workspace
from medseg.out_of_fold.case import OutOfFoldCase
from medseg.plans.schema import Plan
from medseg.selection.file import read_selection, write_selection
from medseg.selection.record import Member, Selection, Step, Threshold

RUNS = Path("runs") / "toy"
FILE = RUNS / "selection.yaml"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose folds are trained and selected among."""
    workspace = tmp_path_factory.mktemp("selected")
    write_trained(workspace)
    assert not select(None, workspace, SelectOptions(device="cpu")).failed
    return workspace


@pytest.fixture
def workspace(done: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(done, tmp_path / "w")
    return tmp_path / "w"


def choose(workspace: Path, *names: str, steps: tuple[Step, ...] = ()) -> Selection:
    """Write a selection of some configurations in the place of the one that was made."""
    before = read_selection(workspace / FILE)
    assert before is not None
    members = [Member(configuration=name, folds=["0", "1"]) for name in names]
    selection = before.model_copy(update={"members": members, "postprocessing": [*steps]})
    write_selection(selection, workspace / FILE)
    return selection


def answer(workspace: Path, output: str, model: Any = None, **options: Any) -> Any:
    options = {"device": "cpu", **options}
    return predict(workspace / "new", workspace / output, model, workspace, PredictOptions(**options))


def labels(workspace: Path, output: str) -> Any:
    return read_label(workspace / output / "4.nii.gz").array


def test_the_record_and_the_page_say_what_was_compared(done: Path) -> None:
    selection = read_selection(done / FILE)
    assert selection is not None
    assert selection.evidence is not None
    names = [candidate.configurations for candidate in selection.evidence.candidates]
    assert sorted(names) == [["2d"], ["2d", "3d_fullres"], ["3d_fullres"]]
    assert selection.evidence.cases == 4
    assert [member.folds for member in selection.members] == [["0", "1"]] * len(selection.members)
    scores = [candidate.score for candidate in selection.evidence.candidates]
    assert scores == sorted(scores, reverse=True)
    page = (done / RUNS / "selection.html").read_text()
    for words in ("2d + 3d_fullres", "seconds a case", "Postprocessing", selection.evidence.reason):
        assert words in page


def test_scores_of_single_configurations_are_those_of_crossval(done: Path) -> None:
    selection = read_selection(done / FILE)
    assert selection is not None
    assert selection.evidence is not None
    for candidate in selection.evidence.candidates:
        if len(candidate.configurations) == 1:
            tables = json.loads((done / RUNS / candidate.configurations[0] / "crossval" / "metrics.json").read_text())
            for name, mean in candidate.structures.items():
                assert mean == pytest.approx(tables["structures"][name]["measures"]["dice"]["mean"], abs=2e-3)


@pytest.mark.parametrize("names", [("2d",), NAMES], ids=["one", "two"])
def test_a_package_answers_as_the_runs_do(names: tuple[str, ...], workspace: Path) -> None:
    largest = Step(operation="largest_component", structures=["one", "two"])
    selection = choose(workspace, *names, steps=(largest,))
    maps = Maps(probabilities=True, spread=True, entropy=True)
    result = answer(workspace, "out", "toy", maps=maps, mirror=True)
    assert not result.failed
    assert any(f"selected {selection.title}; postprocessing: largest component" in note for note in result.notes)
    package(None, workspace / "model.medseg", workspace)
    again = answer(workspace, "again", workspace / "model.medseg", maps=maps, mirror=True)
    assert any("model.medseg selected" in note for note in again.notes)
    for path in (workspace / "out").rglob("*.nii.gz"):
        assert path.read_bytes() == (workspace / "again" / path.relative_to(workspace / "out")).read_bytes()
    [entry] = [json.loads((workspace / name / "manifest.json").read_text()) for name in ("out",)]
    text = json.dumps(entry)
    assert "largest_component" in text
    assert ("others" in text) == (len(names) == 2)


def test_probabilities_of_two_are_the_mean_of_each(workspace: Path) -> None:
    choose(workspace, *NAMES)
    scan = read_image(workspace / "new" / "4.nii.gz")
    both = Predictor.load(workspace / RUNS, "cpu")
    each = [Predictor.load(workspace / RUNS / name, "cpu") for name in NAMES]

    def probabilities(predictor: Predictor) -> torch.Tensor:
        blocks = predictor.scan_logits(predictor.prepare(scan))
        return torch.cat([predictor.model.plan.labels.all_probabilities(logits) for _, logits in blocks], dim=1)

    mean = sum(probabilities(predictor) for predictor in each) / 2
    assert torch.allclose(probabilities(both), mean, atol=1e-5)
    assert both.model.selection is not None
    assert both(scan).array.shape == (1, *scan.shape_zyx)


def test_what_is_named_takes_precedence(workspace: Path) -> None:
    choose(workspace, "2d")
    cpu = torch.device("cpu")
    assert load_model(workspace / RUNS, cpu, selection=True).selection is not None
    assert load_model(workspace / RUNS, cpu, ["0"], configuration="2d", selection=True).selection is None
    assert load_model(workspace / RUNS, cpu, configuration="2d", selection=True).selection is None
    assert load_model(workspace / RUNS / "2d", cpu, selection=True).selection is None
    answer(workspace, "named", "toy/2d")
    answer(workspace, "selected", "toy")
    assert np.array_equal(labels(workspace, "named"), labels(workspace, "selected"))
    with pytest.raises(ModelError, match="2 trained models"):
        answer(workspace, "none", "toy", selection=False)
    with pytest.raises(ModelError, match="2 trained models"):
        package("toy", workspace / "m.medseg", workspace, PackageOptions(selection=False))


def test_of_a_package_of_two_one_may_be_chosen(workspace: Path) -> None:
    choose(workspace, *NAMES)
    path = package("toy", workspace / "model.medseg", workspace).path
    chosen = load_model(path, torch.device("cpu"), configuration="3d_fullres", selection=True)
    assert (chosen.configuration_name, chosen.others, chosen.selection) == ("3d_fullres", (), None)
    with pytest.raises(ModelError, match="2 models that answer together: 2d, 3d_fullres"):
        load_model(path, torch.device("cpu"), selection=False)


def test_answers_of_another_selection_are_of_another_model(workspace: Path) -> None:
    seen = set()
    for names, steps in ((("2d",), ()), (NAMES, ()), (("2d",), (Step(operation="fill_holes", structures=["one"]),))):
        choose(workspace, *names, steps=steps)
        seen.add(identity(load_model(workspace / RUNS, torch.device("cpu"), selection=True)))
    assert len(seen) == 3
    choose(workspace, "2d")
    alone = load_model(workspace / RUNS / "2d", torch.device("cpu"))
    assert identity(alone) in seen  # a selection that does nothing to answers changes no identity


def test_folds_that_are_gone_or_new_are_named(workspace: Path) -> None:
    selection = read_selection(workspace / FILE)
    assert selection is not None
    name = selection.members[0].configuration
    record = workspace / RUNS / name / "fold_1" / "run.json"
    record.write_text(record.read_text().replace('"steps": 8', '"steps": 9'))
    notes = answer(workspace, "out", "toy").notes
    assert any(f"fold 1 of {name} was trained again after" in note for note in notes)
    shutil.rmtree(workspace / RUNS / name / "fold_1")
    with pytest.raises(ModelError, match=f"names fold 1 of {name}, which is not trained"):
        answer(workspace, "out", "toy")


def test_requests_that_cannot_be_met(workspace: Path) -> None:
    with pytest.raises(ModelError, match="no trained fold 7") as error:
        select(None, workspace, SelectOptions(folds=("7",)))
    assert f"--folds 7 --workspace {workspace}`" in str(error.value.hint)
    for name in ("3d_lowres", "3d_fullres/", "../toy/3d_fullres", str(workspace / RUNS / "2d"), "", "."):
        with pytest.raises(ModelError, match=r"no trained runs in .*; trained there: 2d, 3d_fullres\.") as error:
            select(None, workspace, SelectOptions(configurations=("2d", name)))
        assert "--config 2d,3d_fullres" in str(error.value.hint)
    plan = workspace / "plans" / "toy.yaml"
    plan.write_text(plan.read_text().replace("instances: false", "instances: false\n  main_measure: beauty"))
    with pytest.raises(PlanError, match="'beauty', which decides nothing"):
        select(None, workspace, SelectOptions(device="cpu"))
    for fold, name in (("0", "all"), ("1", "1.old")):
        (workspace / RUNS / "2d" / f"fold_{fold}").rename(workspace / RUNS / "2d" / f"fold_{name}")
    with pytest.raises(ModelError, match="no trained fold that leaves cases out"):
        select(None, workspace, SelectOptions(configurations=("2d",)))


def test_a_selection_that_somebody_edited_is_kept(tmp_path: Path) -> None:
    """Under a name that nothing reads; one that says the same is replaced."""
    write_made_up(tmp_path)
    options = SelectOptions(configurations=("2d",), device="cpu", postprocessing=False)

    def kept() -> set[Path]:
        return {*(tmp_path / RUNS).glob("selection.earlier-*.yaml")}

    assert select(None, tmp_path, options).notes == select(None, tmp_path, options).notes == ()
    assert kept() == set()
    made = (tmp_path / FILE).read_bytes()
    step = Step(operation="fill_holes", structures=["one"])
    before = read_selection(tmp_path / FILE)
    assert before is not None
    write_selection(before.model_copy(update={"postprocessing": [step]}), tmp_path / FILE)
    for edited in ((tmp_path / FILE).read_bytes(), b"# mine\n" + made, b"members: ["):
        known = kept()
        (tmp_path / FILE).write_bytes(edited)
        (note,) = select(None, tmp_path, options).notes
        (new,) = kept() - known
        assert new.read_bytes() == edited
        assert note.endswith(f"perhaps edited by hand, is kept as {new.name}")
        assert note in (tmp_path / RUNS / "selection.html").read_text()
        now = read_selection(tmp_path / FILE)
        assert now is not None
        assert now.postprocessing == []
    assert Workspace(tmp_path).model_path("toy", selection=True) == tmp_path / RUNS
    assert Predictor.load(tmp_path / RUNS, "cpu").model.selection == now


def test_the_fold_that_keeps_no_case_apart_is_refused(tmp_path: Path) -> None:
    """The hints are followed: folds that are there, else the command that trains them, in the same workspace."""
    write_made_up(tmp_path)
    options = SelectOptions(configurations=("2d",), device="cpu", postprocessing=False)
    with pytest.raises(ModelError, match="fold 'all' keeps no case apart") as caught:
        select(None, tmp_path, replace(options, folds=("all", "0")))
    assert caught.value.hint == "--folds 0,1 names folds that do."
    assert not select(None, tmp_path, replace(options, folds=("0", "1"))).failed
    shutil.rmtree(tmp_path / RUNS / "2d" / "fold_1")
    (tmp_path / RUNS / "2d" / "fold_0").rename(tmp_path / RUNS / "2d" / "fold_all")
    with pytest.raises(ModelError, match="fold 'all' keeps no case apart") as caught:
        select(None, tmp_path, replace(options, folds=("all",)))
    command = f"medseg crossval --plan toy --config 2d --workspace {tmp_path}"
    assert caught.value.hint == f"`{command}` trains folds that do."
    assert run(f"{command.removeprefix('medseg ')} --steps 1 --device cpu") == 0
    assert not select(None, tmp_path, options).failed


def test_the_command(workspace: Path, command_line: Callable[..., Any]) -> None:
    (workspace / "data" / "3.nii.gz").write_bytes(b"")
    words = ("--workspace", workspace, "--device", "cpu", "--config", "2d", "--folds", "0,1", "--position")
    shown = command_line("select", "toy", *words)
    assert shown.returncode == 1  # a scan is damaged
    assert "2d is the only one to choose among" in shown.stdout
    assert "3" in shown.stdout
    selection = read_selection(workspace / FILE)
    assert selection is not None
    assert selection.evidence is not None
    assert selection.evidence.cases == 3


class Picky:
    """A consumer that can make nothing of one case."""

    seen: ClassVar[list[str]] = []

    def __init__(self, plan: Plan, candidates: Sequence[Candidate]) -> None:
        self.seen.clear()

    def add(self, case: OutOfFoldCase) -> None:
        if case.case.id == "2":
            raise DataError("There is nothing to see.")
        self.seen.append(case.case.id)

    def finish(self, treated: TreatedAnswers, selection: Selection) -> Selection:
        return selection

    def section(self) -> None:
        return None


def test_a_case_that_a_consumer_refuses_is_scored_and_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_made_up(tmp_path)
    monkeypatch.setattr(sys.modules[select.__module__], "CONSUMERS", (Picky, *CONSUMERS))
    options = SelectOptions(configurations=("2d",), device="cpu", postprocessing=False)
    result = select(None, tmp_path, options)
    assert not result.failed
    assert result.selection.evidence is not None
    assert result.selection.evidence.cases == 4
    assert sorted(Picky.seen) == ["0", "1", "3"]
    assert "2 has its scores, but nothing else was made of it: There is nothing to see." in result.notes
    assert result.selection.calibration is not None
    assert result.selection.calibration.cases == 4  # the other consumers have the case


def test_regions_are_answered_above_their_thresholds(tmp_path: Path) -> None:
    labels = {"structures": {"both": [1, 2], "two": [2]}, "activation": "sigmoid", "region_values": [1, 2]}
    write_made_up(tmp_path, labels)
    select(None, tmp_path, SelectOptions(device="cpu", postprocessing=False))
    scan = read_image(tmp_path / "new" / "4.nii.gz")
    for names in (("2d",), NAMES):
        selection = choose(tmp_path, *names)
        plain = Predictor.load(tmp_path / RUNS, "cpu")
        blocks = plain.scan_logits(plain.prepare(scan))
        probabilities = torch.cat([logits.sigmoid() for _, logits in blocks], dim=1)
        middle = [float(region.median()) for region in probabilities]
        thresholds = {name: Threshold(value=value) for name, value in zip(("both", "two"), middle, strict=True)}
        write_selection(selection.model_copy(update={"thresholds": thresholds}), tmp_path / FILE)
        predictor = Predictor.load(tmp_path / RUNS, "cpu")
        seen: list[torch.Tensor] = []
        volume = predictor.prepare(scan)
        answered = predictor.labels(volume, sinks=[lambda first, logits: seen.append(logits.sigmoid())])  # noqa: B023
        inside = volume.geometry.turn(answered[None])[0][volume.geometry.box]
        above = (probabilities > torch.tensor(middle)[:, None, None, None]).numpy()
        expected = np.where(above[1], 2, above[0])
        assert np.mean(inside != expected) < 0.01  # but for voxels at the threshold, within rounding
        assert torch.allclose(torch.cat(seen, dim=1), probabilities, atol=1e-5)  # maps are not shifted


def test_the_same_cases_give_the_same_selection(tmp_path: Path) -> None:
    write_made_up(tmp_path)
    first = select(None, tmp_path, SelectOptions(device="cpu")).selection
    second = select(None, tmp_path, SelectOptions(device="cpu")).selection

    def without_times(selection: Selection) -> Any:
        values = selection.model_dump(exclude={"made"})
        for candidate in values["evidence"]["candidates"]:
            del candidate["seconds"]
        del values["evidence"]["reason"], values["members"]  # the cheaper one of equals depends on the seconds
        return values

    assert without_times(first)["evidence"] == without_times(second)["evidence"]
