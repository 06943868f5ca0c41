"""The model card: README.md of an artefact, written from its figures."""

from __future__ import annotations

from typing import Any

from ..artifacts import Manifest
from .tasks import Task


def model_card(task: Task, manifest: Manifest, figures: dict[str, Any], info: dict[str, Any]) -> str:
    """Markdown with data, licence, command, figures and limits."""
    test = figures["test"]
    rows = "\n".join(
        f"| {label} | {c['precision']:.3f} | {c['recall']:.3f} | {c['f1']:.3f} | {c['support']} |"
        for label, c in test["per_class"].items()
    )
    sets = ", ".join(reference.set for reference in task.train)
    base = manifest.base.name if manifest.base is not None else "none"
    return f"""# {task.name} {manifest.version}

{task.description}: a LoRA adapter (rank {task.lora.r}) with a classification head on `{base}`.

- Labels: {", ".join(task.labels)}
- Trained on: {sets} ({info["rows"]:,} rows). Calibrated on: {", ".join(r.set for r in task.validation)} (validation).
- Licences of the data: {task.licence} The adapter: Apache-2.0.
- Command: `{info["command"]}` (seed {info["seed"]})
- Hashes of the rows, library versions and the loss curve: `training_info.json`

## Test figures

{", ".join(r.set for r in task.test)} test, n = {test["n"]:,}: accuracy {test["accuracy"]:.3f},
macro-F1 {test["macro_f1"]:.3f}, expected calibration error {test["ece"]:.3f}.

| label | precision | recall | F1 | n |
|---|---|---|---|---|
{rows}

## Limits

English only; texts in other scripts are answered with the label shares of the calibration data and marked
`unreadable`. Short, informal texts were the training data: long or formal texts, other domains and dialects are less
certain than the confidence says. Labels carry the annotators' view; do not use them to judge people.
"""
