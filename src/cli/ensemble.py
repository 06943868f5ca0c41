"""``healdag ensemble``: several trained models as one, with learned weights, or the best of them."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table

from ..errors import UsageError
from .terminal import console, plain
from .train import (
    DataOption,
    LabelColumnOption,
    ModelsOption,
    SeparatorOption,
    SourceOption,
    TextColumnOption,
    checked_source,
    default_models,
    open_task,
    training_messages,
)

if TYPE_CHECKING:
    from ..training.ensembles.ensemble import Combined, Method

METHODS = ("auto", "pool", "best")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def ensemble(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the ensemble: create_classifier(task=NAME).")],
    members: Annotated[list[str], typer.Argument(help="Two or more models: TASK, TASK@VERSION or a model's folder.")],
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="NAME", help="Task whose rows teach the weights. Default: the first member's."),
    ] = None,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    source: SourceOption = None,
    models: ModelsOption = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="pool: a weight per member; best: the member with the best macro-F1; auto: the better of the two in "
            "cross-validation.",
        ),
    ] = "auto",
    version: Annotated[
        str | None, typer.Option("--version", metavar="X.Y.Z", help="Version of the ensemble. Default: one on.")
    ] = None,
) -> None:
    """Combine trained models into one that is served like any other.

    The weights are learned on the validation split; the members are copied, so that the ensemble stands alone.
    """
    if method not in METHODS:
        raise UsageError(f"--method {method!r}: there are: {', '.join(METHODS)}")
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"the name {name!r} may hold letters, digits, '-', '_' and '.', for example 'emotion-mix'")
    from ..training.ensembles.ensemble import combine_models, find_member, task_of
    from ..training.versions import check_version, next_version

    into = models if models is not None else default_models()
    folders = [find_member(member, into) for member in members]
    source = checked_source(source)
    if task is None and data is None:
        picked = task_of(folders[0])
    else:
        picked = open_task(task, data, text_column, label_column, separator)
    number = (
        check_version(version) if version is not None else next_version(into / name, picked.labels, None, trained=True)
    )
    with training_messages():
        made = combine_models(
            name,
            folders,
            picked,
            source=source,
            models=into,
            version=number,
            method=cast("Method", method),
            command=shlex.join(ctx.obj),
        )
    _show(made)


def _show(made: Combined) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("member")
    for column in ("weight", "macro-F1"):
        table.add_column(column, justify="right", no_wrap=True)
    for title, score in made.members.items():
        weight = made.weights.get(title)
        table.add_row(plain(title), "-" if weight is None else f"{weight:.3f}", f"{score:.3f}")
    console().print(table)
    compared = ", ".join(f"{way} {score:.3f}" for way, score in made.scores.items())
    console().print(plain(f"taken: {made.method} (cross-validated macro-F1: {compared})"), soft_wrap=True)
    test = made.figures.get("test")
    told = (
        "no test split" if test is None else f"accuracy {test['accuracy']:.3f}, macro-F1 {test['macro_f1']:.3f} on test"
    )
    console().print(plain(f"{made.folder}: {told}"), soft_wrap=True)
