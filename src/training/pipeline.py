"""From a task file to an artefact: adapter, calibration, backups, policy, figures and model card."""

from __future__ import annotations

import hashlib
import logging
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..artifacts import WEIGHTS, BaseReference, Manifest, find_artifact, read_manifest, resolve_base, sha256
from ..errors import UsageError
from ..predictors import FloatArray, Predictor, Spec, load_predictor
from ..predictors.lora import ADAPTER
from .artifact_writer import replacing, set_current, write_json, write_manifest
from .datasets import Example, Split, read_examples
from .metrics import IntArray, evaluate, fit_calibration
from .model_card import model_card
from .tasks import DataReference, Task

Step = Literal["adapter", "tfidf", "ensemble"]
TEXT_SETTINGS: dict[str, Any] = {"device": "auto"}

log = logging.getLogger("healdag")


def train(
    task: Task,
    *,
    source: Path | None,
    models: Path,
    version: str,
    steps: Sequence[Step] = ("adapter", "tfidf", "ensemble"),
    command: str = "",
) -> Path:
    """Trains what ``steps`` name and leaves ``models/<task>/<version>``, which becomes the current version.

    Args:
        source: Folder with the data sets.
        models: Folder of artefacts to write into.
        version: Semantic version of the artefact.
        command: The command line that was typed, for training_info.json.

    Returns:
        The artefact's folder.
    """
    folder = models / task.name / version
    if "adapter" in steps:
        _train_adapter(task, source, folder, version, command)
    if "tfidf" in steps:
        from .tfidf import train_tfidf

        train_tfidf(task, load_split(task, "train", source), load_split(task, "validation", source), folder, version)
    if "ensemble" in steps:
        from .stack import train_ensemble

        train_ensemble(task, source, folder, version)
    set_current(models, task.name, version)
    return folder


def load_split(task: Task, split: Split, source: Path | None) -> list[Example]:
    """The rows of all sets of a split whose label is the task's, without duplicates.

    Training rows whose text also stands in validation or test are left out.
    """
    references: tuple[DataReference, ...] = getattr(task, split)
    found: dict[str, Example] = {}
    for reference in references:
        rows = read_examples(
            reference.set, split, source, label_column=reference.label_column, rename=dict(reference.rename)
        )
        for row in rows:
            if row.label in task.labels:
                found.setdefault(row.text, row)
    if split == "train":
        held_out = {row.text for other in ("validation", "test") for row in load_split(task, other, source)}  # type: ignore[arg-type]
        found = {text: row for text, row in found.items() if text not in held_out}
    if not found:
        raise UsageError(f"task {task.name!r} has no {split} rows with one of the labels {list(task.labels)}")
    return list(found.values())


def targets(rows: Sequence[Example], labels: Sequence[str]) -> IntArray:
    """Column of each row's label, shape (n,)."""
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place[row.label] for row in rows], dtype=np.int64)


def prior_of(truth: IntArray, k: int) -> tuple[float, ...]:
    """Share of each label; every label counts once more, so that none is impossible."""
    counts = np.bincount(truth, minlength=k) + 1.0
    return tuple(round(float(share), 6) for share in counts / counts.sum())


def texts_of(rows: Sequence[Example]) -> list[str]:
    """The rows' texts."""
    return [row.text for row in rows]


def _train_adapter(task: Task, source: Path | None, folder: Path, version: str, command: str) -> None:
    from .lora import train_adapter

    train_rows = load_split(task, "train", source)
    auxiliary = _auxiliary_rows(task, source)
    base = resolve_base(task.lora.base)
    log.info("training %s on %d rows, %d auxiliary", task.name, len(train_rows), len(auxiliary))
    trained = train_adapter(base, task.labels, train_rows, auxiliary, task.lora, task.training)
    validation = load_split(task, "validation", source)
    manifest = Manifest(
        kind="lora",
        task=task.name,
        version=version,
        labels=task.labels,
        prior=prior_of(targets(validation, task.labels), len(task.labels)),
        sarcasm=task.sarcasm,
        base=BaseReference(name=task.lora.base, sha256=sha256(base / WEIGHTS)),
        max_length=task.lora.max_length,
    )
    with replacing(folder) as fresh:
        trained.model.save_pretrained(str(fresh), safe_serialization=True)
        (fresh / "README.md").unlink(missing_ok=True)
        covered = [ADAPTER, "adapter_config.json"]
        write_manifest(fresh, manifest, covered)
        manifest, figures = calibrate_artifact(fresh, manifest, task, source)
        write_manifest(fresh, manifest, covered)
        write_json(fresh / "labels.json", list(task.labels))
        write_json(fresh / "calibration.json", {"temperature": manifest.temperature, "bias": manifest.bias})
        write_json(fresh / "metrics.json", figures)
        info = _training_info(task, train_rows, auxiliary, source, command)
        write_json(fresh / "training_info.json", {**info, "seconds": round(trained.seconds), "history": trained.history})
        (fresh / "README.md").write_text(model_card(task, manifest, figures, info), encoding="utf-8")


def calibrate_artifact(
    folder: Path, manifest: Manifest, task: Task, source: Path | None, options: dict[str, Any] | None = None
) -> tuple[Manifest, dict[str, Any]]:
    """Fits temperature and bias on the validation split, then measures the calibrated model on the test split.

    Returns:
        The manifest with its calibration, and figures per split: validation before and after, test after.
    """
    truth = {split: targets(load_split(task, split, source), task.labels) for split in ("validation", "test")}  # type: ignore[arg-type]
    texts = {split: texts_of(load_split(task, split, source)) for split in ("validation", "test")}  # type: ignore[arg-type]
    spec = Spec(labels=task.labels, folder=folder, options=options or TEXT_SETTINGS)
    raw = load_predictor(manifest.kind, spec).predict_proba(texts["validation"])
    logs = np.log(np.clip(raw, 1e-12, None))
    temperature, bias = fit_calibration(logs, truth["validation"], with_bias=True)
    calibrated = manifest.model_copy(update={"temperature": temperature, "bias": bias})
    from ..predictors import calibrate

    figures: dict[str, Any] = {
        "validation_uncalibrated": evaluate(raw, truth["validation"], task.labels),
        "validation": evaluate(calibrate(logs, temperature, bias), truth["validation"], task.labels),
    }
    test = load_predictor(manifest.kind, spec).predict_proba(texts["test"])
    test = calibrate(np.log(np.clip(test, 1e-12, None)), temperature, bias)
    figures["test"] = evaluate(test, truth["test"], task.labels)
    log.info("%s: %s", manifest.kind, {k: figures["test"][k] for k in ("accuracy", "macro_f1", "ece")})
    return calibrated, figures


def _auxiliary_rows(task: Task, source: Path | None) -> list[Example]:
    """Fine-label rows, without any text that stands in the task's validation or test split."""
    if task.auxiliary is None or not task.training.auxiliary_weight:
        return []
    held_out = {row.text for split in ("validation", "test") for row in load_split(task, split, source)}  # type: ignore[arg-type]
    rows = read_examples(task.auxiliary.set, "train", source, label_column=task.auxiliary.label_column)
    return [row for row in rows if row.text not in held_out]


def _training_info(
    task: Task, rows: Sequence[Example], auxiliary: Sequence[Example], source: Path | None, command: str
) -> dict[str, Any]:
    from importlib.metadata import version

    packages = ("torch", "transformers", "peft", "scikit-learn")
    return {
        "command": command,
        "task": task.model_dump(mode="json"),
        "rows": len(rows),
        "rows_per_label": dict(Counter(row.label for row in rows)),
        "auxiliary_rows": len(auxiliary),
        "data_sha256": {
            split: data_hash(load_split(task, split, source)) for split in ("train", "validation", "test")  # type: ignore[arg-type]
        },
        "seed": task.training.seed,
        "packages": {name: version(name) for name in packages},
        "machine": platform.machine(),
    }


def data_hash(rows: Sequence[Example]) -> str:
    """SHA-256 over texts and labels, in order: two runs with the same hash saw the same rows."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.text}\x1f{'|'.join(row.labels)}\x1e".encode())
    return digest.hexdigest()


def load_member(name: str, folder: Path, labels: tuple[str, ...]) -> Predictor:
    """A trained predictor by its name in the ensemble: 'model', a backup of the folder, or 'sarcasm'."""
    place = {"model": folder, "sarcasm": None}.get(name, folder / "backups" / name)
    if place is None:
        place = find_artifact("sarcasm")
    manifest = read_manifest(place)
    return load_predictor(manifest.kind, Spec(manifest.labels, place, {**TEXT_SETTINGS, "name": name}))


def member_rows(names: Sequence[str], folder: Path, task: Task, texts: Sequence[str]) -> dict[str, FloatArray]:
    """What each member says about the texts, each of shape (n, labels of the member)."""
    return {name: load_member(name, folder, task.labels).predict_proba(texts) for name in names}
