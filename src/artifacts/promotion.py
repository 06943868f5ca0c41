"""Puts a version into use, and takes the one before back; the checks that come first.

>>> is_newer("1.10.0", "1.9.0"), is_newer("1.0.0", "1.0.0"), is_newer("tuesday", "1.0.0")
(True, False, False)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from ..errors import ArtifactError, UsageError
from .certificate import Certificate, covered_files, lost_promises, read_certificate, verify_certificate
from .confidence import read_confidence
from .files import MANIFEST
from .manifest import Manifest, read_manifest
from .places import find_artifact
from .pointer import Change, champions, current_version, locked, move, read_history, touch
from .policy import read_policy

log = logging.getLogger("healdag")

Trial = Callable[[Path], object]
"""Is called with the artefact's folder before the pointer moves; what it raises keeps the pointer where it is."""
_FORM = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def version_key(version: str) -> tuple[int, int, int] | None:
    """Something to sort by; None for a version that is not of the form X.Y.Z."""
    found = _FORM.fullmatch(version)
    return (int(found[1]), int(found[2]), int(found[3])) if found is not None else None


def is_newer(version: str, other: str) -> bool:
    """Whether the first comes after the second; False where one is not of the form X.Y.Z."""
    mine, its = version_key(version), version_key(other)
    return mine is not None and its is not None and mine > its


def check_whole(folder: Path) -> Manifest:
    """The manifest of an artefact whose files, with those of its backups, are all there and the trained ones.

    Raises:
        ArtifactError: they are not, or the folder holds another version than its name says.
    """
    manifest = read_manifest(folder)
    if manifest.version != folder.name:
        raise ArtifactError(f"{str(folder)!r} holds version {manifest.version!r}; a version's folder is named after it")
    for backup in sorted((folder / "backups").glob(f"*/{MANIFEST}")):
        read_manifest(backup.parent)
    read_policy(folder)
    read_confidence(folder)
    read_certificate(folder)
    return manifest


def promote(
    models: Path,
    task: str,
    version: str,
    *,
    allow_older: bool = False,
    force: bool = False,
    by: str | None = None,
    why: str = "",
    trial: Trial | None = None,
    dry_run: bool = False,
    timeout: float = 10.0,
) -> Change | None:
    """Puts ``models/<task>/<version>`` into use.

    Where the version in use promises error budgets or label sets that this one has no certificate for, a warning in the
    log says which.

    Args:
        models: A folder of models.
        allow_older: Also where it is not newer, by semantic version, than the one in use.
        force: Also where it answers with other labels.
        by: Who does it, for the history; the user who is logged in by default.
        why: For the history.
        trial: Loads the model or tries it in another way.
        dry_run: Only checks; nothing is written.
        timeout: Seconds to wait for another promotion.

    Returns:
        The line of the history; None where the version is in use already.

    Raises:
        UsageError: no such version, an older one, or one with other labels.
        ArtifactError: a file of it is missing or changed.
        LockedError: another promotion did not end in time.
    """
    place = _place(models, task)
    folder = _version_folder(place, version)

    def check() -> Change | None:
        manifest, old = check_whole(folder), current_version(place)
        champion = _champion(place)
        if champion is not None and champion != version:
            if not allow_older:
                _check_newer(task, version, champion)
            if not force:
                _check_labels(manifest, place / champion)
        return None if old == version else Change.now("promote", old, version, by=by, why=why)

    planned = check()
    if trial is not None:
        trial(folder)
    _warn_of_promises(place, planned)
    if dry_run:
        return planned
    with locked(models, f"promotes {task} {version}", timeout=timeout):
        change = check()  # again: the champion may have changed while the model was tried
        if change is not None:
            move(models, task, change)
    return change


def rollback(
    models: Path,
    task: str,
    *,
    to: str | None = None,
    by: str | None = None,
    why: str = "",
    trial: Trial | None = None,
    dry_run: bool = False,
    timeout: float = 10.0,
) -> Change:
    """Puts the version back into use that was before, by the history, or an earlier one.

    Args:
        to: One of the versions that were in use before; the last of them by default.

    The others are those of :func:`promote`.

    Raises:
        UsageError: none was in use before, not this one, or it is not there any more.
        ArtifactError: a file of it is missing or changed.
        LockedError: a promotion did not end in time.
    """
    place = _place(models, task)

    def check() -> Change:
        old = current_version(place)
        target = _target(place, champions(read_history(place), old), to)
        check_whole(place / target)
        return Change.now("rollback", old, target, by=by, why=why)

    planned = check()
    if trial is not None:
        trial(place / planned.new)
    _warn_of_promises(place, planned)
    if dry_run:
        return planned
    with locked(models, f"rolls {task} back to {planned.new}", timeout=timeout):
        if (now := current_version(place)) != planned.old:
            raise UsageError(
                f"{task!r} went from {planned.old} to {now} meanwhile; look, and roll back again if need be: "
                f"healdag models show {task}"
            )
        change = check()
        move(models, task, change)
    return change


def make_current(models: Path, task: str, version: str, *, why: str = "", timeout: float = 60.0) -> bool:
    """Puts a version into use that was made just now, unless it is older than the one in use.

    Returns:
        Whether it is in use now; if not, a warning in the log says how to promote it all the same.
    """
    place = models / task
    with locked(models, f"makes {task} {version} the current version", timeout=timeout):
        champion = _champion(place)
        if champion is not None and champion != version and not is_newer(version, champion):
            log.warning(
                "%s %s is not newer than %s, which stays in use; to change that: "
                "healdag models promote %s %s --allow-older",
                *(task, version, champion, task, version),
            )
            return False
        old = current_version(place)
        if old == version:
            touch(models, task, version)
        else:
            move(models, task, Change.now("made", old, version, why=why))
    return True


def _place(models: Path, task: str) -> Path:
    if Path(task).name != task or not (models / task).is_dir():
        raise UsageError(f"no task {task!r} in {str(models)!r}; see 'healdag models'")
    return models / task


def _version_folder(place: Path, version: str) -> Path:
    """The version's folder; UsageError with those that there are."""
    if Path(version).name != version or not (place / version / MANIFEST).is_file():
        there = sorted(path.parent.name for path in place.glob(f"[!.]*/{MANIFEST}"))
        raise UsageError(f"no version {version!r} in {str(place)!r}; there are: {', '.join(there) or 'none'}")
    return place / version


def _champion(place: Path) -> str | None:
    """The version in use, if it is there: a pointer to nothing protects nothing."""
    version = current_version(place)
    return version if version is not None and (place / version / MANIFEST).is_file() else None


def _check_newer(task: str, version: str, champion: str) -> None:
    if is_newer(version, champion):
        return
    comparable = version_key(version) is not None and version_key(champion) is not None
    is_what = "is older than" if comparable else "cannot be compared (not X.Y.Z both) with"
    raise UsageError(
        f"{task} {version} {is_what} {champion}, which is in use; to go back: healdag models rollback {task}; "
        "to promote it all the same: --allow-older (allow_older=True)"
    )


def _check_labels(candidate: Manifest, champion: Path) -> None:
    """Whoever reads the answers knows the champion's labels; its weights may be damaged, which is no reason to stay."""
    try:
        known = Manifest.model_validate_json((champion / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise UsageError(
            f"the labels of {champion.name}, which is in use, cannot be read ({str(error).splitlines()[0]}); "
            "to promote all the same: --force (force=True)"
        ) from None
    if set(candidate.labels) == set(known.labels) and candidate.multi_label is known.multi_label:
        return
    gone = [label for label in known.labels if label not in candidate.labels]
    added = [label for label in candidate.labels if label not in known.labels]
    parts = [f"without {gone}" if gone else "", f"with {added} besides" if added else ""]
    if candidate.multi_label is not known.multi_label:
        parts.append(f"with {'several labels' if candidate.multi_label else 'one label'} per text")
    raise UsageError(
        f"{candidate.task} {candidate.version} answers otherwise than {champion.name}, which is in use: "
        f"{', '.join(filter(None, parts))}; to promote it all the same: --force (force=True)"
    )


def rollback_target(place: Path) -> str | None:
    """The version that a rollback of ``models/<task>`` goes back to, by its history; None where none is there."""
    return next(iter(_before(place, champions(read_history(place), current_version(place)))), None)


def _before(place: Path, stack: list[str]) -> list[str]:
    """Those of the versions before the one in use that are there, the latest first."""
    earlier = dict.fromkeys(reversed(stack[:-1]))
    return [version for version in earlier if (place / version / MANIFEST).is_file() and version != stack[-1]]


def _warn_of_promises(place: Path, change: Change | None) -> None:
    """Says which promises of the version in use the new one has no certificate for."""
    if change is None or change.old is None:
        return
    lost = lost_promises(_holding(place / change.old), _holding(place / change.new))
    if lost:
        log.warning(
            "%s %s has no certificate for what %s promises: %s. Classifiers that ask for that do not load it; those "
            "that run stay with %s. To certify it with labelled texts: healdag certify %s@%s --data FILE",
            *(place.name, change.new, change.old, ", ".join(lost), change.old, place.name, change.new),
        )


def _holding(folder: Path) -> Certificate | None:
    """The version's certificate; None where it has none that covers the files that there are."""
    try:
        certificate = read_certificate(folder)
        if certificate is None:
            return None
        detector = None
        if Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8")).sarcasm:
            place = folder.parents[1] / "sarcasm"  # beside it, or else where models are looked for
            version = current_version(place)
            detector = place / version if version is not None else find_artifact("sarcasm")
        verify_certificate(certificate, covered_files(folder, detector), folder)
    except (ArtifactError, UsageError, OSError, ValueError):  # of the version in use, which may be damaged
        return None
    return certificate


def _target(place: Path, stack: list[str], to: str | None) -> str:
    """The version that a rollback goes to."""
    before, there = list(dict.fromkeys(reversed(stack[:-1]))), _before(place, stack)
    others = f"; still there, of those before: {', '.join(there)} (--to VERSION)" if there else ""
    if not before:
        raise UsageError(
            f"no version of {place.name!r} was in use before {stack[-1] if stack else 'this'}, by its history; to "
            f"choose one: healdag models promote {place.name} VERSION --allow-older"
        )
    target = before[0] if to is None else to
    if target not in before or target == stack[-1]:
        raise UsageError(
            f"{target!r} is in use already" if target == stack[-1] else f"{target!r} was not in use before{others}"
        )
    if target not in there:
        raise UsageError(f"{place.name} {target}, which was in use before, is not there any more{others}")
    return target
