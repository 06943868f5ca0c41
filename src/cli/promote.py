"""``healdag models promote`` and ``rollback``: which version of a task is in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import console, data_stdout, plain

if TYPE_CHECKING:
    from ..artifacts import Change

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.")]
FolderOption = Annotated[
    Path | None,
    typer.Option("--models", metavar="DIR", help="Folder of models. Default: where the task is found, see 'models'."),
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it, for the history. Default: your login name.")]
WhyOption = Annotated[str, typer.Option("--why", help="Kept in the history.")]
NoLoadOption = Annotated[
    bool, typer.Option("--no-load", help="Check the files alone; do not load the model as a classifier would.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another promotion.")]
JsonOption = Annotated[bool, typer.Option("--json", help="A JSON object, for programs.")]


def promote(
    task: TaskArgument,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version to put into use.")],
    models: FolderOption = None,
    why: WhyOption = "",
    by: ByOption = None,
    allow_older: Annotated[
        bool, typer.Option("--allow-older", help="Also where it is not newer than the version in use.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where it answers with other labels.")] = False,
    no_load: NoLoadOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Put a version of a task into use.

    It must be whole, load, answer with the labels of the version in use, and be newer than it. Classifiers that run
    take it over with reload() or reload_if_changed().
    """
    from ..artifacts import promote as put_into_use
    from ..artifacts import root_of

    root = models if models is not None else root_of(task, version)
    options = {"allow_older": allow_older, "force": force, "dry_run": dry_run}
    trial = None if no_load else load
    change = put_into_use(root, task, version, by=by, why=why, trial=trial, timeout=wait, **options)
    _say(task, version, change, dry_run=dry_run, as_json=as_json)


def rollback(
    task: TaskArgument,
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="Another of the versions that were in use before.")
    ] = None,
    models: FolderOption = None,
    why: WhyOption = "",
    by: ByOption = None,
    no_load: NoLoadOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Put the version back into use that was before, by the history; again for the one before that."""
    from ..artifacts import rollback as put_back
    from ..artifacts import root_of

    root = models if models is not None else root_of(task)
    trial = None if no_load else load
    change = put_back(root, task, to=to, by=by, why=why, trial=trial, dry_run=dry_run, timeout=wait)
    _say(task, change.new, change, dry_run=dry_run, as_json=as_json)


def load(folder: Path) -> None:
    """Loads a model with its backups and, where the task uses one, the sarcasm detector."""
    from ..graph import create_classifier

    create_classifier(str(folder.absolute()), human_review=False)


def _say(task: str, version: str, change: Change | None, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        line = change.model_dump(by_alias=True) if change is not None else {"to": version}
        content = {"task": task, "changed": change is not None and not dry_run, "dry_run": dry_run, **line}
        data_stdout().write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    elif change is None:
        console().print(plain(f"{task} {version} is in use already"), soft_wrap=True)
    else:
        moves = f"{task}: {change.old or 'none'} -> {change.new}"
        console().print(plain(f"{'would change ' if dry_run else ''}{moves}"), soft_wrap=True)
