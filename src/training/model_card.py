"""The model card: README.md of an artefact, written from its figures."""

from __future__ import annotations

from typing import Any

from ..artifacts import Manifest
from .tasks import Task

_METHODS = {
    "full": "all weights of",
    "tfidf": "logistic regression on hashed words and characters",
    "tfidf_lr": "logistic regression on 10,000 word 1-3-grams",
    "tfidf_svm": "a linear support vector machine on 10,000 word 1-3-grams",
}


def model_card(
    task: Task, manifest: Manifest, figures: dict[str, Any], info: dict[str, Any], calibration: dict[str, Any]
) -> str:
    """Markdown with data, licence, command, figures, calibration and limits.

    Args:
        calibration: What calibration.json holds.
    """
    split = "test" if "test" in figures else "validation"
    sets = ", ".join(reference.set for reference in task.train)
    validation = ", ".join(reference.set for reference in task.validation)
    several = " (a text can have several, or none)" if task.multi_label else ""
    return f"""# {task.name} {manifest.version}

{task.description}: {_method(task, manifest)}.

- Labels{several}: {", ".join(task.labels)}
- Trained on: {sets} ({info["rows"]:,} rows). Calibrated on: {validation} (validation).
- Licences of the data: {task.licence} The model: Apache-2.0.
- Command: `{info["command"]}` (seed {info["seed"]})
- Hashes of the rows, library versions and the loss curve: `training_info.json`; all figures: `metrics.json`

{_figures(task, split, figures[split])}
{calibration_section(calibration)}
## Limits

English only; texts in other scripts are answered with the label shares of the calibration data and marked
`unreadable`. Texts unlike those of the training data are less certain than the confidence says. Labels carry the
annotators' view; do not use them to judge people.
"""


def _method(task: Task, manifest: Manifest) -> str:
    base = manifest.base.name if manifest.base is not None else ""
    if task.training.method == "lora":
        return f"a LoRA adapter (rank {task.lora.r}) with a classification head on `{base}`"
    named = _METHODS[task.training.method]
    return f"{named} `{base}`, fine-tuned" if base else named


def _figures(task: Task, split: str, figures: dict[str, Any]) -> str:
    sets = ", ".join(reference.set for reference in getattr(task, split))
    ranked = f", mean ROC-AUC {figures['roc_auc']:.3f}" if task.multi_label and figures.get("roc_auc") else ""
    rows = "\n".join(
        f"| {label} | {c['precision']:.3f} | {c['recall']:.3f} | {c['f1']:.3f} | {c['support']} |"
        for label, c in figures["per_class"].items()
    )
    return f"""## {split.capitalize()} figures

{sets} {split}, n = {figures["n"]:,}: accuracy {figures["accuracy"]:.3f},
macro-F1 {figures["macro_f1"]:.3f}{ranked}, expected calibration error {figures["ece"]:.3f}.

| label | precision | recall | F1 | n |
|---|---|---|---|---|
{rows}
"""


def calibration_section(report: dict[str, Any]) -> str:
    """The part of a card that says how the probabilities were calibrated, from what calibration.json holds."""
    named = {
        "temperature": "Temperature scaling with a bias per label",
        "vector": "Vector scaling (a scale and a bias per label)",
        "beta": "Beta calibration of each label",
        "isotonic": "Isotonic regression of each label",
    }[report["method"]]
    rows = "\n".join(
        f"| {way} | {f['ece']:.3f} | {f['adaptive_ece']:.3f} | {f['brier']:.3f} | {f['log_loss']:.3f} |"
        for way, f in (("before", report["before"]), ("after", report["after"]))
    )
    return f"""## Calibration

{named}, fitted on {report["rows"]:,} rows; cross-validated figures.
The expected calibration error is over 15 bins of equal width, and of equally many rows (adaptive).

| | calibration error | adaptive | Brier | log loss |
|---|---|---|---|---|
{rows}
"""
