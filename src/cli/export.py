"""``healdag export``: a graph's models as ONNX, so that it answers faster and without torch."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .evaluate import JsonOption, SourceOption, table
from .terminal import console, data_stdout, plain, report
from .train import DataOption, LabelColumnOption, SeparatorOption, TextColumnOption, checked_source

if TYPE_CHECKING:
    from ..engines.export import Made


def export(
    model: Annotated[
        str, typer.Argument(metavar="TASK|FOLDER", help="A task, task@version, or the folder of a model.")
    ] = "emotion",
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    source: SourceOption = None,
    force: Annotated[bool, typer.Option("--force", help="Export anew what was exported already.")] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Export nothing; delete exports of versions not in use and of models gone."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a task's models as ONNX, in fp32 and int8, and hold them against torch on this machine.

    The model, its backups and the sarcasm detector go into the user's cache (HEALDAG_CACHE); the model folder stays as
    it is. fp32 has to give torch's probabilities within 0.0001. int8 has to give torch's answer to 98 % of labelled
    texts, and may lose half a point of macro-F1: of your file (--data), else of the validation rows of the task
    (--source). create_classifier() then takes the fastest that passed, by itself.
    """
    if prune:
        _prune(as_json=as_json)
        return
    from ..engines.export import export_graph, given_rows, own_rows
    from ..training.evaluation import candidates
    from ..training.evaluation.labelled import calibration_task

    found, source = candidates.find(model), checked_source(source)
    rows_for = own_rows(source)
    if data is not None or text_column or label_column or separator:
        task, is_own = calibration_task(
            found, data=data, text_column=text_column, label_column=label_column, separator=separator
        )
        assert data is not None  # refused before: a description of nothing
        where = data.name if is_own else f"validation rows of {data.name}"
        rows_for = given_rows(found.manifest.labels, task, source, where)
    made = []
    for one in export_graph(found, rows_for, force=force):
        made.append(one)
        if not as_json:
            _say(one)
    if as_json:
        data_stdout().write(json.dumps([_as_json(one) for one in made], indent=2, ensure_ascii=False) + "\n")
    else:
        _print(found.manifest.task, made)
    if not all(one.checks.passed() for one in made):
        raise typer.Exit(1)


def _prune(*, as_json: bool) -> None:
    """Deletes what nothing needs; a version that is put in use again is exported anew."""
    from ..artifacts.exports import exports_folder, stale_exports

    gone = []
    for folder, why in stale_exports().items():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder)
        gone.append({"folder": str(folder), "why": why, "bytes": size})
        if not as_json:
            console().print(plain(f"deleted {folder} ({size / 1e6:.1f} MB): {why}"), soft_wrap=True)
    if as_json:
        data_stdout().write(json.dumps(gone, indent=2, ensure_ascii=False) + "\n")
    elif not gone:
        report(f"nothing to delete in {str(exports_folder())!r}", prefix="")


def _as_json(made: Made) -> dict[str, Any]:
    passed = made.checks.passed()
    return {
        "model": made.name,
        "folder": str(made.exported.folder),
        "takes": passed[0] if passed else None,
        "int8_not_measured": made.missing,
        **made.checks.model_dump(mode="json"),
    }


def _say(made: Made) -> None:
    """On stderr: why a precision was refused, and what it was measured on."""
    if made.missing is not None and made.checks.int8 is None:
        report(f"{made.name}: int8 was not measured on labelled rows: {made.missing}", prefix="")
    for precision in ("fp32", "int8"):
        check = made.checks.check(precision)
        if check is not None:
            report(f"{made.name}: {precision} {'passed' if check.passed else 'is refused'}: {check.words()}", prefix="")


def _print(name: str, made: list[Made]) -> None:
    columns = ("model", "fp32 off by", "int8 agrees", "macro-F1", "texts/s: torch, fp32, int8", "taken")
    shown = table(f"{name}: ONNX on this machine", *columns)
    for one in made:
        check, speeds, passed = one.checks.int8, one.checks.texts_per_second, one.checks.passed()
        shown.add_row(
            plain(one.name),
            f"{one.checks.fp32.max_difference:.1e}",
            "-" if check is None else f"{check.agreement:.1%}",
            "-" if check is None else f"{check.macro_f1_torch:.3f}, {check.macro_f1:.3f}",
            ", ".join(f"{speeds.get(engine, 0.0):.0f}" for engine in ("torch", "fp32", "int8")),
            passed[0] if passed else "none",
        )
    console().print(shown)
    for one in made:
        console().print(plain(f"written: {one.exported.folder}"), soft_wrap=True)
