"""Two families of errors: the caller's mistake and a failure while running.

Each error is also the builtin that a caller would expect (``ValueError``, ``RuntimeError``, ...), and its
message shows the value, what is allowed, and the next step.
"""

from __future__ import annotations


class HealdagError(Exception):
    """Base of every error that healdag raises on purpose."""


class UsageError(HealdagError, ValueError):
    """The caller asked for something that cannot be done; the message says what can."""


class InputError(UsageError):
    """A text that cannot be classified: not a string, empty, or longer than allowed.

    Attributes:
        index: Position of the text in the batch, or None for a single text.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        self.reason = message
        self.index = index
        super().__init__(message if index is None else f"text at index {index}: {message}")


class ConfigError(UsageError):
    """A setting that is unknown, of the wrong type or out of range; the message names the key."""


class ArtifactError(HealdagError, RuntimeError):
    """A model folder that is missing, incomplete or not the one that was trained."""


class BaseModelNotFoundError(ArtifactError, FileNotFoundError):
    """The pretrained base was found in none of the places where it is looked for."""

    # FileNotFoundError formats its arguments as errno and path; this one carries a plain message.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class LockedError(HealdagError, TimeoutError):
    """Somebody else is changing which versions are in use; the message says who."""


class StoreError(HealdagError, RuntimeError):
    """A database that cannot be read or written just now: locked, full, out of reach; nothing was written."""


class MissingExtraError(HealdagError, ImportError):
    """An optional dependency is not installed; the message names the pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package!r} is not installed. Install it with: pip install 'healdag[{extra}]'")


class PredictorError(HealdagError, RuntimeError):
    """A predictor failed on a whole batch (model down, timeout, answer in the wrong form)."""
