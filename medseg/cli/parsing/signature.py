"""Verbs as typer reads them: options made from the fields of dataclasses, help from docstrings.

A verb's function takes arguments and, as parameters, dataclasses of options. `typer_function` gives it a signature in
which every field is an option, and puts the dataclasses together again from what was typed.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.core import TyperCommand

from medseg.cli.output.records import JSON_PARAMETER, recording
from medseg.cli.parsing.blanks import QUOTATION, explain_unquoted
from medseg.cli.parsing.short_help import HELP_ALL, HELP_ALL_PARAMETER, shorten
from medseg.core.errors import MedsegError
from medseg.core.options import OFTEN, Option

_METAVARS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}
_SECTION = re.compile(r"^(Args|Attributes|Examples|Returns|Raises):$", re.MULTILINE)


class PlainHelp:
    """A command whose `--help` shows no type beside flags, which take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of the command.

        Args:
            ctx: The context of click.
        """
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params


class VerbCommand(PlainHelp, TyperCommand):
    """A verb, for typer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the verb; of words too many the message says that blanks need quotation marks.

        Args:
            ctx: The context of click.
            args: What was typed after the verb.

        Returns:
            What click leaves unread.
        """
        if (explanation := explain_unquoted(args)) is not None:
            ctx.fail(explanation)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # of click, whose classes typer has changed between its versions
            message = getattr(error, "message", "")
            if "unexpected extra argument" in message:
                ctx.fail(f"{message}. {QUOTATION}")
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: of a verb with many options the most used ones, and all after `--help-all`.

        Args:
            ctx: The context of click.
            formatter: Takes the text.
        """
        if HELP_ALL not in ctx.meta:
            shorten(self.params, getattr(self.callback, "often", frozenset()))
        super().format_help(ctx, formatter)


@dataclass(frozen=True)
class Field:
    """A parameter of a verb's function, or a field of one of its options dataclasses.

    Attributes:
        name: Name of the parameter or field.
        kind: Type of its value, without `Annotated` and `None`.
        default: Default value; `inspect.Parameter.empty` where a value must be given.
        help: Its description in the docstring.
        option: What the command line must know beside these.
        often: Whether most need it; see `medseg.core.options.OFTEN`.
    """

    name: str
    kind: Any
    default: Any
    help: str
    option: Option
    often: bool = False

    @property
    def is_options(self) -> bool:
        """Whether it is a dataclass of options."""
        return is_dataclass(self.kind) and self.option.parse is None

    @property
    def repeated(self) -> bool:
        """Whether it can be given several times."""
        return self.option.parse is None and get_origin(self.kind) in (list, Sequence)

    @property
    def is_argument(self) -> bool:
        """Whether it is given by its place on the command line, and not by a name."""
        return self.option.positional or self.default is inspect.Parameter.empty

    @property
    def flags(self) -> list[str]:
        """Names of the option on the command line, such as `--model` and `-m`."""
        return self.option.flags_of(self.name)

    @property
    def spellings(self) -> list[str]:
        """All ways to type the option: `--page` and `--no-page` of the flag `--page/--no-page`."""
        return [spelling for flag in self.flags for spelling in flag.split("/")]

    @property
    def typer_parameter(self) -> inspect.Parameter:
        """Parameter from which typer makes the argument or option."""
        element: Any = get_args(self.kind)[0] if self.repeated else self.kind
        if self.option.parse is not None or element not in (*_METAVARS, bool):
            element = str
        default, text = self._typed_default(), _as_markup(self.help)
        if self.is_argument:
            typer_info = typer.Argument(
                ... if default is inspect.Parameter.empty else default,
                help=text,
                metavar=self.option.metavar or self.name.upper(),
                show_default=default not in (None, inspect.Parameter.empty),
            )
        else:
            typer_info = typer.Option(
                default,
                *self.flags,
                help=text,
                metavar=self.option.metavar or _METAVARS.get(element),
                rich_help_panel=self.option.group,
                show_default=default is not None,  # older versions of typer show None
                min=self.option.minimum,
            )
        annotation = list[element] if self.repeated else element
        if default is None:
            annotation = annotation | None
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=typer_info, annotation=annotation)

    def _typed_default(self) -> Any:
        """Return the default as someone would type it; None where there is nothing to show."""
        if self.default is None or self.default == () or self.default == []:
            return None
        if self.option.write is not None:
            return self.option.write(self.default)
        return self.default

    def value(self, typed: Any) -> Any:
        """Return the value of the parameter or field.

        Args:
            typed: What typer read, which may be the default of `typer_parameter`.

        Raises:
            MedsegError: The text cannot be read; the message names the option.
        """
        if typed is None or typed == [] or typed == self._typed_default():
            return self.default
        if self.option.parse is None:
            return typed
        try:
            return self.option.parse(typed)
        except MedsegError as error:
            raise type(error)(f"{self.flags[0]}: {error.message}", error.hint) from None


def typer_function(name: str, verb: Callable[..., None]) -> Callable[..., None]:
    """Return a function that typer can register as a command, which has the verb's options and `--json`.

    Args:
        name: Name of the verb, for its last record.
        verb: Takes arguments and dataclasses of options. Its docstring describes its parameters, and becomes the help.
    """
    parameters = fields_of_function(verb)

    def run(*, json_: bool, help_all_: bool, **typed: Any) -> None:
        with recording(name) if json_ else nullcontext():
            verb(**{parameter.name: _value(parameter, typed) for parameter in parameters})

    options = [*flat(parameters)]
    for_typer = [*(field.typer_parameter for field in options), JSON_PARAMETER, HELP_ALL_PARAMETER]
    run.__signature__ = inspect.Signature(for_typer)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in for_typer}
    run.__doc__ = help_text(verb)
    run.often = often_flags(options)  # type: ignore[attr-defined]
    return run


def often_flags(options: Sequence[Field]) -> frozenset[str]:
    """Return all ways to type the options that most need; none for a verb that shows all of its options.

    Args:
        options: The arguments and options of a verb.
    """
    return frozenset(spelling for field in options if field.often for spelling in field.spellings)


def _value(field: Field, typed: Mapping[str, Any]) -> Any:
    """Return the value of a parameter or field; of a dataclass, put together from its fields."""
    if not field.is_options:
        return field.value(typed[field.name]) if field.name in typed else field.default
    parts = [part for part in fields_of_class(field.kind) if part.name not in field.option.without]
    return field.kind(**{part.name: _value(part, typed) for part in parts})


def flat(parameters: Sequence[Field], rarely: tuple[str, ...] = ()) -> Iterator[Field]:
    """Yield the fields that become arguments and options: dataclasses are replaced by their fields.

    Args:
        parameters: The parameters of a verb, or the fields of a dataclass.
        rarely: Names of fields that are rarely needed here, though most need them elsewhere.
    """
    for field in parameters:
        if field.is_options:
            parts = [part for part in fields_of_class(field.kind) if part.name not in field.option.without]
            yield from flat(parts, (*rarely, *field.option.rarely))
        else:
            yield replace(field, often=field.often and field.name not in rarely)


def fields_of_function(verb: Callable[..., None]) -> list[Field]:
    """Return the parameters of a verb's function, in their order."""
    described = described_names(verb.__doc__ or "")
    signature = inspect.signature(verb, eval_str=True)
    return [_field(given.name, given.annotation, given.default, described) for given in signature.parameters.values()]


def fields_of_class(kind: Any) -> list[Field]:
    """Return the fields of an options dataclass that are options on the command line: its own, then inherited ones."""
    declarations = {declaration.name: declaration for declaration in fields(kind)}
    collected = []
    for base in filter(is_dataclass, kind.__mro__):
        described = described_names(base.__doc__ or "")
        for name, annotation in inspect.get_annotations(base, eval_str=True).items():  # type: ignore[arg-type]
            factory = declarations[name].default_factory
            default = declarations[name].default if factory is MISSING else factory()
            collected.append(_field(name, annotation, default, described))
    return [field for field in collected if not field.option.python_only]


def _field(name: str, annotation: Any, default: Any, described: Mapping[str, str]) -> Field:
    """Return the field that an annotation, a default and the descriptions in a docstring make."""
    option, extras = Option(), []
    if get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        option = next((extra for extra in extras if isinstance(extra, Option)), option)
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    return Field(name, annotation, default, described.get(name, ""), option, OFTEN in extras)


def described_names(docstring: str) -> dict[str, str]:
    r"""Return {name: its description in one line} from the section `Args:` or `Attributes:` of a docstring.

    >>> described_names("A box.\n\nAttributes:\n    width: In mm,\n        outside.\n    depth: Likewise.")
    {'width': 'In mm, outside.', 'depth': 'Likewise.'}
    """
    sections = _sections(docstring)
    text = sections.get("Args", "") + sections.get("Attributes", "")
    described = re.split(r"^(\w+): ", inspect.cleandoc(text), flags=re.MULTILINE)[1:]
    return {name: " ".join(what.split()) for name, what in zip(described[::2], described[1::2], strict=True)}


def help_text(verb: Callable[..., None]) -> str:
    """Return a verb's help from its docstring: paragraphs without line breaks, then the examples, one a paragraph."""
    sections = _sections(verb.__doc__ or "")
    paragraphs = [" ".join(paragraph.split()) for paragraph in sections[""].split("\n\n")]
    examples = [line.strip() for line in sections.get("Examples", "").splitlines() if line.strip()]
    heading = ["[bold]Examples[/]"] if examples else []
    return "\n\n".join([*map(_as_markup, paragraphs), *heading, *map(_as_markup, examples)])


def _as_markup(text: str) -> str:
    """Return text as rich prints it without taking brackets for markup; docstrings mark code, a terminal does not."""
    return text.replace("`", "").replace("[", "\\[")


def _sections(docstring: str) -> dict[str, str]:
    """Return the parts of a docstring by their headings; what stands before the first has none."""
    first, *others = _SECTION.split(inspect.cleandoc(docstring))
    return {"": first.strip("\n"), **dict(zip(others[::2], others[1::2], strict=True))}
