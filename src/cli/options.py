"""Options that several commands share, and the classifier that they ask for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..graph import Classifier


class Engine(StrEnum):
    """See ``engine`` of :func:`healdag.create_classifier`."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    ONNX_FP32 = "onnx-fp32"
    ONNX_INT8 = "onnx-int8"


TaskOption = Annotated[
    str | None, typer.Option("--task", help="Task name, or the folder of a model.  [default: emotion]", metavar="NAME")
]
VersionOption = Annotated[
    str | None,
    typer.Option("--model-version", "--version-of-model", help="Version of the model; the current one by default."),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", min=0, max=1, help="Confidence below which an answer is doubted; fitted by default."),
]
LabelsOption = Annotated[
    str | None,
    typer.Option("--labels", help="Answer with these labels of the task only, for example joy,anger.", metavar="A,B"),
]
NoBackupOption = Annotated[bool, typer.Option("--no-backup", help="Leave doubtful answers as they are.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A config.yaml; options win over it.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.  [default: auto]", metavar="NAME")
]
EngineOption = Annotated[
    Engine | None,
    typer.Option(
        "--engine",
        help="What runs the networks; onnx needs healdag[onnx], see 'healdag export'.  [default: auto]",
        show_default=False,
    ),
]
QueueOption = Annotated[
    str | None,
    typer.Option(
        "--queue",
        metavar="FILE",
        help="Where doubtful texts wait for 'healdag review': a file for SQLite, or a postgresql:// URL.",
    ),
]
LogOption = Annotated[
    Path | None,
    typer.Option(
        "--log", metavar="FILE", help="Append every decision to this .jsonl, .db or .sqlite file; see 'healdag stats'."
    ),
]


def open_classifier(
    task: str | None,
    version: str | None,
    threshold: float | None,
    no_backup: bool,
    config: Path | None,
    device: str | None,
    labels: str | None = None,
    log: Path | None = None,
    engine: Engine | None = None,
    queue: str | None = None,
) -> Classifier:
    """The classifier that the options describe; without a queue nothing waits for a person."""
    from ..graph import create_classifier

    return create_classifier(
        task,
        config_path=config,
        version=version,
        threshold=threshold,
        enable_backup=False if no_backup else None,
        device=device,
        engine=None if engine is None else engine.value,
        labels=None if labels is None else [label.strip() for label in labels.split(",") if label.strip()],
        human_review=queue is not None,
        checkpointer=queue,
        log=log,
    )
