"""``healdag models``: what there is to classify with, which version is in use; ``healdag models prune`` makes room."""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .model_entries import ModelEntry, read_entry
from .promote import promote, rollback
from .show import show
from .terminal import console, data_stdout, plain, report

JsonOption = Annotated[bool, typer.Option("--json", help="A JSON list, for programs.")]


models = typer.Typer(name="models", invoke_without_command=True, rich_markup_mode=None)
models.command()(show)
models.command()(promote)
models.command()(rollback)


@models.callback()
def _models(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List the models found: in HEALDAG_MODELS, then the shipped ones; or show one, or change which is in use.

    A damaged model is listed with its error, and the exit code is 1.
    """
    if ctx.invoked_subcommand is None:
        list_models(as_json=as_json)


@models.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the models found: in HEALDAG_MODELS, then the shipped ones.

    A damaged model is listed with its error, and the exit code is 1.
    """
    from ..artifacts import available_tasks

    entries = [read_entry(task, folder) for task, folder in available_tasks().items()]
    if as_json:
        data_stdout().write(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False) + "\n")
    elif entries:
        console().print(_table(entries))
    else:
        report("no models found; train one, or point HEALDAG_MODELS at a folder with models", prefix="")
    broken = [entry for entry in entries if entry.error is not None]
    for entry in broken:
        report(f"{entry.task} {entry.version}: {entry.error}")
    if broken:
        raise typer.Exit(1)


@models.command()
def prune(
    folder: Annotated[
        Path | None,
        typer.Option("--models", metavar="DIR", help="Folder of models. Default: where 'healdag train' writes."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, help="Versions of each task to keep; the one in use, and the one before it, always are."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete what interrupted trainings and heals left; with --keep old versions too.

    An interrupted training cannot be resumed afterwards.
    """
    from ..artifacts.pointer import locked
    from .train import default_models

    root = folder if folder is not None else default_models()
    unfinished = staged(root)
    # No version comes into use while it is deleted.
    with locked(root, "deletes old versions") if keep is not None and root.is_dir() and not dry_run else nullcontext():
        doomed = leftovers(root) + (old_versions(root, keep) if keep is not None else [])
        for path in doomed:
            _delete(path, dry_run=dry_run)
    for path in unfinished:
        with _not_healing(root / path.name, dry_run=dry_run):
            _delete(path, dry_run=dry_run)
        with suppress(OSError):  # others are in it
            path.parent.rmdir()
    if not doomed and not unfinished:
        report(f"nothing to delete in {str(root)!r}", prefix="")


def _delete(path: Path, *, dry_run: bool) -> None:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    console().print(plain(f"{'would delete' if dry_run else 'deleted'} {path} ({size / 1e6:.1f} MB)"), soft_wrap=True)
    if not dry_run:
        shutil.rmtree(path)


def _not_healing(place: Path, *, dry_run: bool) -> AbstractContextManager[None]:
    """While nobody heals the task in ``models/<task>``."""
    from ..healing.state import healing

    return nullcontext() if dry_run or not place.is_dir() else healing(place)


def staged(root: Path) -> list[Path]:
    """Folders, one for each task, with the candidates that heals in ``root`` have begun."""
    from ..healing.state import STAGING

    return sorted(path for path in (root / STAGING).glob("*") if path.is_dir())


def leftovers(root: Path) -> list[Path]:
    """Folders that trainings below ``root`` left: their names begin with a dot, as no version's does."""
    return sorted(path for path in (*root.glob("*/.*"), *root.glob("*/*/backups/.*")) if path.is_dir())


def old_versions(root: Path, keep: int) -> list[Path]:
    """Folders of all but the newest ``keep`` versions of each task.

    The one in use is never among them, nor the one that a rollback goes to, by the history.
    """
    from ..artifacts import rollback_target
    from ..training.versions import current_version, versions

    doomed = []
    for task in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []:
        kept = {current_version(task), rollback_target(task)} - {None}
        others = [version for version in versions(task) if version not in kept]
        doomed += [task / version for version in others[: max(0, len(others) + len(kept) - keep)]]
    return doomed


def _table(entries: list[ModelEntry]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("task", "version", "kind"):
        table.add_column(name, no_wrap=True)
    table.add_column("labels", ratio=1)
    table.add_column("base")
    for name in ("accuracy", "macro-F1", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        labels = ", ".join(entry.labels) if entry.error is None else "damaged"
        words = (entry.task, entry.version, entry.kind or "-", labels, entry.base or "-")
        figures = ("-" if value is None else f"{value:.3f}" for value in (entry.accuracy, entry.macro_f1))
        table.add_row(*map(plain, words), *figures, f"{entry.size / 1e6:.1f} MB")
    return table
