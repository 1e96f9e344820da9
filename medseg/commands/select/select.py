"""Choose among the trained models of a plan, and their postprocessing, by the scores of out-of-fold answers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from medseg import __version__
from medseg.commands.select.candidates import Scores, all_candidates
from medseg.commands.select.consumers import CONSUMERS, Consumer
from medseg.commands.select.kept_answers import Candidate, KeptCase, keep_answers
from medseg.commands.select.options import SelectOptions
from medseg.commands.select.questions import questions
from medseg.commands.select.search import Search
from medseg.commands.select.treated_answers import TreatedAnswers
from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError
from medseg.core.files import atomic, earlier_path, scratch_folder
from medseg.core.names import shown_name
from medseg.core.progress import Callback, silent
from medseg.core.wording import counted, summary_line
from medseg.delivery.pages.page import Section
from medseg.delivery.pages.selection_page import write_selection_page
from medseg.evaluation.gain import DecidingMeasure
from medseg.models.run_files import WEIGHTS, FoldFolder, RunFolder, runs_below
from medseg.models.selected import fold_records
from medseg.models.workspace import Workspace, plan_cases
from medseg.networks.device import choose_device
from medseg.out_of_fold.one_pass import OutOfFoldPass
from medseg.plans.changes import differences
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan
from medseg.selection.file import dump_selection, parse_selection, selection_path, write_selection
from medseg.selection.record import Evidence, Member, Selection

Runs = dict[str, list[FoldFolder]]
"""{configuration: its trained folds}."""
_ON_ALL = "all"
"""The fold that leaves no case out."""
_DIFFERS_EACH_TIME = {"made", "medseg", "evidence"}
"""What selections differ in that were made of the same: the time, and in the evidence the seconds that cases took."""


@dataclass(frozen=True)
class SelectResult:
    """A selection that was made.

    Attributes:
        selection: the selection.
        path: the file that was written.
        page: the page that shows it.
        failed: {case: why it has no answer}.
        notes: for the user.
    """

    selection: Selection
    path: Path
    page: Path
    failed: dict[str, str]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        evidence = self.selection.evidence
        cases = [] if evidence is None else [counted(evidence.cases, "case")]
        return summary_line(self, self.selection.title, *cases, *self.selection.describe(), failed=self.failed)


def select(
    plan: str | Path | None = None,
    workspace: str | Path = ".",
    options: SelectOptions | None = None,
    callback: Callback = silent,
) -> SelectResult:
    """Choose by out-of-fold answers, and write `runs/PLAN/selection.yaml`.

    Networks answer each case once. `predict`, `package` and `Predictor.load` then use the selection by themselves.

    Args:
        plan: name or file of the plan; None for the only one there is.
        workspace: folder with `plans/` and `runs/`.
        options: among what is chosen.
        callback: receives progress; may raise `Cancelled`.

    Returns:
        The selection, where it was written, and {case: why it has no answer}.

    Raises:
        MedsegError: nothing is trained, or there are no out-of-fold cases.
    """
    options = options or SelectOptions()
    space = Workspace(Path(workspace))
    path = space.plan_path(plan, option="")
    planned = load_plan(path)
    runs = _trained_runs(space, path, planned, options)
    trained_plan, notes = _common_plan(runs)
    measure = DecidingMeasure(planned.scoring)
    cases = plan_cases(path, space.data_folder(planned, options.data), planned)
    one_pass = OutOfFoldPass.of(trained_plan, runs, cases, choose_device(options.device), callback)
    candidates = all_candidates([*runs], options.ensembles)
    scores = Scores(measure, trained_plan.labels, candidates)
    consumers = [make(trained_plan, candidates) for make in CONSUMERS]
    with scratch_folder("selected-answers") as scratch:
        kept = _run_pass(one_pass, scores, consumers, scratch, candidates)
        if not kept:
            whys = "\n".join(f"  {case}: {why}" for case, why in one_pass.problems.items())
            raise DataError(f"No out-of-fold case could be answered:\n{whys}")
        folds = {name: [files.fold for files in of_run] for name, of_run in runs.items()}
        chosen, evidence = scores.choose(folds)
        search = Search(measure, trained_plan.labels, chosen, kept, scores.figures[chosen], callback)
        if options.postprocessing:
            for question in questions(trained_plan.labels, kept, options.position):
                search.ask(question)
        selection = _record(planned, runs, folds, (chosen, evidence), search)
        treatments = {case.case.id: search.treatment_without(number) for number, case in enumerate(kept)}
        treated = TreatedAnswers(chosen, kept, treatments, callback)
        for consumer in consumers:
            selection = consumer.finish(treated, selection)
    sections = [section for consumer in consumers if (section := consumer.section()) is not None]
    return _written(space.runs / planned.name, selection, sections, one_pass, [*notes, *one_pass.notes])


def _record(
    plan: Plan,
    runs: Runs,
    folds: Mapping[str, Sequence[str]],
    choice: tuple[Candidate, Evidence],
    search: Search,
) -> Selection:
    """Return the selection, without what consumers add."""
    chosen, evidence = choice
    return Selection(
        plan=plan.name,
        medseg=__version__,
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        members=[
            Member(configuration=name, folds=[*folds[name]], records=fold_records(runs[name][0].run, folds[name]))
            for name in chosen
        ],
        evidence=evidence,
        postprocessing=search.kept_steps,
        thresholds=search.kept_thresholds,
        rejected=search.rejected,
    )


def _run_pass(
    one_pass: OutOfFoldPass,
    scores: Scores,
    consumers: Sequence[Consumer],
    scratch: Path,
    candidates: Sequence[Candidate],
) -> list[KeptCase]:
    """Run the one pass over all out-of-fold cases, and return those whose answers were kept.

    A case of which a consumer can make nothing has its answer and its scores nevertheless: it is a note.
    """
    kept = []
    for case in one_pass:
        try:
            answers = {candidate: case.labels(candidate) for candidate in candidates}
            kept_case = keep_answers(case, answers, scratch)
            scores.add(case, answers)
            kept.append(kept_case)
        except Cancelled:
            raise
        except MedsegError as error:
            one_pass.problems[case.case.id] = str(error)
            continue
        for consumer in consumers:
            try:
                consumer.add(case)
            except Cancelled:
                raise
            except MedsegError as error:
                one_pass.notes.append(f"{case.case.id} has its scores, but nothing else was made of it: {error}")
    return kept


def _written(
    folder: Path, selection: Selection, sections: Sequence[Section], one_pass: OutOfFoldPass, notes: Sequence[str]
) -> SelectResult:
    path = selection_path(folder)
    notes = [*notes, *_keep_earlier(path, selection)]
    page = path.with_suffix(".html")
    write_selection_page(page, selection, one_pass.problems, notes, sections)
    write_selection(selection, path)
    return SelectResult(selection, path, page, dict(one_pass.problems), tuple(notes))


def _keep_earlier(path: Path, selection: Selection) -> list[str]:
    """Keep the file of a selection that is about to be replaced, unless it says the same: a person may have edited it.

    Args:
        path: of the file; it is copied beside it, under a name that nothing reads.
        selection: what is written in its place.

    Returns:
        A note on the copy; [] if none was needed.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    if _says_the_same(content, selection):
        return []
    kept = earlier_path(path.parent, f"{path.stem}.", path.suffix)
    with atomic(kept) as temporary:  # a copy: a kill at any moment leaves a selection in its place
        temporary.write_bytes(content)
    return [f"{path} is replaced by another one; the earlier one, perhaps edited by hand, is kept as {kept.name}"]


def _says_the_same(content: bytes, selection: Selection) -> bool:
    """Return whether a file is as `write_selection` wrote it, without comments of a person, and of the same content."""
    try:
        before = parse_selection(content, "")
    except ModelError:
        return False
    as_written = dump_selection(before).splitlines() == content.decode("utf-8").splitlines()
    return as_written and _content(before) == _content(selection)


def _content(selection: Selection) -> dict[str, Any]:
    return selection.model_dump(mode="json", exclude=_DIFFERS_EACH_TIME)


def _trained_runs(space: Workspace, path: Path, plan: Plan, options: SelectOptions) -> Runs:
    """Return the trained folds to choose among.

    Raises:
        ModelError: there are none, not those that were named, or only such as leave no case out.
    """
    folder, crossval = space.runs / plan.name, partial(_crossval, space, path, options)
    known = [run.path.name for run in runs_below(folder, 1, WEIGHTS)]
    for name in options.configurations:
        if name not in known:
            _refuse(name, known, folder, crossval, name in plan.configurations)
    trained = {
        name: {files.fold: files for files in RunFolder(folder / name).folds_with(WEIGHTS) if files.fold != _ON_ALL}
        for name in options.configurations or known
    }
    if _ON_ALL in options.folds:
        _refuse_all(trained, crossval(",".join(trained)))
    for name, folds in trained.items():
        missing = [fold for fold in options.folds if fold not in folds]
        if missing or not folds:
            what = f"fold {missing[0]}" if missing else "fold that leaves cases out"
            raise ModelError(f"{folder / name} has no trained {what}.", f"`{crossval(name)}` trains what is missing.")
    if not trained:
        raise ModelError(f"Nothing is trained in {folder}.", f"`{crossval()}` trains folds of a configuration.")
    return {
        name: [files for fold, files in folds.items() if not options.folds or fold in options.folds]
        for name, folds in trained.items()
    }


def _refuse_all(trained: Mapping[str, Mapping[str, FoldFolder]], command: str) -> NoReturn:
    """Refuse the fold `all`, of which there are no out-of-fold answers.

    Args:
        trained: {configuration: its trained folds, without that one}.
        command: trains folds that leave cases out.

    Raises:
        ModelError: always.
    """
    first = next(iter(trained.values()), {})
    common = [fold for fold in first if all(fold in folds for folds in trained.values())]
    raise ModelError(
        f"The fold {_ON_ALL!r} keeps no case apart, so that it has no out-of-fold answers to choose by.",
        f"--folds {','.join(common)} names folds that do." if common else f"`{command}` trains folds that do.",
    )


def _refuse(name: str, known: Sequence[str], folder: Path, crossval: Callable[[str], str], in_plan: bool) -> NoReturn:
    """Refuse names that are no trained configuration of the plan, such as a path to the runs of another plan.

    Args:
        name: the name that the user gave.
        known: the configurations with trained runs.
        folder: of the plan's runs.
        crossval: returns the command that trains a configuration.
        in_plan: whether the plan has a configuration of this name.

    Raises:
        ModelError: always.
    """
    if in_plan:
        hint = f"`{crossval(name)}` trains what is missing."
    elif known:
        hint = f"Give names as they stand there: --config {','.join(known)}"
    else:
        hint = f"`{crossval('')}` trains folds of a configuration."
    trained = ", ".join(known) or "nothing"
    raise ModelError(f"{shown_name(name)} has no trained runs in {folder}; trained there: {trained}.", hint)


def _crossval(space: Workspace, path: Path, options: SelectOptions, names: str = "") -> str:
    """Return the command that trains what is missing of configurations, ready to be pasted.

    Args:
        space: the workspace.
        path: of the plan.
        options: say which folds are meant, and where the data set lies.
        names: of the configurations; empty for the plan's default.
    """
    folds = [fold for fold in options.folds if fold != _ON_ALL]  # which crossval does not know: it has no case to score
    words = ["--plan", path.stem if path.parent == space.plans else str(path)]
    words += ["--config", names] if names else []
    words += ["--folds", ",".join(folds)] if folds else []
    words += [] if space.folder == Path() else ["--workspace", str(space.folder)]
    words += [] if options.data is None else ["--data", str(options.data)]
    return shlex.join(["medseg", "crossval", *words])


def _common_plan(runs: Runs) -> tuple[Plan, list[str]]:
    """Return the plan of the first configuration, and a note for each fold that was trained by other settings.

    Raises:
        ModelError: folds were trained on other structures than the first one: their scores have no common mean.
    """
    plans = {(name, files.fold): load_plan(files.plan) for name, of_run in runs.items() for files in of_run}
    (first_name, first_fold), plan = next(iter(plans.items()))
    notes = []
    for (name, fold), other in plans.items():
        if (other.labels, other.data.channels) != (plan.labels, plan.data.channels):
            raise ModelError(
                f"Fold {fold} of {name} was trained on other structures or channels than fold {first_fold} of "
                f"{first_name}.",
                "Choose configurations and folds of one plan: --config, --folds.",
            )
        first_of_run = plans[name, runs[name][0].fold]
        changes = differences(first_of_run, other, name)
        if changes:
            notes.append(f"fold {fold} of {name} was trained with another {changes[0].key} than its first fold")
    return plan, notes
