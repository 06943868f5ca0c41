"""Which version of a task a graph is made of: the current one, or where that cannot be loaded the best that can."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..artifacts import CURRENT, MANIFEST, baselines, intended, stand_ins
from ..config import Settings
from ..errors import ArtifactError, BaseModelNotFoundError, ConfigError

T = TypeVar("T")

log = logging.getLogger("healdag")


@dataclass(frozen=True)
class StandIn:
    """A version that answers in the place of the current one.

    Attributes:
        wanted: Folder of the current version.
        problem: Why that cannot be loaded.
        baseline: Name of the backup that answers in the primary's place; None for a version as a whole.
    """

    wanted: Path
    problem: Exception
    baseline: str | None = None

    def named(self, version: str) -> str:
        """What the answers are signed with, for example 'emotion/1.0.0 (fallback from 1.1.0)'."""
        return f"{self._own(version)} (fallback from {self.wanted.name})"

    def note(self, version: str) -> str:
        """What has happened, in words."""
        wanted = f"{self.wanted.parent.name} {self.wanted.name}"
        return f"{wanted} cannot be loaded ({self.problem}); {self._own(version)} stands in for it."

    def _own(self, version: str) -> str:
        return version if self.baseline is None else f"{version}/{self.baseline}"


def may_fall_back(settings: Settings) -> Path | None:
    """The folder of the current version, where another may stand in for it.

    None where a version, or a folder, was asked for; where it is switched off; or where the task never had a version.
    """
    model = settings.model
    by_name = model.version is None and Path(model.task).expanduser().name == model.task
    return intended(model.task) if by_name and model.fallback else None


def first_that_loads(wanted: Path, settings: Settings, load: Callable[[Settings, bool], T]) -> tuple[T, StandIn | None]:
    """What ``load`` makes of the current version, or of the first that can be loaded in its place.

    Args:
        wanted: From :func:`may_fall_back`.
        load: Takes settings, and whether it is a baseline, which has no backups.

    Raises:
        BaseModelNotFoundError: the pretrained base is not installed; nothing is damaged, and the message says what to
            do.
        ArtifactError: nothing can be loaded; the message says what is wrong with the current version.
    """

    def made_of(folder: Path) -> Settings:  # and not of what the pointer may name by now
        return settings.model_copy(update={"model": settings.model.model_copy(update={"task": str(folder)})})

    try:
        if not (wanted / MANIFEST).is_file():
            raise ArtifactError(f"{str(wanted)!r} holds no model, and {CURRENT!r} beside it names it")
        return load(made_of(wanted), False), None
    except BaseModelNotFoundError:
        raise
    except (ArtifactError, OSError) as error:
        problem = error
    others = [*((folder, None) for folder in stand_ins(wanted)), *((path, path.name) for path in baselines(wanted))]
    for folder, baseline in others:
        try:
            return load(made_of(folder), baseline is not None), StandIn(wanted, problem, baseline)
        except (ArtifactError, ConfigError, OSError) as error:
            log.warning("%s cannot stand in for %s: %s", folder, wanted, error)
    raise problem
