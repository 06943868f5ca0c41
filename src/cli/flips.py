"""``healdag flips``: which answers of the past another version would give otherwise."""

from __future__ import annotations

import csv
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ..config import load_settings
from ..errors import UsageError
from .evaluate import table
from .heal import FeedbackOption, place_of_feedback
from .options import ConfigOption
from .promote import FolderOption, TaskArgument
from .terminal import console, data_stdout, plain, report
from .train import DataOption, LabelColumnOption, SeparatorOption, TextColumnOption

if TYPE_CHECKING:
    from ..healing import Flips
    from ..training.datasets import Example

SHOWN = 40


class Form(StrEnum):
    """How changes are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    HTML = "html"


def flips(
    task: TaskArgument,
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="The version that would answer.")],
    old: Annotated[
        str | None, typer.Option("--from", metavar="VERSION", help="The one that did. Default: the version in use.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="A decision log that keeps texts (log: {text: store}).")
    ] = None,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    feedback: FeedbackOption = None,
    models: FolderOption = None,
    form: Annotated[Form, typer.Option("--format", help="table, jsonl, csv or html.")] = Form.TABLE,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write there; the suffix says the form.")
    ] = None,
    texts: Annotated[bool, typer.Option("--texts/--no-texts", help="Whether an HTML page shows the texts.")] = True,
    config: ConfigOption = None,
) -> None:
    """Show which answers change between two versions, and which of the changes are known to be right or wrong.

    Texts come from a decision log, from labelled data, or from both; labels and corrections say what is right.
    """
    from ..artifacts import current_version, root_of
    from ..healing import find_flips
    from ..healing.heal import opened
    from ..store import read_decisions

    if log is None and data is None:
        raise UsageError("give texts to compare on: a decision log (--log FILE) or labelled texts (--data FILE)")
    root = models if models is not None else root_of(task)
    old = old or current_version(root / task)
    if old is None:
        raise UsageError(f"no version of {task!r} is in use in {str(root)!r}; name one with --from")
    place = feedback or place_of_feedback(load_settings(config))
    corrections = []
    if place is not None:
        store, _ = opened(place)
        corrections = store.standing(task)
        store.close()
    found = find_flips(
        task,
        old,
        to,
        decisions=() if log is None else read_decisions(log),
        rows=() if data is None else _rows(root / task / old, data, text_column, label_column, separator),
        corrections=corrections,
        models=root,
    )
    _write(found, _form(form, out), out, texts=texts)


def _rows(
    folder: Path, data: Path, text_column: str | None, label_column: str | None, separator: str | None
) -> list[Example]:
    from ..artifacts import read_manifest
    from ..training.evaluation.candidates import Artifact
    from ..training.evaluation.labelled import labelled_rows

    found = Artifact(str(folder), folder, read_manifest(folder))
    rows, _ = labelled_rows(
        found, data=data, text_column=text_column, label_column=label_column, separator=separator, split="all"
    )
    return rows


def _form(form: Form, out: Path | None) -> Form:
    if out is None or form is not Form.TABLE:
        return form
    suffix = out.suffix.lower().lstrip(".").replace("htm", "html").replace("htmll", "html")
    if suffix not in (Form.JSONL, Form.CSV, Form.HTML):
        raise UsageError(f"--out {str(out)!r} must end in .jsonl, .csv or .html; or give --format")
    return Form(suffix)


def _write(found: Flips, form: Form, out: Path | None, *, texts: bool) -> None:
    if form is Form.TABLE:
        _print(found)
        return
    stream = data_stdout() if out is None else out.open("w", encoding="utf-8", newline="")
    try:
        if form is Form.HTML:
            from ..healing.flips import page

            stream.write(page(found, texts=texts))
        elif form is Form.JSONL:
            stream.writelines(json.dumps(flip.row(), ensure_ascii=False) + "\n" for flip in found.flips)
        else:
            _write_csv(found, stream)
    finally:
        if out is not None:
            stream.close()
    report(found.words(), prefix="")
    if out is not None:
        report(f"written: {out}", prefix="")


def _write_csv(found: Flips, stream: TextIO) -> None:
    columns = ("text", "old", "old_confidence", "new", "new_confidence", "truth", "effect", "times", "last")
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for flip in found.flips:
        row = flip.row()
        writer.writerow({name: "|".join(value) if isinstance(value, list) else value for name, value in row.items()})


def _print(found: Flips) -> None:
    from ..healing.flips import cut

    def shown(label: str | list[str] | None) -> str:
        return "none" if label is None else label if isinstance(label, str) else "|".join(label) or "[]"

    def sure(confidence: float | None) -> str:
        return "-" if confidence is None else f"{confidence:.2f}"

    console().print(plain(found.words()), soft_wrap=True)
    if found.by_people:
        console().print(plain(f"{found.by_people:,} decisions of people or from memory, which no version changes"))
    if found.without_text:
        console().print(plain(f"{found.without_text:,} decisions left out: the log does not hold their texts"))
    if not found.flips:
        return
    rows = table(
        f"{min(SHOWN, len(found.flips))} of {len(found.flips)}", "text", "effect", "old", "new", "right", "times"
    )
    for flip in found.flips[:SHOWN]:
        rows.add_row(
            plain(cut(flip.text)),
            flip.effect,
            plain(f"{shown(flip.old)} {sure(flip.old_confidence)}"),
            plain(f"{shown(flip.new)} {sure(flip.new_confidence)}"),
            plain(shown(flip.truth) if flip.known else "-"),
            str(flip.times),
        )
    console().print(rows)
