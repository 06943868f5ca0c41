"""``healdag prepare``: from raw sources to a clean data set without duplicates, with its data card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import ConfigError, UsageError
from .terminal import console, plain
from .train import checked_source, training_messages

if TYPE_CHECKING:
    from ..training.data.prepare import PreparationReport
    from ..training.tasks import Task

log = logging.getLogger("healdag")


def prepare(
    task: Annotated[
        str | None,
        typer.Argument(help="Task name, or the path of a task's TOML file; with --data: the new task's name."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--source", metavar="DIR", help="Folder with the data sets; without it the Hub is asked."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", metavar="FILE", help="Your own .csv, .tsv, .json, .jsonl, .parquet or folder; repeatable."
        ),
    ] = None,
    text_column: Annotated[str | None, typer.Option("--text-column", metavar="NAME", help="Column with texts.")] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column", metavar="NAME", help="Column with labels, or several of 0 and 1: 'toxic,insult'."
        ),
    ] = None,
    separator: Annotated[
        str | None, typer.Option("--separator", metavar="SIGN", help="Between the labels of a field with several.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write.  [default: prepared/<task>]")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of every draw; the task's by default.")] = None,
) -> None:
    """Clean a task's data, drop duplicates, and write a 'datasets' folder with a data card.

    Needs the extra 'train': pip install 'healdag[train]'. Train on the result with: healdag train TASK --data DIR.
    """
    with training_messages():
        from ..training.data.prepare import prepare as run

        loaded = _task(task, data or [], text_column, label_column, separator)
        folder = out if out is not None else Path("prepared") / loaded.name
        report = run(loaded, checked_source(source), folder, seed=seed)
    _show(report)
    console().print(plain(str(folder)), soft_wrap=True)


def _task(
    name: str | None, data: list[Path], text_column: str | None, label_column: str | None, separator: str | None
) -> Task:
    """The task by its name, or made from the files: each is cut on its own."""
    from ..training import load_task
    from ..training.data.sources import task_from_file

    if not data:
        if name is None:
            raise UsageError("name a task, or give your own data: --data FILE")
        if text_column or label_column or separator:
            raise UsageError("--text-column, --label-column and --separator describe your own data: give --data FILE")
        return load_task(name)
    if name is not None and name.endswith(".toml"):
        raise ConfigError(f"{name!r} with --data: the task file names its data itself; give one of the two")
    made = [
        task_from_file(path, text_column=text_column, label_column=label_column, separator=separator, name=name)
        for path in data
    ]
    return made[0] if len(made) == 1 else _joined(made)


def _joined(tasks: list[Task]) -> Task:
    first = tasks[0]
    if any(task.multi_label != first.multi_label for task in tasks):
        raise UsageError("some files have one label a text, others several; prepare them apart")
    labels = tuple(dict.fromkeys(label for task in tasks for label in task.labels))
    splits = {
        split: tuple(reference for task in tasks for reference in getattr(task, split))
        for split in ("train", "validation", "test")
    }
    return first.model_copy(update={"labels": labels, **splits})


def _show(report: PreparationReport) -> None:
    """Kept and dropped rows as a table, and what is short."""
    splits = list(report.rows)
    table = Table(title=f"{report.task}: rows")
    table.add_column("")
    for split in splits:
        table.add_column(split, justify="right")
    table.add_row("read", *(f"{report.read[split]:,}" for split in splits))
    for reason in dict.fromkeys(reason for split in splits for reason, n in report.dropped[split].items() if n):
        table.add_row(plain(f"  {reason}"), *(_signed("-", report.dropped[split][reason]) for split in splits))
    filled = {split: report.rows[split] - report.read[split] + report.dropped[split].total() for split in splits}
    if any(filled.values()):
        table.add_row("  filled up", *(_signed("+", filled[split]) for split in splits))
    table.add_row("kept", *(f"{report.rows[split]:,}" for split in splits), style="bold", end_section=True)
    for label in dict.fromkeys(label for split in splits for label in report.kept[split]):
        table.add_row(plain(label or "(none)"), *(f"{report.kept[split].get(label, 0):,}" for split in splits))
    terminal = console()
    terminal.print(table)
    for split, labels in report.short.items():
        for label, count in labels.items():
            terminal.print(plain(f"{split}: {label} has {count:,}, fewer than asked for; no row is repeated"))


def _signed(sign: str, count: int) -> str:
    return f"{sign}{count:,}" if count else ""
