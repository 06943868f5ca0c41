"""Data sets: a module here with ``rows(split, source)``, or else a folder of JSON lines below the data source.

Nothing needs registering: the set's name in a task file is the module's or the folder's name.
"""

from __future__ import annotations

import gzip
import json
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ...errors import UsageError
from ...text import clean_text

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Example:
    """A cleaned text with its label, or with several (multi-label sets).

    Attributes:
        sarcastic: True where the data says so (a field ``sarcastic``).
    """

    text: str
    labels: tuple[str, ...]
    sarcastic: bool = False

    @property
    def label(self) -> str:
        """The only label of a single-label row."""
        return self.labels[0]


def read_examples(
    name: str, split: Split, source: Path | None, *, label_column: str = "label", rename: dict[str, str] | None = None
) -> list[Example]:
    """Rows of a set's split, cleaned as in serving.

    Args:
        name: A module of this package, or a folder below ``source``.
        source: Folder with the sets.
        label_column: Field with the label, or with the list of labels.
        rename: Label in the data to label of the task; others stay.

    Raises:
        UsageError: no such set or split, or a row without text or label; the message names the line.
    """
    modules = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    if name in modules:
        rows: Iterable[dict[str, Any]] = import_module(f".{name}", __package__).rows(split, source)
    else:
        rows = json_lines(_split_file(name, split, source))
    renamed = rename or {}
    examples = []
    for number, row in enumerate(rows, start=1):
        if "text" not in row or label_column not in row:
            raise UsageError(f"{name}/{split}, row {number}: needs 'text' and {label_column!r}, has {sorted(row)}")
        value = row[label_column]
        labels = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else str(value)]
        examples.append(
            Example(
                clean_text(row["text"]),
                tuple(renamed.get(label, label) for label in labels),
                sarcastic=row.get("sarcastic") is True,
            )
        )
    return examples


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file, gzip or plain.

    Raises:
        UsageError: a line is not a JSON object; the message names file and line.
    """
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UsageError(f"{path}, line {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise UsageError(f"{path}, line {number}: not a JSON object: {line[:60]!r}")
            yield row


def _split_file(name: str, split: str, source: Path | None) -> Path:
    if source is None:
        raise UsageError(f"data set {name!r} needs a data source: give --source, a folder with {name}/{split}.jsonl.gz")
    for suffix in (".jsonl.gz", ".jsonl"):
        path = source / name / f"{split}{suffix}"
        if path.is_file():
            return path
    raise UsageError(f"no {split}.jsonl.gz or {split}.jsonl in {str(source / name)!r}")
