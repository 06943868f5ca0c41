"""From a task file to an artefact: adapter, calibration, backups, policy, figures and model card."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Literal

from ..artifacts import (
    CURRENT,
    POLICY,
    WEIGHTS,
    BaseReference,
    Manifest,
    Policy,
    resolve_base,
    sha256,
)
from ..errors import UsageError
from ..predictors import Spec, calibrate, load_predictor, logits_of
from ..predictors.lora import ADAPTER
from .artifact_writer import replacing, set_current, write_json, write_manifest
from .data import HELD_OUT, data_hash, load_split, prior_of, targets, texts_of
from .datasets import Example, read_examples
from .metrics import best_f1_thresholds, evaluate, fit_calibration
from .model_card import model_card
from .tasks import Task, load_task

Step = Literal["adapter", "second", "tfidf", "ensemble"]
STEPS: tuple[Step, ...] = ("adapter", "second", "tfidf", "ensemble")

log = logging.getLogger("healdag")


def train(
    task: Task,
    *,
    source: Path | None,
    models: Path,
    version: str,
    steps: Sequence[Step] = STEPS,
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
        start = current_folder(models, task.start_from) if task.start_from else None
        _train_adapter(task, source, folder, version, command, start)
    if "second" in steps and task.second is not None:
        second = load_task(task.second)
        _train_adapter(second, source, folder / "backups" / "second", version, command, None)
    if "tfidf" in steps:
        from .tfidf import train_tfidf

        train_tfidf(task, load_split(task, "train", source), load_split(task, "validation", source), folder, version)
    if "ensemble" in steps:
        from .stack import train_ensemble

        detector = current_folder(models, "sarcasm") if task.sarcasm else None
        train_ensemble(task, source, folder, version, detector)
    set_current(models, task.name, version)
    return folder


def current_folder(models: Path, task: str) -> Path:
    """The folder of a task's current version.

    Raises:
        UsageError: the task has not been trained yet.
    """
    pointer = models / task / CURRENT
    if not pointer.is_file():
        raise UsageError(f"task {task!r} has no model in {str(models)!r} yet; train it first")
    return pointer.parent / pointer.read_text(encoding="utf-8").strip()


def _train_adapter(
    task: Task, source: Path | None, folder: Path, version: str, command: str, start: Path | None
) -> None:
    from .lora import train_adapter

    train_rows = load_split(task, "train", source)
    auxiliary = _auxiliary_rows(task, source)
    base = resolve_base(task.lora.base)
    log.info("training %s on %d rows, %d auxiliary", task.name, len(train_rows), len(auxiliary))
    trained = train_adapter(base, task.labels, train_rows, auxiliary, task.lora, task.training, start)
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
        # The name, not the folder that it was found in: that is this machine's.
        trained.model.peft_config["default"].base_model_name_or_path = task.lora.base
        trained.model.save_pretrained(str(fresh), safe_serialization=True, save_embedding_layers=False)
        (fresh / "README.md").unlink(missing_ok=True)
        covered = [ADAPTER, "adapter_config.json"]
        write_manifest(fresh, manifest, covered)
        manifest, figures, policy = _calibrate_and_measure(fresh, manifest, task, source)
        write_manifest(fresh, manifest, covered)
        write_json(fresh / "labels.json", list(task.labels))
        write_json(fresh / "calibration.json", {"temperature": manifest.temperature, "bias": manifest.bias})
        write_json(fresh / POLICY, policy.model_dump(mode="json"))
        write_json(fresh / "metrics.json", figures)
        info = _training_info(task, train_rows, auxiliary, source, command)
        run = {"seconds": round(trained.seconds), "history": trained.history}
        write_json(fresh / "training_info.json", {**info, **run})
        (fresh / "README.md").write_text(model_card(task, manifest, figures, info), encoding="utf-8")


def _calibrate_and_measure(
    folder: Path, manifest: Manifest, task: Task, source: Path | None
) -> tuple[Manifest, dict[str, Any], Policy]:
    """Fits temperature and bias on the validation split, then measures the calibrated model on the test split.

    Returns:
        The manifest with its calibration; figures for validation before and after, and for test; the policy.
    """
    predictor = load_predictor(manifest.kind, Spec(task.labels, folder))
    validation = load_split(task, "validation", source)
    truth = targets(validation, task.labels)
    raw = predictor.predict_proba(texts_of(validation))
    logs = logits_of(raw)
    temperature, bias = fit_calibration(logs, truth, with_bias=True)
    fitted = calibrate(logs, temperature, bias)
    policy = Policy(thresholds=best_f1_thresholds(fitted, truth) if task.decision == "f1" else None)
    figures: dict[str, Any] = {
        "validation_uncalibrated": evaluate(raw, truth, task.labels),
        "validation": evaluate(fitted, truth, task.labels, policy.thresholds),
    }
    test = load_split(task, "test", source)
    if test:
        values = calibrate(logits_of(predictor.predict_proba(texts_of(test))), temperature, bias)
        figures["test"] = evaluate(values, targets(test, task.labels), task.labels, policy.thresholds)
        log.info("test: %s", {key: figures["test"][key] for key in ("accuracy", "macro_f1", "ece")})
    return manifest.model_copy(update={"temperature": temperature, "bias": bias}), figures, policy


def _auxiliary_rows(task: Task, source: Path | None) -> list[Example]:
    """Fine-label rows, without any text that stands in the task's validation or test split."""
    if task.auxiliary is None or not task.training.auxiliary_weight:
        return []
    held_out = {row.text for split in HELD_OUT for row in load_split(task, split, source)}
    rows = read_examples(task.auxiliary.set, "train", source, label_column=task.auxiliary.label_column)
    return [row for row in rows if row.text not in held_out]


def _training_info(
    task: Task, rows: Sequence[Example], auxiliary: Sequence[Example], source: Path | None, command: str
) -> dict[str, Any]:
    packages = ("torch", "transformers", "peft", "scikit-learn")
    return {
        "command": command,
        "task": task.model_dump(mode="json"),
        "rows": len(rows),
        "rows_per_label": dict(Counter(row.label for row in rows)),
        "auxiliary_rows": len(auxiliary),
        "data_sha256": {
            "train": data_hash(rows),
            "auxiliary": data_hash(auxiliary),
            **{split: data_hash(load_split(task, split, source)) for split in HELD_OUT},
        },
        "seed": task.training.seed,
        "packages": {name: package_version(name) for name in packages},
        "machine": platform.machine(),
    }
