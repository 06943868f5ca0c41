"""``healdag certify``: which share of answers can be given under an error budget, with a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .evaluate import JsonOption, SourceOption, table
from .terminal import console, data_stdout, plain, report
from .train import DataOption, LabelColumnOption, SeparatorOption, TextColumnOption, checked_source

if TYPE_CHECKING:
    from ..artifacts import Certificate


def certify(
    model: Annotated[
        str, typer.Argument(metavar="TASK|FOLDER", help="A task, task@version, or the folder of a model.")
    ] = "emotion",
    max_error: Annotated[
        list[float] | None,
        typer.Option(
            "--max-error",
            help="Largest share of wrong answers, 0 to 1; can be given several times. Default: 0.01, 0.02, 0.05, 0.1 "
            "and 0.2.",
        ),
    ] = None,
    certainty: Annotated[float, typer.Option("--certainty", help="Certainty of each bound, 0 to 1.")] = 0.95,
    by_label: Annotated[
        bool,
        typer.Option("--by-label", help="Budgets for the answers with each label, too; all of them hold together."),
    ] = False,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Certify an error budget for the whole graph: create_classifier(max_error=0.05) then abstains where it must.

    The labelled texts have to be ones that nothing was trained, fitted or chosen on, drawn like those to come. Of the
    file that the model was trained on, its test part is taken. Without --data they are the part of the task's
    validation split that the task's file sets aside for this (certify = 0.4).

    A budget that cannot be shown to hold is said so, and is not promised.
    """
    from ..training.data import certification_rows
    from ..training.evaluation import candidates
    from ..training.evaluation.labelled import labelled_rows, task_of, unseen
    from ..trust.certify import Asked, certify, set_aside
    from ..trust.risk import RISKS

    found = candidates.find(model)
    asked = Asked(tuple(max_error or RISKS), certainty, by_label)
    if data is None:
        task = task_of(found)
        rows, origin = certification_rows(task, checked_source(source)), set_aside(task)
    else:
        rows, _ = labelled_rows(
            found,
            data=data,
            text_column=text_column,
            label_column=label_column,
            separator=separator,
            split=None,
            source=None,
        )
        origin = data.name
        fresh = unseen(found, rows)
        if len(fresh) < len(rows):
            report(f"{len(rows) - len(fresh):,} texts left out: the model was trained or fitted on them", prefix="")
        rows = fresh
    made = certify(found.folder, rows, asked, origin)
    if as_json:
        data_stdout().write(made.model_dump_json(indent=2) + "\n")
        return
    _print(made, found.folder)


def _print(made: Certificate, folder: Path) -> None:
    shown = table(f"{made.task} {made.version}, {made.n:,} rows", "budget", "threshold", "answered", "wrong", "bound")
    for budget, labels in made.rows():
        name = " ".join((f"{budget.max_error:g}", ", ".join(labels))).rstrip()
        if budget.threshold is None:
            shown.add_row(plain(name), "none holds", "0.0 %", "-", "-")
        else:
            shown.add_row(
                plain(name),
                f"{budget.threshold:.4f}",
                f"{budget.coverage:.1%}",
                f"{budget.errors} of {budget.accepted}",
                f"{budget.bound:.4f}",
            )
    console().print(shown)
    console().print(plain(f"written: {folder / 'certificate.json'}"), soft_wrap=True)
