"""``healdag classify``: texts from the command line, from a file or from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..errors import InputError, UsageError
from .options import (
    ConfigOption,
    DeviceOption,
    EngineOption,
    LabelsOption,
    LogOption,
    NoBackupOption,
    QueueOption,
    TaskOption,
    ThresholdOption,
    VersionOption,
    open_classifier,
)
from .rows import JSON_LINES, STDIN, Row, Source, from_texts, json_columns, open_source
from .terminal import report
from .writers import STDOUT, Answer, Format, Writer, make_writer, open_output, pick_format

if TYPE_CHECKING:
    from ..graph import Classifier

CHUNK = 256
SHOWN_ERRORS = 5


@dataclass
class Tally:
    """How many rows were read, how many wait, and which were bad (the first few, for the summary)."""

    rows: int = 0
    waiting: int = 0
    bad: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, answers: list[Answer]) -> None:
        """Counts a chunk."""
        self.rows += len(answers)
        self.waiting += sum(result is not None and result.source == "pending" for _, result in answers)
        for row, _ in answers:
            if row.error is not None:
                self.bad += 1
                if len(self.first) < SHOWN_ERRORS:
                    self.first.append(f"{row.place} ({row.error})")

    def summary(self) -> str:
        """One line about the bad rows."""
        more = f", and {self.bad - len(self.first)} more" if self.bad > len(self.first) else ""
        return f"{self.bad} of {self.rows} rows could not be classified: {', '.join(self.first)}{more}"


def classify(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to classify; '-' alone reads stdin.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", metavar="PATH", help="A .txt, .csv, .tsv or .jsonl file; '-' is stdin, one text per line."
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", help="Column or field with the text.  [default: text]", metavar="NAME")
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Default: by the suffix of --output, otherwise table.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write here; the file appears when it is whole."),
    ] = None,
    task: TaskOption = None,
    model_version: VersionOption = None,
    threshold: ThresholdOption = None,
    no_backup: NoBackupOption = False,
    config: ConfigOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    labels: LabelsOption = None,
    log: LogOption = None,
    queue: QueueOption = None,
) -> None:
    """Classify texts: final_label, confidence, source, and the reasons for a doubt.

    csv and jsonl keep the rows' own columns and append the answer. In a csv or jsonl file every line must hold a
    text: a bad row (an empty line among them) gets an 'error' with its line number, all others are answered, a
    summary goes to stderr, and the exit code is 1. In a .txt file and on stdin blank lines are passed over.

    With --queue doubtful rows wait there for a person, with source 'pending' and their decision_id as one more column
    of csv and jsonl; all others are answered at once. 'healdag review --log' has the answers by these ids.
    """
    picked = pick_format(form, output)
    if texts == [STDIN] and file is None:
        texts, file = None, STDIN
    with ExitStack() as stack:
        source = _source(stack, texts or [], file, column)
        columns = source.columns
        if file is not None and picked is Format.CSV and file.lower().endswith(tuple(JSON_LINES)):
            columns = json_columns(file)
        stream = stack.enter_context(open_output(output, picked))
        classifier = open_classifier(
            task, model_version, threshold, no_backup, config, device, labels, log, engine, queue
        )
        writer = make_writer(
            picked, stream, columns=columns, labels=classifier.labels, output=output, ids=queue is not None
        )
        quiet = file is None or (output in {None, STDOUT} and sys.stdout.isatty())
        tally = _run(classifier, source, writer, stack.enter_context(_progress(source, quiet=quiet)))
    if tally.waiting:
        named = "" if task is None else f" {task}"
        report(f"{tally.waiting} of {tally.rows} rows wait: healdag review{named} --queue {queue}", prefix="")
    if tally.bad:
        report(tally.summary())
        raise typer.Exit(1)


def _source(stack: ExitStack, texts: list[str], file: str | None, column: str | None) -> Source:
    if texts and file is not None:
        raise UsageError(f"give texts or --file, not both: got {len(texts)} texts and --file {file!r}")
    if file is not None:
        return stack.enter_context(open_source(file, column))
    if not texts:
        raise UsageError(
            "nothing to classify; give a text, --file PATH, or '-' for stdin; see 'healdag classify --help'"
        )
    if column is not None:
        raise UsageError(f"--column {column!r} goes with --file")
    return from_texts(texts)


def _run(classifier: Classifier, source: Source, writer: Writer, advance: Callable[[int], None]) -> Tally:
    tally = Tally()
    rows = iter(source.rows)
    # Chunks keep memory flat; an empty source still writes a table without rows.
    while (chunk := list(islice(rows, CHUNK))) or not tally.rows:
        answers = _answer(classifier, chunk)
        writer.write(answers)
        tally.add(answers)
        advance(len(chunk))
        if not chunk:
            break
    return tally


def _answer(classifier: Classifier, rows: list[Row]) -> list[Answer]:
    """Each row with its answer; a row that cannot be classified gets its error instead."""
    good = [row.text for row in rows if row.error is None]
    results = iter(classifier.classify_many(good, errors="return"))
    answers: list[Answer] = []
    for row in rows:
        result = None if row.error is not None else next(results)
        if isinstance(result, InputError):
            answers.append((replace(row, error=result.reason), None))
        else:
            answers.append((row, result))
    return answers


@contextmanager
def _progress(source: Source, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal; by bytes, since how many rows there are is not known beforehand."""
    stderr = Console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]:,} texts"), TimeRemainingColumn())
    # Redirected, what is written to stdout would come out on stderr.
    with Progress(
        *columns, console=stderr, disable=quiet or not stderr.is_terminal, transient=True, redirect_stdout=False
    ) as progress:
        job = progress.add_task("", total=source.size, rows=0)
        done = 0

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            progress.update(job, completed=source.position(), rows=done)

        yield advance
