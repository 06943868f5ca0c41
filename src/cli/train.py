"""``healdag train``: from a task file and labelled texts to a model that ``create_classifier`` serves."""

from __future__ import annotations

import importlib.util
import logging
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..config import load_settings
from ..errors import MissingExtraError, UsageError
from .models import test_figures
from .options import ConfigOption
from .terminal import console, plain

if TYPE_CHECKING:
    from ..training.pipeline import Step

STEPS = ("adapter", "second", "tfidf", "ensemble")
FIRST_VERSION = "1.0.0"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def train(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(help="Task name, or the path of a task's TOML file.")],
    source: Annotated[
        Path | None,
        typer.Option("--source", metavar="DIR", help="Folder with the data sets. Default: dataset.source of --config."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models",
            metavar="DIR",
            help="Folder of models to write into. Default: HEALDAG_MODELS, the checkout's models/, or ./models.",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="X.Y.Z",
            help="Version of the model. Default: one minor version on; the current one where no adapter is trained.",
        ),
    ] = None,
    steps: Annotated[
        str, typer.Option("--steps", metavar="A,B", help="What to train, of: adapter, second, tfidf, ensemble.")
    ] = ",".join(STEPS),
    config: ConfigOption = None,
) -> None:
    """Train a model; it becomes the task's current version.

    Needs the extra 'train': pip install 'healdag[train]'.
    """
    asked = _steps(steps)
    settings = load_settings(config)
    source = source or settings.dataset.source
    if source is None:
        raise UsageError("no data: give --source DIR, the folder with the data sets, or dataset.source in --config")
    if not source.is_dir():
        raise UsageError(f"no folder {str(source)!r} for --source; give the folder with the data sets")
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "train")
    from ..training import apply_settings, load_task
    from ..training import train as run

    loaded = apply_settings(load_task(task), settings)
    into = models if models is not None else default_models()
    picked = _version(version, into / loaded.name, fresh="adapter" in asked)
    with _log_on_stderr():
        folder = run(loaded, source=source, models=into, version=picked, steps=asked, command=shlex.join(ctx.obj))
    accuracy, macro_f1 = test_figures(folder)
    figures = (
        "" if accuracy is None or macro_f1 is None else f": accuracy {accuracy:.3f}, macro-F1 {macro_f1:.3f} on test"
    )
    console().print(plain(f"{folder}{figures}"), soft_wrap=True)


def default_models() -> Path:
    """HEALDAG_MODELS, or ``models`` of the checkout that this file is in, or ``models`` of the working directory."""
    from ..config import Environment

    own = Environment.read().models
    if own is not None:
        return own
    checkout = Path(__file__).parents[2]
    is_checkout = (checkout / "pyproject.toml").is_file() and Path(__file__).parents[1].name == "src"
    return checkout / "models" if is_checkout else Path("models")


def _steps(text: str) -> tuple[Step, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in STEPS]
    if unknown or not names:
        raise UsageError(f"--steps {text!r}: there are: {', '.join(STEPS)}; give one or more, with commas between")
    return cast("tuple[Step, ...]", tuple(name for name in STEPS if name in names))


def _version(asked: str | None, folder: Path, *, fresh: bool) -> str:
    """The version to write: a new one for a new adapter, an existing one for what is added to a model."""
    there = sorted(
        tuple(map(int, match.groups()))
        for match in (_VERSION.fullmatch(path.parent.name) for path in folder.glob("*/manifest.json"))
        if match is not None
    )
    if asked is not None:
        if _VERSION.fullmatch(asked) is None:
            raise UsageError(f"--version {asked!r} is not of the form X.Y.Z, for example {FIRST_VERSION}")
        picked = asked
    elif fresh:
        return f"{there[-1][0]}.{there[-1][1] + 1}.0" if there else FIRST_VERSION
    else:
        pointer = folder / "current"
        picked = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
    if not fresh and not (folder / picked / "manifest.json").is_file():
        raise UsageError(f"no model {picked!r} in {str(folder)!r} to add to; train the step 'adapter' first")
    return picked


@contextmanager
def _log_on_stderr() -> Iterator[None]:
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
