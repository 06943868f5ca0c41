"""What stands in for a task's current version where that cannot be loaded: versions known to be good, then TF-IDF."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from .files import CURRENT, MANIFEST
from .manifest import Manifest
from .places import Mark, models_roots
from .pointer import champions, current_version, read_history
from .promotion import is_newer, version_key

BASELINE = "tfidf"


def intended(task: str) -> Path | None:
    """The folder that ``models/<task>/current`` names, whether it is there or not, of the first root that has one."""
    for root in models_roots():
        version = current_version(root / task)
        if version is not None:
            return root / task / version
    return None


def file_marks(tasks: Iterable[str] | None = None) -> dict[str, Mark]:
    """What changes when a file of a task's current version is restored: per task its files and when they were written.

    Args:
        tasks: Those to look at; None: all that there are.
    """
    named = {path.parent.name for root in models_roots() for path in root.glob(f"*/{CURRENT}")}
    marks: dict[str, Mark] = {}
    for task in sorted(named) if tasks is None else tasks:
        folder, found = intended(task), []
        for path in sorted(folder.rglob("*")) if folder is not None else ():
            with suppress(FileNotFoundError):
                seen = path.stat()
                found.append((str(path), seen.st_ino, seen.st_mtime_ns))
        marks[task] = tuple(found)
    return marks


def stand_ins(folder: Path) -> list[Path]:
    """Versions that may answer in the place of the one in ``folder``, best first; whether they are whole is not known.

    Those that were in use before it, the latest first; without a history those that are older by their numbers: what
    was never in use has passed no check. Then the version in use of the same task in other folders of models. All with
    the same labels, as far as the manifest in ``folder`` can still be read.
    """
    place = folder.parent
    if history := read_history(place):
        names = [name for name in dict.fromkeys(reversed(champions(history, None))) if name != folder.name]
    else:
        there = [path.parent.name for path in place.glob(f"[!.]*/{MANIFEST}")]
        older = [name for name in there if is_newer(folder.name, name)]
        names = sorted(older, key=lambda name: version_key(name) or (), reverse=True)
    others = [
        root / place.name / version
        for root in models_roots()
        if root != place.parent and (version := current_version(root / place.name)) is not None
    ]
    known = _manifest(folder)
    return [path for path in (*(place / name for name in names), *others) if _answers_alike(_manifest(path), known)]


def baselines(folder: Path) -> list[Path]:
    """TF-IDF backups, which need neither an adapter nor a base: its own first, then those of :func:`stand_ins`."""
    known = _manifest(folder)
    return [
        path.parent
        for version in (folder, *stand_ins(folder))
        for path in sorted((version / "backups").glob(f"*/{MANIFEST}"))
        if (found := _manifest(path.parent)) is not None and found.kind == BASELINE and _answers_alike(found, known)
    ]


def _answers_alike(one: Manifest | None, other: Manifest | None) -> bool:
    """Whether the first is there and has the other's labels, as far as those are known."""
    if one is None or other is None:
        return one is not None
    return set(one.labels) == set(other.labels) and one.multi_label is other.multi_label


def _manifest(folder: Path) -> Manifest | None:
    """Without a look at the files that it vouches for."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
