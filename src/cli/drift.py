"""``healdag drift``: whether the decisions of a log still look like those on held-out texts."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import __version__
from ..errors import UsageError
from .evaluate import table
from .terminal import console, data_stdout, plain, report
from .writers import Format, open_output

if TYPE_CHECKING:
    from ..artifacts import Profile
    from ..store import Decision
    from ..trust.drift import Drift


class Shown(StrEnum):
    """What is printed."""

    TABLE = "table"
    JSON = "json"


def drift(
    log: Annotated[
        Path, typer.Option("--log", metavar="FILE", help="A decision log: .jsonl, .db, .sqlite or .sqlite3.")
    ],
    model: Annotated[
        str, typer.Argument(metavar="TASK|FOLDER", help="A task, task@version, or the folder of a model.")
    ] = "emotion",
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", metavar="FILE", help="A decision log to compare with, in the place of the model's profile."
        ),
    ] = None,
    window: Annotated[int, typer.Option("--window", metavar="N", help="Decisions in one window, 50 at least.")] = 500,
    since: Annotated[datetime | None, typer.Option("--since", help="Only decisions from then on, in UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Only decisions before then, in UTC.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="A page with pictures too, an .html file.")
    ] = None,
    form: Annotated[Shown, typer.Option("--format", help="What is printed.")] = Shown.TABLE,
) -> None:
    """Compare the decisions of a log with those on the texts that the model was fitted on, window by window.

    Input: length of the texts, sarcasm, how unfamiliar and unreadable they are. Predictions: labels, confidence, who
    answered and why. A figure has drifted where the difference is significant and large. Nothing is changed: what
    could be done is said.
    """
    from ..store import read_decisions
    from ..trust.drift import find_drift

    if out is not None and Path(out).suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"--out {out!r}: the page is HTML; give a name that ends in .html")
    if out is not None:
        from ..report.svg import check_matplotlib

        check_matplotlib()
    task, version, profile = _reference(model, reference)
    decisions = read_decisions(log, since=since, until=until)
    versions: dict[str, int] = {}
    mine = (one for one in decisions if _counted(one, versions) and _is_of(one, task, version))
    try:
        found = find_drift(mine, profile, window)
    except UsageError as error:
        others = ", ".join(f"{name} ({n:,})" for name, n in versions.items()) or "nobody"
        raise UsageError(
            f"{error}; {str(log)!r} has decisions of {others}, and those of {version or task} count. Another version "
            f"is compared by {task}@VERSION"
        ) from None
    if form is Shown.JSON:
        data_stdout().write(json.dumps(_as_json(found, task, decisions.skipped), indent=2, ensure_ascii=False) + "\n")
    else:
        _print(found, task)
    if decisions.skipped:
        report(f"broken lines passed over: {decisions.skipped:,}", prefix="")
    if out is not None:
        _write(out, found, task, log.name)
        report(f"written: {out}", prefix="")


def _reference(model: str, log: Path | None) -> tuple[str, str | None, Profile]:
    """The task, the version whose decisions count (None: all of the task), and what they are compared with."""
    from ..artifacts import read_profile
    from ..store import read_decisions
    from ..training.evaluation import candidates
    from ..trust.profile import profile_of

    if log is not None:
        task, _, number = model.partition("@")
        version = f"{task}/{number}" if number else None
        rows = (one for one in read_decisions(log) if _is_of(one, task, version))
        return task, version, profile_of(rows, version or task, f"decisions in {log.name}")
    found = candidates.find(model)
    profile = read_profile(found.folder)
    task, number = found.manifest.task, found.manifest.version
    if profile is None:
        raise UsageError(
            f"{task} {number} has no profile of its held-out rows to compare with. Make one, with labelled texts: "
            f"healdag calibrate {task} --data FILE; or give --reference FILE, a log of decisions that were as they "
            "should be"
        )
    return task, f"{task}/{number}", profile


def _counted(one: Decision, versions: dict[str, int]) -> bool:
    versions[one.model_version] = versions.get(one.model_version, 0) + 1
    return True


def _is_of(one: Decision, task: str, version: str | None) -> bool:
    if version is not None:
        return one.model_version == version
    return one.model_version == task or one.model_version.startswith(f"{task}/")


def _as_json(found: Drift, task: str, skipped: int) -> dict[str, Any]:
    windows = [
        {
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "n": window.counts.n,
            "drifted": [figure.name for figure in window.drifted],
            "figures": {
                figure.name: {**asdict(figure), "strength": figure.strength, "drifted": figure.drifted}
                for figure in window.figures
            },
        }
        for window in found.windows
    ]
    return {
        "task": task,
        "alarm": found.alarm,
        "since": None if found.since is None else found.since.isoformat(),
        "words": found.in_words(task),
        "reference": {key: getattr(found.reference, key) for key in ("model_version", "rows", "n")},
        "left_out": dict(found.left_out),
        "skipped": skipped,
        "windows": windows,
    }


def _print(found: Drift, task: str) -> None:
    from ..report.drift import COLUMNS, figure_rows

    latest = found.windows[-1]
    made = table(f"the latest window: {latest.counts.n:,} decisions from {latest.start:%Y-%m-%d %H:%M} UTC", *COLUMNS)
    for row in figure_rows(latest.figures):
        made.add_row(*map(plain, row))
    out = console()
    out.print(made)
    for line in found.in_words(task):
        out.print(plain(line), soft_wrap=True)


def _write(out: str, found: Drift, task: str, name: str) -> None:
    from ..report.drift import drift_sections
    from ..report.page import render

    about = [f"healdag {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", f"Decision log: {name}"]
    with open_output(out, Format.JSONL) as stream:
        stream.write(render(f"Drift of {task}", about, drift_sections(found, task)))
