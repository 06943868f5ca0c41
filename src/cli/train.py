"""``healdag train``: from labelled texts to a model that is served; ``healdag demo-train`` tries the pipeline."""

from __future__ import annotations

import csv
import errno
import importlib.util
import json
import logging
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ..config import Settings, load_settings
from ..errors import HealdagError, MissingExtraError, UsageError
from .model_entries import test_figures
from .options import ConfigOption
from .terminal import console, plain

if TYPE_CHECKING:
    from ..training import Task
    from ..training.finetuning.finetune import Plan

STEPS = ("model", "backups", "tfidf", "screen", "ensemble", "confidence")
CONFIDENCE = STEPS[-1]
METHODS = ("lora", "full", "tfidf", "tfidf_lr", "tfidf_svm")
SourceOption = Annotated[
    Path | None,
    typer.Option("--source", metavar="DIR", help="Folder with the data sets. Default: dataset.source of --config."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Your own data: CSV, TSV, JSON lines, Parquet or a datasets folder."),
]
TextColumnOption = Annotated[str | None, typer.Option("--text-column", help="Column of --data with the text.")]
LabelColumnOption = Annotated[str | None, typer.Option("--label-column", help="Column of --data with the label.")]
SeparatorOption = Annotated[
    str | None, typer.Option("--separator", help="Between labels, where one field of --data holds several.")
]
ModelsOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        metavar="DIR",
        help="Folder of models to write into. Default: HEALDAG_MODELS, the checkout's models/, or ./models.",
    ),
]
ResumeOption = Annotated[
    bool | None,
    typer.Option(
        "--resume/--restart",
        help="Go on from the last checkpoint of an interrupted run, or start over. Default: go on where there is one "
        "with the same rows and settings.",
    ),
]


def train(
    ctx: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(help="Task name, or the path of a task's TOML file; with --data the name of your task."),
    ] = None,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    source: SourceOption = None,
    models: ModelsOption = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="X.Y.Z",
            help="Version of the model. Default: X + 1 for other labels or another base, Y + 1 for a new training, "
            "Z + 1 where no model is trained.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="fast, balanced, quality or fullscale. Default: the task's values.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help=f"What to train, of: {', '.join(METHODS)}. Default: the task's, lora."),
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Rows in one forward pass.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    steps: Annotated[
        str,
        typer.Option(
            "--steps",
            metavar="A,B",
            help="What to make, of: model, backups (or the name of one), tfidf, tfidf_lr, tfidf_svm, screen, "
            "ensemble, confidence, familiarity.",
        ),
    ] = ",".join(STEPS),
    resume: ResumeOption = None,
    test_run: Annotated[
        bool, typer.Option("--test-run", help="Try everything on a few hundred rows; nothing is kept.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Train a model; it becomes the task's current version.

    Of your own data: healdag train --data my.csv --text-column body --label-column tag.
    Needs the extra 'train': pip install 'healdag[train]'.
    """
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed, "method": method}
    settings = load_settings(config, training=given)
    need_training_extra()
    from ..training.versions import unfinished_version

    picked = open_task(task, data, text_column, label_column, separator)
    asked = _steps(steps, picked)
    if CONFIDENCE in asked:
        from ..trust.certify import check_environment

        check_environment()  # it would be refused after the training
    source = checked_source(source or settings.dataset.source)
    picked = _with_settings(picked, profile, settings)
    command = shlex.join(ctx.obj)
    with training_messages():
        if test_run:
            _test_run(picked, source, asked, command)
            return
        into = models if models is not None else default_models()
        trained = "model" in asked
        begun = unfinished_version(into / picked.name) if trained and resume is not False else None
        number = _version(version or begun, into / picked.name, picked, trained=trained)
        folder = _run(picked, source, into, number, asked, command, resume=resume)
    _say_result(folder)


def demo_train(
    ctx: typer.Context,
    models: ModelsOption = None,
) -> None:
    """Train on 100 synthetic reviews and classify two more: a check of the whole pipeline, in under a minute.

    Without --models nothing is kept.
    """
    need_training_extra()
    from ..training import apply_settings, task_from_file
    from ..training.data.samples import synthetic_reviews

    with tempfile.TemporaryDirectory(prefix="healdag-") as place, training_messages():
        path = Path(place) / "reviews.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, ["review", "sentiment"])
            writer.writeheader()
            writer.writerows(synthetic_reviews())
        task = task_from_file(path, text_column="review", label_column="sentiment", name="demo")
        training = {"epochs": 6.0, "batch_size": 16, "learning_rate": 2e-3, "average_decay": 0.0}
        task = apply_settings(task, load_settings(training=training))
        into = models if models is not None else Path(place) / "models"
        number = _version(None, into / task.name, task, trained=True)
        folder = _run(task, None, into, number, ("model", "tfidf", "ensemble"), shlex.join(ctx.obj))
        _say_result(folder)
        _show_answers(folder, ("This umbrella was a delight.", "My new umbrella broke on day one."))


def need_training_extra(*packages: str) -> None:
    """Raises MissingExtraError where a package of the extra 'train' is not installed.

    Args:
        packages: Their names; none: those that every training of a classifier needs.
    """
    for package in packages or ("accelerate", "datasets", "matplotlib"):
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise MissingExtraError(package, "train")


def open_task(
    task: str | None, data: Path | None, text_column: str | None, label_column: str | None, separator: str | None
) -> Task:
    """The task by its name or file, or made from a user's data.

    Raises:
        UsageError: neither is given, or columns without data.
    """
    from ..training import load_task, task_from_file

    if data is not None:
        return task_from_file(data, text_column=text_column, label_column=label_column, separator=separator, name=task)
    if task is None:
        raise UsageError(
            "name a task, or give your own data: --data FILE --text-column NAME --label-column NAME; "
            "see 'healdag train --help'"
        )
    if text_column or label_column or separator:
        raise UsageError("--text-column, --label-column and --separator describe your own data: give --data FILE too")
    return load_task(task)


def checked_source(source: Path | None) -> Path | None:
    """The folder with the data sets, or None: then the Hub is asked.

    Raises:
        UsageError: it is no folder.
    """
    if source is not None and not source.is_dir():
        raise UsageError(f"no folder {str(source)!r} for --source; give the folder with the data sets")
    return source


def _with_settings(task: Task, profile: str | None, settings: Settings) -> Task:
    """The profile over the task's values, and over both what the user set."""
    from ..training import apply_settings
    from ..training.profiles import apply_profile

    return apply_settings(apply_profile(task, profile) if profile is not None else task, settings)


def _run(
    task: Task,
    source: Path | None,
    models: Path,
    version: str,
    steps: tuple[str, ...],
    command: str,
    *,
    resume: bool | None = None,
) -> Path:
    from ..training import train as run
    from ..trust.fit import finish

    def announce(trained: Task, plan: Plan) -> None:
        console().print(_plan_table(trained, plan))

    with stops_said(models, "the models that were there are as they were. Make room ('healdag models prune' helps)"):
        folder = run(
            task,
            source=source,
            models=models,
            version=version,
            steps=[step for step in steps if step != CONFIDENCE],
            command=command,
            resume=resume,
            announce=announce,
        )
        if CONFIDENCE in steps:
            finish(task, source, folder)
        return folder


@contextmanager
def stops_said(place: Path, advice: str) -> Iterator[None]:
    """Says how a training goes on that is stopped in the block, by the user or by a disk that is full.

    Args:
        place: Where it writes.
        advice: What is left then, and how to make room.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise HealdagError(
            f"no space left on the disk with {str(place)!r}; {advice}, then run the same command: it goes on from the "
            "last checkpoint"
        ) from error
    except KeyboardInterrupt:
        logging.getLogger("healdag").warning(
            "interrupted; nothing of what was there has changed. The same command goes on from the last checkpoint"
        )
        raise


def _test_run(task: Task, source: Path | None, steps: tuple[str, ...], command: str) -> None:
    from ..training.data.samples import sample_task

    with tempfile.TemporaryDirectory(prefix="healdag-") as place:
        small = sample_task(task, source, Path(place))
        folder = _run(small, Path(place), Path(place) / "models", "0.0.1", steps, command)
        _say_result(folder, kept=False)


def _plan_table(task: Task, plan: Plan) -> Table:
    """What will be trained, and how long it will take."""
    table = Table(title=f"training {task.name}", show_header=False, box=None, pad_edge=False, title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    training = task.training
    what = f"LoRA, rank {task.lora.r}" if training.method == "lora" else "all weights"
    weighting = "" if training.class_weight_power == 0 else f", class weights ^{training.class_weight_power:g}"
    rows: dict[str, Any] = {
        "base": task.lora.base,
        "labels": f"{len(task.labels)}{' (multi-label)' if task.multi_label else ''}: {', '.join(task.labels)}",
        "method": f"{what}: {plan.trained:,} of {plan.weights:,} weights",
        "rows": f"{plan.rows:,} per epoch, {training.epochs:g} epochs",
        "steps": f"{plan.steps:,} of {plan.batch_size} x {plan.accumulation} rows"
        + (f"; {plan.done:,} done already" if plan.done else ""),
        "learning rate": f"{training.learning_rate:g}, {training.schedule}, warm-up {training.warmup_steps:g}",
        "loss": f"{training.loss.replace('_', ' ')}{weighting}",
        "precision": plan.precision,
        "measured here": f"{plan.texts_per_second:,.0f} texts/s",
        "estimate": f"{_duration(plan.seconds)}, evaluations left out",
    }
    for name, value in rows.items():
        table.add_row(name, plain(str(value)))
    return table


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say_result(folder: Path, *, kept: bool = True) -> None:
    accuracy, macro_f1 = test_figures(folder)
    figures = "no test split"
    if accuracy is not None and macro_f1 is not None:
        figures = f"accuracy {accuracy:.3f}, macro-F1 {macro_f1:.3f} on test"
        path = folder / "graph_metrics.json"
        if path.is_file():
            whole = json.loads(path.read_text(encoding="utf-8"))["test"]["graph"]["accuracy"]
            figures += f"; with its backups accuracy {whole:.3f}"
    console().print(plain(f"{folder if kept else 'test run passed, nothing kept'}: {figures}"), soft_wrap=True)


def _show_answers(folder: Path, texts: tuple[str, ...]) -> None:
    from ..graph import create_classifier

    for answer in create_classifier(str(folder)).classify_many(texts):
        line = f"{answer.text} -> {answer.final_label} ({answer.confidence:.2f}, {answer.source})"
        console().print(plain(line), soft_wrap=True)


def default_models() -> Path:
    """HEALDAG_MODELS, or ``models`` of the checkout that this file is in, or ``models`` of the working directory."""
    from ..config import Environment

    own = Environment.read().models
    if own is not None:
        return own
    checkout = Path(__file__).parents[2]
    is_checkout = (checkout / "pyproject.toml").is_file() and Path(__file__).parents[1].name == "src"
    return checkout / "models" if is_checkout else Path("models")


def _steps(text: str, task: Task) -> tuple[str, ...]:
    known = (*STEPS, "tfidf_lr", "tfidf_svm", "familiarity")
    there = [*known, *(name for name in task.backups if name not in known)]
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        raise UsageError(f"--steps {text!r}: there are: {', '.join(there)}; give one or more, with commas between")
    return tuple(name for name in there if name in names)


def _version(asked: str | None, folder: Path, task: Task, *, trained: bool) -> str:
    """The version to write."""
    from ..training.versions import check_version, next_version

    base = task.lora.base if task.training.method in ("lora", "full") else None
    if asked is None:
        return next_version(folder, task.labels, base, trained=trained)
    if not trained and not (folder / check_version(asked) / "manifest.json").is_file():
        next_version(folder, task.labels, base, trained=False)  # refuses where nothing is there to add to
    return check_version(asked)


@contextmanager
def training_messages() -> Iterator[None]:
    """Shows what the training says about itself while the block runs."""
    log = logging.getLogger("healdag")
    handler, level = logging.StreamHandler(), log.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
