"""What heals leave beside a task's models: what was tried last, and which rows are the golden set."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ..artifacts import read_form, write_whole
from ..errors import LockedError

STATE = "healing.json"
LOCK = ".healing.lock"
HOLDER = ".healing.holder"
STAGING = ".healing"
"""Folder of a folder of models in which candidates are made; what is in it is no version yet."""


class Golden(BaseModel):
    """The rows that all versions are compared on, as they were when they were first used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(description="Over texts and labels, in order.")
    n: int
    source: str = Field(description="Where they are from, in words.")
    since: str = Field(description="When they were first used: ISO 8601, UTC.")


class State(BaseModel):
    """``models/<task>/healing.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tried: str = Field(default="", description="Id of the last correction that a heal has tried; '' before the first.")
    promoting: str = Field(
        default="", description="Version that passed the gate and is about to be put into use; '' once it is."
    )
    golden: Golden | None = None


def read_state(place: Path) -> State:
    """The state of ``models/<task>``; the empty one before its first heal.

    Raises:
        ArtifactError: the file is broken.
    """
    advice = "restore it, or delete it: then all corrections are tried again, and the golden set is written down anew"
    return read_form(place / STATE, State, "state of heals", advice) or State()


def write_state(place: Path, state: State) -> None:
    """Writes it whole: the old one or the new one is there whenever the power fails."""
    write_whole(place / STATE, state.model_dump_json(indent=2) + "\n")


@contextmanager
def healing(place: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Nobody else heals the task in ``models/<task>`` meanwhile.

    Args:
        place: The task's folder of versions.
        wait: Seconds to wait for another heal.

    Raises:
        LockedError: another did not end in that time; the message says whose it is.
    """
    from filelock import FileLock, Timeout

    try:
        lock = FileLock(place / LOCK, timeout=wait).acquire()
    except Timeout:
        waited = f" for more than {wait:g} seconds" if wait else ""
        raise LockedError(
            f"{place.name!r} is being healed{waited} by {_holder(place)}; try again when that has ended, or wait for "
            "it: --wait SECONDS (wait=SECONDS)"
        ) from None
    with lock:
        mark = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
        (place / HOLDER).write_text(json.dumps(mark) + "\n", encoding="utf-8")
        try:
            yield
        finally:
            (place / HOLDER).unlink(missing_ok=True)
            with suppress(OSError):  # while it is held: whoever waits makes a new one
                (place / LOCK).unlink()


def now() -> str:
    """This moment: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _holder(place: Path) -> str:
    try:
        mark = json.loads((place / HOLDER).read_text(encoding="utf-8"))
        return f"process {mark['pid']} on {mark['host']}, since {mark['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
