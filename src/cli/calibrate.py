"""``healdag calibrate``: a trained model's probabilities, thresholds and policy fitted anew on labelled texts."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .evaluate import JsonOption, SourceOption, figure, table, warn_of_seen
from .terminal import console, data_stdout, plain
from .train import (
    DataOption,
    LabelColumnOption,
    ModelsOption,
    SeparatorOption,
    TextColumnOption,
    checked_source,
    default_models,
    need_training_extra,
    training_messages,
)

if TYPE_CHECKING:
    from ..trust.calibrate import Made

FIGURES = {"ece": "ECE", "adaptive_ece": "adaptive ECE", "brier": "Brier", "log_loss": "log loss"}


def calibrate(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="TASK|FOLDER", help="A task, task@version, or the folder of a model.")
    ] = "emotion",
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    source: SourceOption = None,
    models: ModelsOption = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="X.Y.Z", help="Version that is made. Default: Z + 1.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit anew how sure a model is, on labelled texts of your own or on the task's validation split.

    Nothing is trained. Calibration, thresholds, the ensemble's weights, the policy and the graph's confidence become
    the task's next version, with reliability.png; the version before stays. A certificate has to be made anew.
    """
    need_training_extra()
    from ..artifacts import CURRENT, read_manifest
    from ..training.data import load_split
    from ..training.ensembles.ensemble import find_member
    from ..training.evaluation.candidates import Artifact
    from ..training.evaluation.labelled import calibration_task
    from ..training.versions import check_version, next_patch
    from ..trust.calibrate import calibrate

    folder = find_member(model, models)
    if folder.parent.name == "backups":
        raise UsageError(f"{model!r} is a backup; calibrate the model that it belongs to, {str(folder.parents[1])!r}")
    found = Artifact(model, folder, read_manifest(folder))
    if models is None:
        named = Path(model).name != model and (folder.parent / CURRENT).is_file()
        models = folder.parents[1] if named else default_models()
    task, own_rows = calibration_task(
        found, data=data, text_column=text_column, label_column=label_column, separator=separator
    )
    source = checked_source(source)
    number = check_version(version) if version else next_patch(models / found.manifest.task, found.manifest.version)
    with training_messages():
        warn_of_seen(found, load_split(task, "validation", source))
        command = shlex.join(ctx.obj)
        made = calibrate(found, task, source, models=models, version=number, own_rows=own_rows, command=command)
    if as_json:
        data_stdout().write(json.dumps(_as_json(made), indent=2, ensure_ascii=False) + "\n")
        return
    _print(made)


def _as_json(made: Made) -> dict[str, Any]:
    each = {refit.name: {"method": refit.method, "before": refit.before, "after": refit.after} for refit in made.refits}
    return {
        "folder": str(made.folder),
        "version": made.folder.name,
        "rows": len(made.refits[0].answers.truth),
        "before": _before(made),
        "models": each,
        "graph": made.graph,
    }


def _before(made: Made) -> str:
    """What the figures 'before' are those of: a calibration that was fitted on these very rows would look too good."""
    return "as before" if made.fresh else "uncalibrated"


def _print(made: Made) -> None:
    n = len(made.refits[0].answers.truth)
    shown = table(
        f"{made.folder.parent.name} {made.folder.name}: {n:,} rows", "model", "calibration", *FIGURES.values()
    )
    for refit in made.refits:
        for name, way, figures in ((refit.name, _before(made), refit.before), ("", refit.method, refit.after)):
            shown.add_row(plain(name), way, *(figure(figures[key]) for key in FIGURES))
    console().print(shown)
    console().print(plain("The figures of the new calibrations are cross-validated."))
    console().print(plain(f"written: {made.folder}, with {made.folder / 'reliability.png'}"), soft_wrap=True)
