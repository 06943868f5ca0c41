"""``healdag models``: what there is to classify with; ``healdag models prune`` makes room."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .terminal import console, data_stdout, plain, report


@dataclass(frozen=True)
class ModelEntry:
    """A task's current model.

    Attributes:
        accuracy: On the test split; None where it was not measured.
        macro_f1: On the test split; None where it was not measured.
        size: Bytes of the folder.
        error: Why it cannot be used, or None.
    """

    task: str
    version: str
    path: str
    kind: str | None = None
    labels: tuple[str, ...] = ()
    base: str | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    size: int = 0
    error: str | None = None


models = typer.Typer(name="models", invoke_without_command=True, rich_markup_mode=None)


@models.callback()
def list_models(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, for programs.")] = False,
) -> None:
    """List the models found: in HEALDAG_MODELS, then the shipped ones.

    A damaged model is listed with its error, and the exit code is 1.
    """
    if ctx.invoked_subcommand is not None:
        return
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


def read_entry(task: str, folder: Path) -> ModelEntry:
    """What a model's folder says about itself."""
    from ..artifacts import read_manifest
    from ..errors import ArtifactError

    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    try:
        manifest = read_manifest(folder)
        accuracy, macro_f1 = test_figures(folder)
    except ArtifactError as error:
        return ModelEntry(task, folder.name, str(folder), size=size, error=str(error))
    return ModelEntry(
        task=task,
        version=manifest.version,
        path=str(folder),
        kind=manifest.kind,
        labels=manifest.labels,
        base=manifest.base.name if manifest.base is not None else None,
        accuracy=accuracy,
        macro_f1=macro_f1,
        size=size,
    )


def test_figures(folder: Path) -> tuple[float | None, float | None]:
    """Accuracy and macro-F1 on the test split, 0 to 1; None where metrics.json has none.

    Raises:
        ArtifactError: metrics.json is broken.
    """
    from ..artifacts import read_json

    path = folder / "metrics.json"
    content = read_json(path) if path.is_file() else {}
    figures = content.get("test") if isinstance(content, dict) else None
    if not isinstance(figures, dict):
        return None, None
    return figures.get("accuracy"), figures.get("macro_f1")


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
