"""Answers out: a table, csv or JSON lines, on stdout or into a file that appears only when it is whole."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.table import Table

from ..errors import UsageError
from .rows import DELIMITERS, JSON_LINES, Row
from .terminal import console, data_stdout, plain

if TYPE_CHECKING:
    from ..schema import Classification

Answer = tuple[Row, "Classification | None"]
"""A row with its answer; None where the row has an error."""

ANSWER_COLUMNS = ("final_label", "confidence", "source", "reasons", "error")
ID = "decision_id"
STDOUT = "-"


class Format(StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


class Writer(Protocol):
    """Writes answers, a chunk at a time."""

    def write(self, answers: Iterable[Answer]) -> None:
        """Writes the next rows, in order."""
        ...


def pick_format(asked: Format | None, output: str | None) -> Format:
    """What was asked for, or what the output's suffix says, or a table."""
    suffix = Path(output).suffix.lower() if output is not None else ""
    if asked is not None:
        return asked
    return Format.CSV if suffix in DELIMITERS else Format.JSONL if suffix in JSON_LINES else Format.TABLE


def make_writer(
    form: Format,
    stream: TextIO,
    *,
    columns: Sequence[str],
    labels: Sequence[str],
    output: str | None = None,
    ids: bool = False,
) -> Writer:
    """The writer of a format.

    Args:
        columns: The rows' own columns, for csv.
        labels: The labels that can come, for the table's widths.
        output: Where it goes: tsv for a name that ends in .tsv.
        ids: Whether csv and jsonl have the decision_id as well.
    """
    answer = (*ANSWER_COLUMNS, ID) if ids else ANSWER_COLUMNS
    if form is Format.JSONL:
        return JsonlWriter(stream, answer)
    if form is Format.CSV:
        return CsvWriter(stream, columns, DELIMITERS.get(Path(output or "").suffix.lower(), ","), answer)
    return TableWriter(stream, labels)


class JsonlWriter:
    """One object per row: its own fields, then the answer; a bad row has ``error`` besides."""

    def __init__(self, stream: TextIO, answer_columns: Sequence[str] = ANSWER_COLUMNS) -> None:
        self._stream = stream
        self._answer = answer_columns

    def write(self, answers: Iterable[Answer]) -> None:
        """See :class:`Writer`."""
        for row, result in answers:
            own = {key: value for key, value in row.fields.items() if key not in self._answer}
            found = _answer(row, result)
            answer = {name: found[name] for name in self._answer}
            if row.error is None:
                del answer["error"]
            self._stream.write(json.dumps({**own, **answer}, ensure_ascii=False) + "\n")


class CsvWriter:
    """The rows' own columns, then final_label, confidence, source, reasons and error; lists are joined with ``|``."""

    def __init__(
        self, stream: TextIO, columns: Sequence[str], delimiter: str, answer_columns: Sequence[str] = ANSWER_COLUMNS
    ) -> None:
        self._answer = answer_columns
        self._own = [name for name in columns if name not in answer_columns]
        self._writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        self._writer.writerow([*self._own, *answer_columns])

    def write(self, answers: Iterable[Answer]) -> None:
        """See :class:`Writer`."""
        for row, result in answers:
            answer = _answer(row, result)
            for key in ("final_label", "reasons"):
                answer[key] = "|".join(answer[key]) if isinstance(answer[key], list) else answer[key]
            own = [_cell(row.fields.get(name)) for name in self._own]
            self._writer.writerow([*own, *(answer[name] for name in self._answer)])


class TableWriter:
    """For people. Widths are fixed beforehand, so that rows can be printed as they come."""

    def __init__(self, stream: TextIO, labels: Sequence[str]) -> None:
        self._console = console(stream)
        self._label_width = max(len("final_label"), *map(len, labels))
        self._header = True

    def write(self, answers: Iterable[Answer]) -> None:
        """See :class:`Writer`."""
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), show_header=self._header)
        self._header = False
        table.add_column("text", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("final_label", width=self._label_width)
        table.add_column("confidence", width=len("confidence"), justify="right")
        table.add_column("source", width=len("abstain"))
        table.add_column("reason", width=len("low_confidence"))
        for row, result in answers:
            if result is None:
                table.add_row(plain(f"{row.place}: {row.error}", "red"), "-", "-", "error", "")
                continue
            sure = "-" if result.confidence is None else f"{result.confidence:.3f}"
            label = plain(show_label(result.final_label), "bold")
            table.add_row(plain(result.text), label, sure, result.source, " ".join(result.reasons))
        self._console.print(table)


def show_label(label: str | list[str] | None) -> str:
    """An answer for people to read: '-' where there is none, '(none)' where no label of a multi-label task applies."""
    if isinstance(label, list):
        return ", ".join(label) or "(none)"
    return label or "-"


@contextmanager
def open_output(output: str | None, form: Format) -> Iterator[TextIO]:
    """Stdout, or a file that is written beside its place and takes it when the block ends without an error.

    Raises:
        UsageError: it cannot be written there.
    """
    if output is None or output == STDOUT:
        yield console().file if form is Format.TABLE else data_stdout()  # type: ignore[misc]
        return
    place = Path(output).resolve()  # a link stays a link: what it points at is replaced
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    # A device such as /dev/null is written to; to put a file in its place would break the system.
    special = place.exists() and not place.is_file()
    try:
        stream = (place if special else beside).open("w", encoding="utf-8", errors="replace", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {output!r}: {error.strerror}") from None
    try:
        with stream:
            yield stream
        if not special:
            beside.replace(place)
    finally:
        if not special:
            beside.unlink(missing_ok=True)


def _answer(row: Row, result: Classification | None) -> dict[str, Any]:
    error = None if row.error is None else f"{row.place}: {row.error}"
    if result is None:
        return dict(zip((*ANSWER_COLUMNS, ID), (None, None, None, [], error, None), strict=True))
    sure = None if result.confidence is None else round(result.confidence, 6)
    values = (result.final_label, sure, result.source, list(result.reasons), error, result.decision_id)
    return dict(zip((*ANSWER_COLUMNS, ID), values, strict=True))


def _cell(value: Any) -> Any:
    """A value of a JSON field as a csv cell; text stays as it is."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
