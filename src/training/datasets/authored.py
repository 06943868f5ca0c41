"""Our own texts (CC0-1.0) in ``data/authored/``: fields text, emotion (the one that is meant), sarcastic, kind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import UsageError
from . import json_lines

FOLDER = Path(__file__).parents[3] / "data" / "authored"


def rows(split: str, source: Path | None) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - every set's signature
    """Rows of a split: the text's hash sends 75 % to train, 15 % to validation, 10 % to test."""
    return rows_below(FOLDER, split)


def rows_below(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """Rows of a split from the JSON-lines files right in the folder.

    Raises:
        UsageError: there are none (the texts are part of the checkout, not of the wheel).
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise UsageError(f"no authored texts in {str(folder)!r}; they come with the checkout")
    for path in files:
        for row in json_lines(path):
            if _split_of(row["text"]) == split:
                yield row


def _split_of(text: str) -> str:
    share = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 100
    return "train" if share < 75 else "validation" if share < 90 else "test"
