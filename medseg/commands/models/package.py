"""`medseg package`: pack a trained model into one file, with its model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.commands.models.choice import check_suffix, load_chosen
from medseg.commands.models.options import PackageOptions
from medseg.core.errors import ModelError
from medseg.core.wording import summary_line
from medseg.models.card import About, FoldScore, model_card
from medseg.models.model import Model
from medseg.models.package.write import SUFFIX, save_package
from medseg.models.record import read_record
from medseg.models.run_files import RunFolder
from medseg.models.scores import fold_scores

_MOST_CARD = 1 << 20


@dataclass(frozen=True)
class PackageResult:
    """The result of `package`.

    Attributes:
        path: the path of the package.
        bytes: its size.
        model: the model that was packed.
        scores: the scores of those of its folds that have any.
        notes: what a user should know, in sentences.
    """

    path: Path
    bytes: int
    model: Model
    scores: tuple[FoldScore, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return summary_line(self, self.path, f"{self.bytes / 1e6:.1f} MB")


def package(
    model: str | Path | None,
    output: str | Path,
    workspace: str | Path = ".",
    options: PackageOptions | None = None,
) -> PackageResult:
    """Write a trained model as one file: plan, weights, metadata and a model card.

    Args:
        model: a run's folder, `<plan>/<configuration>`, or a model folder or zip of nnU-Net's; None if the workspace
            has one trained model.
        output: path of the package, which ends with `.medseg`.
        workspace: folder with `runs/`.
        options: everything else.

    Returns:
        The path and size of the package, and the scores of its folds.

    Raises:
        MedsegError: there is no model, several fit, it cannot be read, or the file exists already.
    """
    options, output = options or PackageOptions(), Path(output)
    check_suffix(output, SUFFIX)
    if output.exists() and not options.replace:
        raise ModelError(f"{output} exists already.", "Delete it, name another, or replace it with --force.")
    about = _about(options)
    loaded = load_chosen(model, workspace, options)
    for member in loaded.together:
        record = read_record(RunFolder(member.folder).fold(member.folds[0]))
        custom = record and record.network_factory
        if custom:
            raise ModelError(f"{member.folder} has a network of the user's own, {custom}; a package holds no code.")
    scores = tuple(_scores(loaded))
    save_package(
        loaded, output, model_card(loaded, about, scores, f"{loaded.plan.made_by}; packed by medseg {__version__}")
    )
    missing = [name for name in ("license", "intended_use") if getattr(about, name) is None]
    notes = [f"the card says nothing of {' and '.join(missing)}; give it with {_options(missing)}"] if missing else []
    return PackageResult(output, output.stat().st_size, loaded, scores, (*loaded.notes, *notes))


def _scores(model: Model) -> Iterator[FoldScore]:
    """Yield the scores of the folds; of several configurations that answer together, named with these."""
    for member in model.together:
        for score in fold_scores(member):
            yield replace(score, fold=f"{member.configuration_name}, {score.fold}") if model.others else score


def _options(names: Sequence[str]) -> str:
    return " and ".join("--" + name.replace("_", "-") for name in names)


def _about(options: PackageOptions) -> About:
    """Return the card's fields: those given one by one take precedence over those of the file."""
    given = {field.name: value for field in fields(About) if (value := getattr(options.about, field.name)) is not None}
    if options.card is None:
        return options.about
    return replace(About(**_read_card(options.card)), **given)


def _read_card(path: Path) -> Mapping[str, str]:
    from ruamel.yaml import YAML

    known = [field.name for field in fields(About)]
    try:
        if path.stat().st_size > _MOST_CARD:
            raise ModelError(f"{path} has more than {_MOST_CARD:,} bytes; expected a few lines of YAML.")
        content: Any = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} could not be read: {error.strerror or error}.") from None
    except ModelError:
        raise
    except Exception as error:  # the YAML library raises several unrelated types
        raise ModelError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no fields.", f"Expected lines such as 'license: CC BY 4.0'; {_known(known)}")
    for name, value in content.items():
        if name not in known:
            raise ModelError(f"{path}: there is no field {name!r}.", _known(known))
        if not isinstance(value, str):
            raise ModelError(f"{path}: {name} is {value!r}; expected text.")
    return {name: value.strip() for name, value in content.items()}


def _known(names: Sequence[str]) -> str:
    return f"Fields are {', '.join(names)}."
