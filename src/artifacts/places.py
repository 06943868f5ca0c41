"""Where artefacts are: the roots of models, the tasks and versions in them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from ..config import Environment
from ..errors import UsageError
from .files import CURRENT, MANIFEST

Mark: TypeAlias = tuple[tuple[str, int, int], ...]
"""Path, inode and time in nanoseconds of a task's pointers, over all roots."""


def models_roots() -> list[Path]:
    """Folders searched for artefacts, in order: HEALDAG_MODELS, then the shipped ones."""
    package = Path(__file__).parents[1]
    shipped = package / "models"  # inside an installed wheel
    if not shipped.is_dir():
        shipped = package.parent / "models"  # in a checkout
    own = Environment.read().models
    return [own, shipped] if own is not None else [shipped]


def available_tasks() -> dict[str, Path]:
    """Task name to the folder of its current version, over all roots; an earlier root wins."""
    found: dict[str, Path] = {}
    for root in models_roots():
        for pointer in sorted(root.glob(f"*/{CURRENT}")):
            folder = pointer.parent / pointer.read_text(encoding="utf-8").strip()
            if (folder / MANIFEST).is_file():
                found.setdefault(pointer.parent.name, folder)
    return found


def find_artifact(task: str, version: str | None = None) -> Path:
    """The folder of a task's model.

    Args:
        task: A task name, or the path of an artefact folder (with a separator in it: './emotion').
        version: A version of the task; None takes the current one.

    Raises:
        UsageError: no such task or version; the message lists what there is.
    """
    # A bare name is a task's, whatever lies in the working directory.
    if (as_path := Path(task).expanduser()).name != task and (as_path / MANIFEST).is_file():
        return as_path
    tasks = available_tasks()
    if version is None:
        if task in tasks:
            return tasks[task]
        raise UsageError(
            f"no model for task {task!r}; there are: {', '.join(sorted(tasks)) or 'none'}. "
            "Train one, or point HEALDAG_MODELS at a folder with models"
        )
    for root in models_roots():
        if (root / task / version / MANIFEST).is_file():
            return root / task / version
    versions = sorted({m.parent.name for root in models_roots() for m in root.glob(f"{task}/*/{MANIFEST}")})
    raise UsageError(f"no version {version!r} of task {task!r}; there are: {', '.join(versions) or 'none'}")


def root_of(task: str, version: str | None = None) -> Path:
    """The folder of models whose ``<task>/current`` decides what ``create_classifier(task)`` loads.

    Args:
        version: One that must be in it.

    Raises:
        UsageError: no such task or version, or the version lies in another folder of models.
    """
    tasks = available_tasks()
    if task in tasks:
        root = tasks[task].parents[1]
    elif version is None:
        return find_artifact(task).parents[1]  # which says what there is
    else:
        return find_artifact(task, version).parents[1]
    if version is not None and not (root / task / version / MANIFEST).is_file():
        elsewhere = find_artifact(task, version).parents[1]
        raise UsageError(
            f"version {version!r} of {task!r} lies in {str(elsewhere)!r}, but {str(root)!r} decides which is used; "
            "name a folder with --models, or copy the version"
        )
    return root


def pointer_marks(tasks: Iterable[str] | None = None) -> dict[str, Mark]:
    """What changes whenever another version of a task comes into use: per task the files and when they were written.

    Args:
        tasks: Those to look for; None: all that there are.
    """
    asked = None if tasks is None else list(tasks)
    marks: dict[str, Mark] = {}
    for pointer in (
        path
        for root in models_roots()
        for path in (root.glob(f"*/{CURRENT}") if asked is None else [root / task / CURRENT for task in asked])
    ):
        with suppress(FileNotFoundError):
            found = pointer.stat()
            task = pointer.parent.name
            marks[task] = (*marks.get(task, ()), (str(pointer), found.st_ino, found.st_mtime_ns))
    return marks
