"""``healdag stats``: what a decision log says in numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .evaluate import JsonOption, figure, table
from .terminal import console, data_stdout, plain, report

if TYPE_CHECKING:
    from ..store import Count, Period, Statistics

SHOWN_PERIODS = 30
TIME = "%Y-%m-%d %H:%M:%S"


class By(StrEnum):
    """Length of a period."""

    DAY = "day"
    HOUR = "hour"


def stats(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A decision log: .jsonl, .db, .sqlite or .sqlite3.")],
    by: Annotated[By, typer.Option("--by", help="Length of the periods.")] = By.DAY,
    since: Annotated[datetime | None, typer.Option("--since", help="Only decisions from then on, in UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Only decisions before then, in UTC.")] = None,
    model_version: Annotated[
        str | None,
        typer.Option("--model-version", metavar="NAME", help="Only decisions of this model, such as emotion/1.0.0."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count the decisions of a log: labels, sources, reasons, backups, models, confidence, and their course.

    The log is written with 'healdag classify --log FILE' or create_classifier(log=...). Broken lines, as a killed
    process leaves them, are passed over; how many is said on stderr, and under 'skipped' in the JSON.
    """
    from ..store import read_decisions, summarize

    decisions = read_decisions(file, since=since, until=until, model_version=model_version)
    found = summarize(decisions, by=by.value)
    if as_json:
        content = {"log": str(file), "skipped": decisions.skipped, **asdict(found)}
        text = json.dumps(content, indent=2, ensure_ascii=False, default=datetime.isoformat)
        data_stdout().write(text + "\n")
    elif found.n:
        _print(found, by.value)
    else:
        report(f"no decisions in {str(file)!r}", prefix="")
    if decisions.skipped:
        report(f"broken lines passed over: {decisions.skipped:,}", prefix="")


def _print(found: Statistics, by: str) -> None:
    out = console()
    sure = figure(found.confidence.mean if found.confidence is not None else None)
    span = f"{found.first:{TIME}} to {found.last:{TIME}} UTC"
    out.print(plain(f"decisions: {found.n:,}, {span}, mean confidence: {sure}"), soft_wrap=True)
    asked, accepted = ("{} ({})".format(*_count(c)) for c in (found.backup_asked, found.backup_accepted))
    out.print(plain(f"a backup was asked: {asked}, its answer was taken: {accepted}"), soft_wrap=True)
    quantiles = ("mean", "5 %", "25 %", "median", "75 %", "95 %")
    labels = table("confidence by label", "label", "decisions", "share", *quantiles)
    for label, figures in found.labels.items():
        spread = figures.confidence
        shown = [None] * len(quantiles) if spread is None else [spread.mean, *spread.quantiles.values()]
        labels.add_row(plain(label), *_count(figures), *map(figure, shown))
    _show(out, labels)
    for title, counts in (("source", found.sources), ("reason", found.reasons), ("model", found.model_versions)):
        _show_counts(out, title, counts)
    if found.backups:
        backups = table("backups", "backup", "asked", "failed", "taken", "ms per text")
        for name, backup in found.backups.items():
            numbers = (f"{n:,}" for n in (backup.asked, backup.failed, backup.accepted))
            backups.add_row(plain(name), *numbers, figure(backup.ms, 2))
        _show(out, backups)
    _show_periods(out, by, found.periods)


def _show_counts(out: Console, title: str, counts: Mapping[str, Count]) -> None:
    if counts:
        made = table(f"by {title}", title, "decisions", "share")
        for name, count in counts.items():
            made.add_row(plain(name), *_count(count))
        _show(out, made)


def _show_periods(out: Console, by: str, periods: list[Period]) -> None:
    cut = f", the latest {SHOWN_PERIODS} of {len(periods):,}" if len(periods) > SHOWN_PERIODS else ""
    columns = ("decisions", "doubted", "backup", "unanswered", "confidence", "commonest label")
    made = table(f"by {by}, in UTC{cut}", by, *columns)
    for period in periods[-SHOWN_PERIODS:]:
        numbers = (f"{n:,}" for n in (period.n, period.doubted, period.backup, period.unanswered))
        made.add_row(period.start, *numbers, figure(period.confidence), plain(next(iter(period.labels))))
    _show(out, made)


def _show(out: Console, made: object) -> None:
    out.print()
    out.print(made)


def _count(count: Count) -> tuple[str, str]:
    return f"{count.n:,}", f"{count.share:.1%}"
