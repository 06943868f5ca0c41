"""Our own journal entries with twelve emotions (CC0-1.0) in ``data/authored/journal/``: fields text and emotion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .authored import FOLDER, rows_below


def rows(split: str, source: Path | None) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - every set's signature
    """Rows of a split, cut by the text's hash as in :mod:`.authored`."""
    return rows_below(FOLDER / "journal", split)
