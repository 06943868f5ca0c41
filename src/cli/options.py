"""Options that ``classify`` and ``chat`` share, and the classifier that they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..graph import Classifier

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
) -> Classifier:
    """The classifier that the options describe; nobody is there to review, so nothing waits for a person."""
    from ..graph import create_classifier

    return create_classifier(
        task,
        config_path=config,
        version=version,
        threshold=threshold,
        enable_backup=False if no_backup else None,
        device=device,
        labels=None if labels is None else [label.strip() for label in labels.split(",") if label.strip()],
        human_review=False,
        log=log,
    )
