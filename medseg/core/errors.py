"""The errors that a user can cause. Each says what was seen, what was expected, and what to do."""

from __future__ import annotations


class MedsegError(Exception):
    """Base of every error that medseg raises on purpose.

    Args:
        message: what was seen and what was expected, in a sentence or two.
        hint: what to do about it; shown on a line of its own.
        kind: one of `medseg.planning.findings.KINDS`, for programs that have to tell errors apart; None for no kind.
    """

    def __init__(self, message: str, hint: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class DataError(MedsegError):
    """A scan, a label file, a table or a folder of them is missing, damaged or not as expected."""


class PlanError(MedsegError):
    """A plan, or an option, is not valid or cannot be carried out."""


class ModelError(MedsegError):
    """A trained model is missing, damaged, ambiguous, or does not fit the data."""


class Stopped(MedsegError):
    """The command was asked to stop, by Ctrl-C or by a signal."""


class Cancelled(MedsegError):
    """Raised by a progress callback to stop a long call cleanly."""

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message)


class ScanWarning(UserWarning):
    """A scan differs from those that the model was trained on; it is segmented all the same."""
