"""Versions of models, X.Y.Z: X for other labels or another base, Y for a training, Z for what is fitted after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..artifacts import MANIFEST, Manifest, current_version, version_key
from ..errors import UsageError

__all__ = ["check_version", "current_version", "next_patch", "next_version", "unfinished_version", "versions"]

FIRST = "1.0.0"
RUNS = ".training"
"""Folder, beside a task's versions, with a folder for each that is being trained: its checkpoints."""


def versions(folder: Path) -> list[str]:
    """The versions in ``models/<task>``, oldest first."""
    names = (path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    return sorted((name for name in names if version_key(name)), key=_key)


def unfinished_version(folder: Path) -> str | None:
    """The version in ``models/<task>`` whose training was interrupted, in any of its steps; None without one."""
    names = (path.name for path in (folder / RUNS).glob("*"))
    return max((name for name in names if version_key(name)), key=_key, default=None)


def check_version(version: str) -> str:
    """The version as it is.

    Raises:
        UsageError: it is not of the form X.Y.Z.
    """
    if version_key(version) is None:
        raise UsageError(f"version {version!r} is not of the form X.Y.Z, for example {FIRST}")
    return version


def next_version(folder: Path, labels: Sequence[str], base: str | None, *, trained: bool) -> str:
    """The version that a new model gets.

    Args:
        folder: ``models/<task>``.
        labels: Labels of the new model.
        base: Name of its base, None for a model without one.
        trained: Whether the model itself is trained, rather than only what is fitted on its answers.

    Raises:
        UsageError: nothing is there whose answers could be fitted.
    """
    there = versions(folder)
    if not there:
        if not trained:
            raise UsageError(f"no model in {str(folder)!r} to add to; train the step 'model' first")
        return FIRST
    major, minor, patch = _key(there[-1])
    if not trained:
        return f"{major}.{minor}.{patch + 1}"
    before = Manifest.model_validate_json((folder / there[-1] / MANIFEST).read_text(encoding="utf-8"))
    same_base = (before.base.name if before.base is not None else None) == base
    same = same_base and set(before.labels) == set(labels)
    return f"{major}.{minor + 1}.0" if same else f"{major + 1}.0.0"


def next_patch(folder: Path, version: str) -> str:
    """The first free Z after ``version`` in ``models/<task>``, for what is fitted on its answers anew.

    Raises:
        UsageError: the version is not of the form X.Y.Z.
    """
    major, minor, patch = _key(check_version(version))
    taken = [key[2] for there in versions(folder) if (key := _key(there))[:2] == (major, minor)]
    return f"{major}.{minor}.{max([patch, *taken]) + 1}"


def _key(version: str) -> tuple[int, int, int]:
    key = version_key(version)
    assert key is not None
    return key
