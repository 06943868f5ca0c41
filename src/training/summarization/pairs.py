"""Pairs of a text and its summary: read from a file, split without overlap."""

from __future__ import annotations

import csv
import hashlib
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...text import clean_text
from ..datasets import json_lines

MIN_PAIRS = 10
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

log = logging.getLogger("healdag")


@dataclass(frozen=True, slots=True)
class Pair:
    """A text, cleaned as in serving, and its summary."""

    document: str
    summary: str


def read_pairs(path: Path, *, document_column: str = "document", summary_column: str = "summary") -> list[Pair]:
    """Pairs of a file; rows without a document or a summary are left out, and counted in the log.

    Args:
        path: A file ending in .csv, .tsv, .jsonl or .jsonl.gz.
        document_column: Column or field with the text.
        summary_column: Column or field with its summary.

    Raises:
        UsageError: the file cannot be read, or a row lacks a column; the message names the line.
    """
    pairs, empty = [], 0
    for place, row in _rows(path):
        for column in (document_column, summary_column):
            if column not in row:
                raise UsageError(f"{path}, {place}: no column {column!r}; there are: {', '.join(map(str, row))}")
            if not isinstance(row[column], str | None):
                raise UsageError(f"{path}, {place}: {column!r} must be text, got {row[column]!r}")
        document, summary = (row[document_column] or "").strip(), (row[summary_column] or "").strip()
        if document and summary:
            pairs.append(Pair(clean_text(document), summary))
        else:
            empty += 1
    if empty:
        log.warning("%s: %d rows without a document or a summary are left out", path, empty)
    if not pairs:
        raise UsageError(f"{str(path)!r} holds no pair of a document and a summary")
    return pairs


def split_pairs(pairs: Sequence[Pair], *, share: float = 0.1, seed: int = 13) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs, drawn at random without any document in both.

    Raises:
        UsageError: there are fewer than 10 different documents.
    """
    distinct = list({pair.document: pair for pair in pairs}.values())
    if len(distinct) < MIN_PAIRS:
        raise UsageError(f"{len(distinct)} different documents are too few; give at least {MIN_PAIRS}")
    random.Random(seed).shuffle(distinct)
    held_out = max(1, round(share * len(distinct)))
    return distinct[held_out:], distinct[:held_out]


def pairs_hash(pairs: Sequence[Pair]) -> str:
    """SHA-256 of the pairs, whatever their order."""
    lines = sorted(f"{pair.document}\t{pair.summary}" for pair in pairs)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a file, each with its place for messages."""
    if not path.is_file():
        raise UsageError(f"no file {str(path)!r}; give a .csv, .tsv or .jsonl file with pairs of document and summary")
    suffix = path.suffix.lower()
    if suffix in _DELIMITERS:
        yield from _csv_rows(path, _DELIMITERS[suffix])
    elif path.name.lower().endswith((".jsonl", ".ndjson", ".jsonl.gz")):
        for number, row in enumerate(json_lines(path), start=1):
            yield f"row {number}", row
    else:
        raise UsageError(f"{str(path)!r}: unknown kind of file {suffix!r}; there are: .csv, .tsv, .jsonl, .jsonl.gz")


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)  # Python's own limit of 131,072 characters is shorter than some documents
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        try:
            for row in reader:
                # Cells beyond the last column stand under the key None.
                yield f"line {reader.line_num}", {key: value for key, value in row.items() if key is not None}
        except UnicodeDecodeError as error:
            raise UsageError(f"{str(path)!r} is not UTF-8: {error}") from None
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: {error}") from None
