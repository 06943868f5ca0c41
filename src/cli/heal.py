"""``healdag heal``: corrections become the next version, behind a gate; once, or whenever enough have gathered."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import Settings, load_settings
from ..errors import UsageError
from .evaluate import JsonOption, SourceOption, table
from .options import ConfigOption
from .promote import ByOption, FolderOption, TaskArgument
from .terminal import console, data_stdout, plain
from .train import checked_source, need_training_extra, training_messages

if TYPE_CHECKING:
    from ..healing import GuardReport, HealReport

FeedbackOption = Annotated[
    str | None,
    typer.Option(
        "--feedback",
        metavar="PLACE",
        help="Where the corrections are: a file or a URL. Default: that of the config.yaml.",
    ),
]


def heal(
    ctx: typer.Context,
    task: TaskArgument,
    feedback: FeedbackOption = None,
    models: FolderOption = None,
    source: SourceOption = None,
    golden: Annotated[
        Path | None,
        typer.Option(
            "--golden",
            metavar="FILE",
            help="Labelled texts to compare versions on. Default: half of the validation rows.",
        ),
    ] = None,
    text_column: Annotated[str | None, typer.Option("--text-column", help="Column of --golden with the text.")] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", help="Column of --golden with the label.")
    ] = None,
    separator: Annotated[
        str | None, typer.Option("--separator", help="Between labels, where one field of --golden holds several.")
    ] = None,
    new_golden: Annotated[bool, typer.Option("--new-golden", help="Take other golden rows than before.")] = False,
    at_least: Annotated[
        int | None, typer.Option("--at-least", min=1, help="New corrections to wait for. Default: 1; with --watch 50.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also where nothing is new since the last try.")] = False,
    margin: Annotated[
        float, typer.Option("--margin", min=0, max=1, help="Accuracy on the golden set that may be lost.")
    ] = 0.005,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            "--floor", metavar="LABEL=RECALL", help="Recall that a label must keep. Default: 0.05 below what it is."
        ),
    ] = None,
    trust: Annotated[
        list[str] | None, typer.Option("--trust", metavar="NAME", help="A reviewer who is never left out.")
    ] = None,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01, help="Passes over the rows.")] = 2.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be learned; train nothing.")] = False,
    watching: Annotated[bool, typer.Option("--watch", help="Go on, and heal when enough has gathered.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks of --watch.")] = 60.0,
    guarding: Annotated[
        bool,
        typer.Option(
            "--guard", help="Only roll back a healed version that corrections show to be worse; --watch does too."
        ),
    ] = False,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another heal.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 13,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn from corrections: screen them, train a candidate, and put it into use if it makes nothing worse.

    It is compared with the version in use on a golden set, on corrections that were held out, on the recall of each
    label, on calibration and on latency. What was found is in heal_report.json beside it. With --watch it runs until
    it is stopped. Needs the extras 'train' and 'heal'.
    """
    settings = load_settings(config)
    place = _feedback(feedback, settings)
    common: dict[str, Any] = {"feedback": place, "models": models, "by": by}
    if guarding and not watching:
        from ..healing import guard

        _say(guard(task, dry_run=dry_run, **common), as_json=as_json)
        return
    if not dry_run:
        need_training_extra()
    from ..healing import Limits, Recipe, Rules
    from ..healing import heal as run

    options: dict[str, Any] = {
        "source": checked_source(source or settings.dataset.source),
        "golden": golden,
        "text_column": text_column,
        "label_column": label_column,
        "separator": separator,
        "new_golden": new_golden,
        "wait": wait,
        "seed": seed,
        "command": shlex.join(ctx.obj),
        "rules": Rules(trusted=tuple(trust or ())),
        "recipe": Recipe(epochs=epochs),
        "limits": Limits(margin=margin, floors=_floors(floor or [])),
    }
    with training_messages():
        if watching:
            _watch(task, {**common, **options}, every, at_least or 50, as_json=as_json)
            return
        report = run(task, at_least=at_least or 1, again=again, dry_run=dry_run, **common, **options)
    _say(report, as_json=as_json)


def _watch(task: str, options: dict[str, Any], every: float, at_least: int, *, as_json: bool) -> None:
    from ..healing import watch
    from ..healing.watch import stopping

    def told(report: HealReport | GuardReport) -> None:
        _say(report, as_json=as_json, lines=True)

    with stopping() as stop:
        console().print(plain(f"watching {task}: {at_least} new corrections start a heal; Ctrl-C ends it"))
        tried = watch(task, every=every, at_least=at_least, stop=stop, told=told, **options)
    console().print(plain(f"stopped after {tried} heal{'s' * (tried != 1)}"))


def place_of_feedback(settings: Settings) -> str | None:
    """The feedback store that the configuration names, or None."""
    return settings.feedback.path


def _feedback(given: str | None, settings: Settings) -> str:
    place = given or place_of_feedback(settings)
    if place is None:
        raise UsageError(
            "there is no feedback store: give --feedback FILE, or name one in config.yaml (--config, HEALDAG_CONFIG)"
        )
    return place


def _floors(given: list[str]) -> dict[str, float] | None:
    floors = {}
    for item in given:
        label, _, value = item.rpartition("=")
        try:
            floors[label] = float(value)
        except ValueError:
            floors[label] = -1.0
        if not label or not 0 <= floors[label] <= 1:
            raise UsageError(f"--floor {item!r}: a label and its least recall, from 0 to 1, such as anger=0.6")
    return floors or None


def _say(report: HealReport | GuardReport, *, as_json: bool, lines: bool = False) -> None:
    if as_json:
        content = report.model_dump(mode="json")
        data_stdout().write(json.dumps(content, indent=None if lines else 2, ensure_ascii=False) + "\n")
        data_stdout().flush()
        return
    words = (report.words,) if isinstance(report.words, str) else (*report.words, *getattr(report, "notes", ()))
    console().print(plain(f"{report.task}: {report.outcome.replace('_', ' ')}"), soft_wrap=True)
    for line in words:
        console().print(plain(f"  {line}"), soft_wrap=True)
    reviewers = [one for one in getattr(report, "reviewers", ()) if not one.trusted]
    if reviewers:
        reasons = Counter(one.by for one in getattr(report, "dropped", ()) if one.reason == "reviewer")
        shown = table("left out", "reviewer", "corrections", "agreement", "others")
        for one in reviewers:
            others = "-" if one.others is None else f"{one.others:.2f}"
            shown.add_row(plain(str(one.by)), str(reasons[one.by]), f"{one.agreement:.2f}", others)
        console().print(shown)
