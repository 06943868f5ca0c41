"""``healdag feedback``: the corrections that people gave: list, export, import, revoke."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .terminal import console, data_stdout, plain, report

if TYPE_CHECKING:
    from ..store import FeedbackEvent, FeedbackStore

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--feedback",
        metavar="PLACE",
        help="The SQLite file or database URL. Default: feedback.path of the configuration.",
    ),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A config.yaml. Default: HEALDAG_CONFIG.")]
TaskOption = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Of this task only.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it. Default: your login name.")]

feedback = typer.Typer(name="feedback", no_args_is_help=True, rich_markup_mode=None)


@feedback.callback()
def _feedback() -> None:
    """Corrections that people gave: list, export, import, revoke. Nothing is ever deleted or changed."""


@feedback.command("list")
def list_events(
    place: StoreOption = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    every: Annotated[bool, typer.Option("--all", help="Revocations and revoked corrections too.")] = False,
    form: Annotated[Literal["table", "jsonl"], typer.Option("--format", help="For people or for programs.")] = "table",
) -> None:
    """Show the corrections that stand, the oldest of the newest first."""
    from collections import deque

    store = _open(place, config)
    revoked = set() if every else {event.revokes for event in store.events(task) if event.revokes}
    shown = (e for e in store.events(task) if every or (e.kind == "correction" and e.id not in revoked))
    newest = deque(shown, maxlen=limit)
    if form == "jsonl":
        for event in newest:
            data_stdout().write(event.model_dump_json() + "\n")
    elif newest:
        _print(list(newest))
    else:
        report(f"no corrections in {store.place!r}", prefix="")


@feedback.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines; an existing file is replaced.")],
    place: StoreOption = None,
    config: ConfigOption = None,
    task: TaskOption = None,
) -> None:
    """Write every event as a line of JSON."""
    count = _open(place, config).export(path, task)
    report(f"{count:,} events written to {str(path)!r}", prefix="")


@feedback.command("import")
def import_events(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What 'export' wrote.", exists=True, dir_okay=False)],
    place: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Take in the events of a file; those that are there already are passed over.

    Classifiers that run take them up within a second. Near twins are found at once where the file holds vectors of
    the model that is in use; else where it holds the texts, from the next reload() or start on.
    """
    count = _open(place, config, create=True).import_(path)
    report(f"{count:,} new events", prefix="")


@feedback.command()
def revoke(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Of the correction, see 'list'.")],
    place: StoreOption = None,
    config: ConfigOption = None,
    by: ByOption = None,
) -> None:
    """Take a correction back. Both stay in the store; classifiers that run take it up within a second."""
    event = _open(place, config).revoke(event_id, by if by is not None else _login())
    report(f"revoked {event.revokes} of the task {event.task!r}", prefix="")


def _open(place: str | None, config: Path | None, *, create: bool = False) -> FeedbackStore:
    """The store that is asked for; one that is not there is made only where something is to be put in."""
    from ..config import load_settings
    from ..errors import UsageError
    from ..store import FeedbackStore

    settings = load_settings(config).feedback
    chosen = place if place is not None else settings.path
    if chosen is None:
        raise UsageError(
            "no feedback store: give --feedback FILE, or set feedback.path in a config.yaml (--config, HEALDAG_CONFIG)"
        )
    if not create and "://" not in chosen and not Path(chosen).expanduser().is_file():
        raise UsageError(f"no feedback store at {chosen!r}; create_classifier(feedback={chosen!r}) makes one")
    return FeedbackStore.open(chosen, text=settings.text)


def _login() -> str | None:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def _print(events: list[FeedbackEvent]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True, min_width=max(len(event.id) for event in events))
    for name in ("when", "task", "was", "label", "by"):
        table.add_column(name, min_width=6, overflow="fold")
    table.add_column("text", overflow="fold")
    for event in events:
        label = f"revokes {event.revokes}" if event.revokes else _named(event.label)
        text = event.text if event.text is not None else "-"
        cells = (event.id, _when(event.time), event.task, _named(event.previous_label), label, event.by or "-", text)
        table.add_row(*map(plain, cells))
    console().print(table)


def _named(label: str | list[str] | None) -> str:
    if label is None:
        return "-"
    return label if isinstance(label, str) else "|".join(label) or "(none)"


def _when(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
