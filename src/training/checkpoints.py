"""Checkpoints: the run that they belong to, and the one that a training goes on from."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .artifact_writer import write_json

RUN = "run.json"
"""Says which rows and settings the checkpoints beside it belong to."""
COMPLETE = "complete.json"
"""Written last into a checkpoint: without it the process was killed while it wrote the others."""

log = logging.getLogger("healdag")


def run_hash(*parts: Any) -> str:
    """SHA-256 of what makes a run the same run: its rows and settings, as JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def run_folder(place: Path, run: str, resume: bool | None) -> Path:
    """``place`` as the folder for a run's checkpoints; those that are there stay where they are gone on from.

    Args:
        place: The folder; it is made where it is not there.
        run: See :func:`run_hash`.
        resume: True goes on from the last checkpoint of the same run and refuses to start over; None goes on where
            there is one; False starts over.

    Raises:
        UsageError: there is nothing to resume.
    """
    same = (place / RUN).is_file() and json.loads((place / RUN).read_text(encoding="utf-8")).get("run") == run
    found = last_checkpoint(place) if same else None
    if resume and found is None:
        why = "its rows or settings were others" if place.is_dir() and not same else "no checkpoint of it is there"
        raise UsageError(f"nothing to resume in {str(place)!r}: {why}; leave --resume out to start over")
    if found is not None and resume is not False:
        log.info("going on from %s", found.name)
    else:
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / RUN, {"run": run})
    return place


def last_checkpoint(folder: Path) -> Path | None:
    """The latest complete checkpoint of a run, or None."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
