"""What a model's folder says about itself, for ``healdag models`` and for the last line of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelEntry:
    """One version of a task's model.

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
