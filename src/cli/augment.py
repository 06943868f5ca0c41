"""``healdag augment``: new training rows from those of a task or of a user's file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..config import load_settings
from ..errors import UsageError
from .options import ConfigOption
from .terminal import console, one_line, plain
from .train import (
    DataOption,
    LabelColumnOption,
    SeparatorOption,
    SourceOption,
    TextColumnOption,
    checked_source,
    training_messages,
)
from .writers import Format, open_output

if TYPE_CHECKING:
    from ..training import Task
    from ..training.augmentation.augment import Augmentation, AugmentedExample
    from ..training.datasets import Example


def augment(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="JSON lines to write, the new rows alone.")],
    task: Annotated[
        str | None,
        typer.Argument(help="Task name, or the path of a task's TOML file; with --data the name of your task."),
    ] = None,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    source: SourceOption = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="A,B",
            help="Of: synonyms, word_order, emoji, negation, punctuation. Default: those that fit the labels.",
        ),
    ] = None,
    target_per_label: Annotated[
        int | None, typer.Option("--target-per-label", metavar="N", help="Fill rare labels up to N rows.")
    ] = None,
    factor: Annotated[
        float | None, typer.Option("--factor", metavar="F", help="New rows per row.  [default: 1, without a target]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every draw.")] = 13,
    preview: Annotated[int, typer.Option("--preview", metavar="N", min=0, help="New rows to show.")] = 5,
    config: ConfigOption = None,
) -> None:
    """Make new training rows by rewriting those that are there. English only.

    Only the train split is read and rewritten; no text of validation or test comes out. Add the rows to training
    data whose splits are fixed: cut afterwards, variants of a text would stand on both sides. The table
    [augmentation] of a task file does the same inside 'healdag train'.
    """
    if data is not None and out.resolve() == data.resolve():
        raise UsageError(f"--out {str(out)!r} is the data itself; name another file")
    if target_per_label is not None and factor is not None:
        raise UsageError("--target-per-label and --factor are two plans; give one of them")
    with training_messages():
        from ..training.augmentation.augment import augment as run
        from ..training.augmentation.augment import held_out_texts
        from ..training.data import load_split

        loaded = _task(task, data, text_column, label_column, separator)
        place = checked_source(source or load_settings(config).dataset.source)
        rows = load_split(loaded, "train", place)
        made = run(
            rows,
            target_per_label=target_per_label,
            factor=1.0 if factor is None and target_per_label is None else factor,
            seed=seed,
            methods=None if methods is None else [name.strip() for name in methods.split(",") if name.strip()],
            held_out=held_out_texts(loaded, place),
        )
    with open_output(str(out), Format.JSONL) as stream:
        for row in made.rows:
            stream.write(json.dumps(_fields(row, rows, loaded.multi_label), ensure_ascii=False) + "\n")
    _show(made, rows, preview)
    console().print(plain(f"{out}: {len(made.rows):,} new rows from {len(rows):,}"), soft_wrap=True)


def _task(
    name: str | None, data: Path | None, text_column: str | None, label_column: str | None, separator: str | None
) -> Task:
    from ..training import load_task, task_from_file

    if data is not None:
        return task_from_file(data, text_column=text_column, label_column=label_column, separator=separator, name=name)
    if name is None:
        raise UsageError("name a task, or give your own data: --data FILE")
    if text_column or label_column or separator:
        raise UsageError("--text-column, --label-column and --separator describe your own data: give --data FILE")
    return load_task(name)


def _fields(row: AugmentedExample, rows: list[Example], multi_label: bool) -> dict[str, object]:
    """A row of the file; the hash tells which text it was made from, without repeating it."""
    labels: dict[str, object] = {"labels": list(row.labels)} if multi_label else {"label": row.label}
    source = hashlib.sha256(rows[row.source].text.encode()).hexdigest()
    sarcastic = {"sarcastic": True} if row.sarcastic else {}
    return {"text": row.text, **labels, **sarcastic, "method": row.method, "source_sha256": source}


def _show(made: Augmentation, rows: list[Example], preview: int) -> None:
    """New rows by label and method, and the first few."""
    counts = made.counts()
    there = Counter(label for row in rows for label in (row.labels or ("",)))
    table = Table(title="new rows")
    for heading in ("label", "there", *counts, "all"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    for label, count in there.most_common():
        new = [counts[method][label] for method in counts]
        table.add_row(plain(label or "(none)"), f"{count:,}", *(f"{n:,}" for n in new), f"{count + sum(new):,}")
    terminal = console()
    terminal.print(table)
    for row in made.rows[:preview]:
        terminal.print(plain(f"{row.method}, {'|'.join(row.labels)}: {one_line(row.text)}"), soft_wrap=True)
