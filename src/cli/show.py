"""``healdag models show``: everything that is known of a task's model, or of one version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from .model_entries import read_entry
from .terminal import console, data_stdout, plain, report

if TYPE_CHECKING:
    from ..artifacts import Manifest

FIGURES = ("n", "accuracy", "macro_f1", "weighted_f1", "roc_auc", "ece", "brier", "log_loss")
MADE_BY = ("command", "rows", "auxiliary_rows", "seed", "seconds", "machine", "packages")


def show(
    model: Annotated[str, typer.Argument(metavar="TASK[@VERSION]", help="A task, or one of its versions.")],
    models: Annotated[
        Path | None,
        typer.Option("--models", metavar="DIR", help="Folder of models. Default: where the task is found."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, for programs.")] = False,
) -> None:
    """Show a model: labels, figures, certificate, what made it, the task's versions, and how they came into use.

    A damaged model is shown with its error, and the exit code is 1.
    """
    task, _, version = model.partition("@")
    folder = _folder(task, version or None, models)
    content = describe(task, folder)
    if as_json:
        data_stdout().write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(content)
    if content["error"] is not None:
        report(f"{task} {folder.name}: {content['error']}")
        raise typer.Exit(1)


def describe(task: str, folder: Path) -> dict[str, Any]:
    """What is known of the version in ``folder``, ready for JSON; ``error`` says why it cannot be used, or None."""
    from ..artifacts import check_whole, current_version, read_history
    from ..errors import ArtifactError

    current = current_version(folder.parent)
    content: dict[str, Any] = {"task": task, "version": folder.name, "in_use": folder.name == current}
    entry = read_entry(task, folder)
    content |= {"path": str(folder), "size": entry.size, "error": entry.error}
    try:
        manifest = check_whole(folder)
        content |= {"kind": manifest.kind, "labels": list(manifest.labels), "multi_label": manifest.multi_label}
        content |= {"base": entry.base, "backups": sorted(path.parent.name for path in _backups(folder))}
        content |= {
            "figures": _some(_json(folder / "metrics.json").get("test"), FIGURES),
            "certificate": _certificate(folder, manifest),
            "made_by": _some(_json(folder / "training_info.json"), MADE_BY),
        }
    except ArtifactError as error:
        content["error"] = str(error)
    content["versions"] = _versions(task, folder.parent, current)
    content["history"] = [change.model_dump(by_alias=True) for change in read_history(folder.parent)]
    return content


def _folder(task: str, version: str | None, models: Path | None) -> Path:
    """The version's folder; of a task, that of the version in use."""
    from ..artifacts import MANIFEST, current_version, find_artifact
    from ..errors import UsageError

    if models is None:
        return find_artifact(task, version)
    folder = models / task / (version or current_version(models / task) or "none")
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"no model in {str(folder)!r}; see 'healdag models'")
    return folder


def _versions(task: str, place: Path, current: str | None) -> list[dict[str, Any]]:
    """All versions beside each other, oldest first."""
    from ..artifacts import MANIFEST, version_key

    folders = [path.parent for path in place.glob(f"[!.]*/{MANIFEST}")]
    rows = []
    for folder in sorted(folders, key=lambda folder: (version_key(folder.name) or (-1, -1, -1), folder.name)):
        entry = read_entry(task, folder)
        row = {"version": folder.name, "in_use": folder.name == current, "size": entry.size}
        rows.append({**row, "accuracy": entry.accuracy, "macro_f1": entry.macro_f1, "error": entry.error})
    return rows


def _certificate(folder: Path, manifest: Manifest) -> dict[str, Any] | None:
    """What the certificate promises, and why it does not hold any more (``lapsed``), or None."""
    from ..artifacts import covered_files, find_artifact, read_certificate, verify_certificate
    from ..errors import ArtifactError, UsageError

    found = read_certificate(folder)
    if found is None:
        return None
    lapsed = None
    try:
        detector = find_artifact("sarcasm") if manifest.sarcasm else None
        verify_certificate(found, covered_files(folder, detector), folder)
    except (ArtifactError, UsageError) as error:
        lapsed = str(error)
    budgets = [budget.model_dump(mode="json") for budget in found.budgets]
    return {"date": found.date, "n": found.n, "data": found.data, "budgets": budgets, "lapsed": lapsed}


def _backups(folder: Path) -> list[Path]:
    from ..artifacts import MANIFEST

    return list((folder / "backups").glob(f"*/{MANIFEST}"))


def _json(path: Path) -> dict[str, Any]:
    from ..artifacts import read_json

    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _some(content: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: content[name] for name in names if name in content} if isinstance(content, dict) else {}


def _print(content: Mapping[str, Any]) -> None:
    lines = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in _lines(content).items():
        lines.add_row(name, plain(text))
    console().print(lines)
    if content["versions"]:
        console().print()
        console().print(_version_table(content["versions"]))
    if content["history"]:
        console().print()
        console().print(_history_table(content["history"]))


def _lines(content: Mapping[str, Any]) -> dict[str, str]:
    made = content.get("made_by") or {}
    packages = ", ".join(f"{name} {version}" for name, version in (made.get("packages") or {}).items())
    figures = (content.get("figures") or {}).items()
    lines = {
        "model": f"{content['task']} {content['version']}{' (in use)' if content['in_use'] else ''}",
        "folder": content["path"],
        "size": f"{content['size'] / 1e6:.1f} MB",
        "kind": content.get("kind", ""),
        "labels": ", ".join(content.get("labels", ())) + (" (several per text)" if content.get("multi_label") else ""),
        "base": content.get("base") or "",
        "backups": ", ".join(content.get("backups", ())),
        "test": ", ".join(f"{name} {value}" for name, value in figures),
        "certificate": _promises(content.get("certificate")),
        "made by": made.get("command", ""),
        "of": ", ".join(f"{made[name]} {what}" for name, what in (("rows", "rows"), ("seconds", "s")) if name in made),
        "with": packages,
    }
    return {name: text for name, text in lines.items() if text}


def _promises(certificate: Mapping[str, Any] | None) -> str:
    if certificate is None:
        return ""
    if certificate["lapsed"] is not None:
        return f"of {certificate['date']}, lapsed: {certificate['lapsed']}"
    kept = [budget for budget in certificate["budgets"] if budget["threshold"] is not None and budget["label"] is None]
    budgets = [f"{b['max_error']:.0%} wrong at {b['coverage']:.0%} coverage" for b in kept]
    return f"of {certificate['date']}, n = {certificate['n']}: {', '.join(budgets) or 'no budget for all labels'}"


def _version_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("version", no_wrap=True)
    for name in ("accuracy", "macro-F1", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        figures = ("-" if row[name] is None else f"{row[name]:.3f}" for name in ("accuracy", "macro_f1"))
        note = "damaged" if row["error"] is not None else "in use" if row["in_use"] else ""
        table.add_row(plain(row["version"]), *figures, f"{row['size'] / 1e6:.1f} MB", note)
    return table


def _history_table(changes: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("time (UTC)", "action", "from", "to", "by", "why"):
        table.add_column(name, no_wrap=name not in ("by", "why"))
    for change in changes:
        when = change["time"][:19].replace("T", " ")
        table.add_row(when, *(plain(change[name] or "-") for name in ("action", "from", "to", "by", "why")))
    return table
