"""Which version of a task is in use: moved in one step, one mover at a time, and on record.

    models/<task>/current           the version in use; this file decides
    models/<task>/history.jsonl     a line for each time that it moved, oldest first
    models/<task>/.moving           the line of a move that is under way, or whose process was killed
    models/MODEL_VERSION.json       the versions in use of all tasks, for people

``current``, ``.moving`` and ``MODEL_VERSION.json`` are written beside their places and renamed, so that a reader finds
each of them whole. Two files cannot be renamed in one step: ``current`` goes first and the others follow. ``.moving``
lies there from before the first until after the last, so that a move that was killed is completed by the next one, or
forgotten where ``current`` had not moved yet.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import LockedError
from .files import CURRENT

HISTORY = "history.jsonl"
MOVING = ".moving"
REGISTER = "MODEL_VERSION.json"
LOCK = ".lock"
HOLDER = ".lock-holder"

Action = Literal["promote", "rollback", "made"]


class Change(BaseModel):
    """One line of a task's history: ``current`` moved from one version to another."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    time: str = Field(description="ISO 8601, UTC.")
    action: Action = Field(description="'made': by a training, a calibration or an ensemble, whose result it is.")
    old: str | None = Field(alias="from", description="The version before; None where there was none.")
    new: str = Field(alias="to", description="The version since.")
    by: str = Field(description="Who did it.")
    why: str = ""

    @classmethod
    def now(cls, action: Action, old: str | None, new: str, *, by: str | None = None, why: str = "") -> Change:
        """A change at this moment; by the user who is logged in, unless ``by`` says otherwise."""
        time = datetime.now(UTC).isoformat(timespec="microseconds")  # so fine that no two lines are the same
        fields = {"time": time, "action": action, "from": old, "to": new, "by": by or _user(), "why": why}
        return cls.model_validate(fields)

    def line(self) -> str:
        """As it is written."""
        return self.model_dump_json(by_alias=True) + "\n"


def current_version(folder: Path) -> str | None:
    """The version in use in ``models/<task>``, or None."""
    try:
        return (folder / CURRENT).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def read_history(folder: Path) -> list[Change]:
    """How ``current`` of ``models/<task>`` has moved, oldest first; a line that was cut short is passed over."""
    moving = _moving(folder)  # first: its line goes from there to the history
    changes = _lines(folder)
    if moving is not None and moving.new == current_version(folder) and moving not in changes:
        return [*changes, moving]
    return changes


def champions(changes: Sequence[Change], current: str | None) -> list[str]:
    """The versions that a rollback can go back through, the one in use last.

    What was rolled back is not among them, so that one rollback after the other goes further back. A version that
    came into use without a line, from before there was a history or by hand, is.
    """
    stack: list[str] = []
    for change in changes:
        if change.old is not None and stack[-1:] != [change.old]:
            stack.append(change.old)
        if change.action == "rollback" and change.new in stack:
            while stack[-1] != change.new:
                stack.pop()
        else:
            stack.append(change.new)
    if current is not None and stack[-1:] != [current]:
        stack.append(current)
    return stack


def move(models: Path, task: str, change: Change) -> None:
    """Points ``models/<task>/current`` at ``change.new``; to be called within :func:`locked`."""
    folder = models / task
    write_whole(folder / MOVING, change.line())
    write_whole(folder / CURRENT, change.new + "\n")
    _follow(folder, change)


def touch(models: Path, task: str, version: str) -> None:
    """Writes the same version into ``current`` again: its files are new, and whoever watches is to see that."""
    write_whole(models / task / CURRENT, version + "\n")
    _write_register(models)


@contextmanager
def locked(models: Path, what: str, *, timeout: float = 10.0) -> Iterator[None]:
    """Nobody else moves a pointer in ``models`` meanwhile; what a killed move left is put right first.

    Args:
        what: Said to those who wait in vain.
        timeout: Seconds to wait for another that holds the lock.

    Raises:
        LockedError: it did not end in that time.
    """
    from filelock import FileLock, Timeout

    holder = models / HOLDER
    try:
        lock = FileLock(models / LOCK, timeout=timeout).acquire()
    except Timeout:
        try:
            by = "held by " + holder.read_text(encoding="utf-8").strip()
        except OSError:
            by = "held by another process"
        raise LockedError(
            f"{str(models / LOCK)!r} is {by}, for more than {timeout:g} seconds; try again when that has ended"
        ) from None
    with lock:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}: {what}\n", encoding="utf-8")
        try:
            _mend(models)
            yield
        finally:
            holder.unlink(missing_ok=True)
            # While it is held: whoever waits sees that the file is gone and makes a new one.
            with suppress(OSError):
                (models / LOCK).unlink()


def _mend(models: Path) -> None:
    """Completes moves that were killed after ``current`` had moved, and forgets those before that."""
    for path in models.glob(f"*/{MOVING}"):
        change = _moving(path.parent)
        if change is not None and change.new == current_version(path.parent):
            _follow(path.parent, change)
        else:
            path.unlink(missing_ok=True)


def _follow(folder: Path, change: Change) -> None:
    """What comes after ``current``; again where it was begun and killed."""
    _write_register(folder.parent)
    if _lines(folder)[-1:] != [change]:
        _append(folder / HISTORY, change.line())
    (folder / MOVING).unlink(missing_ok=True)


def _write_register(models: Path) -> None:
    found = {path.parent.name: current_version(path.parent) for path in sorted(models.glob(f"*/{CURRENT}"))}
    versions = {task: version for task, version in found.items() if version is not None}
    write_whole(models / REGISTER, json.dumps(versions, indent=2, ensure_ascii=False) + "\n")


def _moving(folder: Path) -> Change | None:
    try:
        return Change.model_validate_json((folder / MOVING).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


def _lines(folder: Path) -> list[Change]:
    try:
        content = (folder / HISTORY).read_bytes()
    except FileNotFoundError:
        return []
    changes = []
    for line in content.splitlines():
        with suppress(ValidationError):
            changes.append(Change.model_validate_json(line))
    return changes


def write_whole(path: Path, content: str) -> None:
    """Beside its place, onto the disk, then renamed: the old content or the new, whenever the power fails."""
    fresh = path.with_name(f".{path.name.lstrip('.')}.new")
    try:
        _write(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, content.encode())
        os.replace(fresh, path)  # noqa: PTH105 - beside os.write and os.fsync
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _append(path: Path, line: str) -> None:
    try:
        cut_short = not path.read_bytes().endswith(b"\n")  # a line that a failing disk did not take whole
    except FileNotFoundError:
        cut_short = False
    _write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, (b"\n" if cut_short else b"") + line.encode())
    _sync_folder(path.parent)


def _write(path: Path, flags: int, data: bytes) -> None:
    descriptor = os.open(path, flags, 0o666)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk once its folder is; Windows has no such call."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for the user
        return "unknown"
