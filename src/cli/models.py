"""``healdag models``: what there is to classify with, which version is in use; ``healdag models prune`` makes room."""

from __future__ import annotations

import json
import shutil
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
        typer.Option("--keep", min=1, help="Versions of each task to keep, the newest and the current one among them."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete checkpoints of interrupted trainings and half-written folders; with --keep old versions too.

    An interrupted training cannot be resumed afterwards.
    """
    from .train import default_models

    root = folder if folder is not None else default_models()
    doomed = leftovers(root) + (old_versions(root, keep) if keep is not None else [])
    for path in doomed:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        console().print(
            plain(f"{'would delete' if dry_run else 'deleted'} {path} ({size / 1e6:.1f} MB)"), soft_wrap=True
        )
        if not dry_run:
            shutil.rmtree(path)
    if not doomed:
        report(f"nothing to delete in {str(root)!r}", prefix="")


def leftovers(root: Path) -> list[Path]:
    """Folders that trainings below ``root`` left: their names begin with a dot, as no version's does."""
    return sorted(path for path in (*root.glob("*/.*"), *root.glob("*/*/backups/.*")) if path.is_dir())


def old_versions(root: Path, keep: int) -> list[Path]:
    """Folders of all but the newest ``keep`` versions of each task; the current one is never among them."""
    from ..training.versions import current_version, versions

    doomed = []
    for task in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []:
        current = current_version(task)
        others = [version for version in versions(task) if version != current]
        doomed += [task / version for version in others[: max(0, len(others) + (current is not None) - keep)]]
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
