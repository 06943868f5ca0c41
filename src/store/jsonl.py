"""Decisions as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .row import Decision


class JsonLines:
    """A file to append to. It is opened for each batch, so that it can be moved away or lie in a process that forks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("ab"):
            pass

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows with one write, which the system keeps apart from those of other processes."""
        lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
        with self._path.open("a+b", buffering=0) as stream:
            # A writer was killed, or the disk was full, in the middle of a line.
            data = (b"\n" if _ends_within_a_line(stream) else b"") + lines.encode()
            while data:
                data = data[stream.write(data) :]


def _ends_within_a_line(stream: FileIO) -> bool:
    if stream.seek(0, os.SEEK_END) == 0:
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"


def read_json_lines(path: Path) -> Iterator[Decision | None]:
    """The decisions in order; None for a broken line. Blank lines are passed over."""
    with path.open("rb") as stream:
        for line in stream:
            if not line.isspace():
                try:
                    yield Decision.model_validate_json(line)
                except ValidationError:
                    yield None
