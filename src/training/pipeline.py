"""From a task file to an artefact: model, calibration, backups, policy, figures, pictures and model card."""

from __future__ import annotations

import json
import logging
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from ..artifacts import (
    CURRENT,
    POLICY,
    WEIGHTS,
    BaseReference,
    Manifest,
    find_artifact,
    read_manifest,
    replacing,
    resolve_base,
    sha256,
)
from ..errors import UsageError
from ..predictors import SCREEN
from ..predictors.lora import ADAPTER
from .artifact_writer import set_current, write_json, write_manifest
from .augmentation.augment import augmented_split
from .calibrating import Calibrated, calibrate_and_measure, write_figures
from .checkpoints import run_folder, run_hash
from .classical import KINDS, Kind, train_classical
from .data import HELD_OUT, data_hash, held_out_rows, load_split, prior_of, targets
from .datasets import Example, Split, read_examples
from .evaluation.plots import training_curves_png
from .familiarity import write_familiarity
from .model_card import model_card
from .screening import write_screen
from .tasks import Task, load_task
from .versions import RUNS, current_version

if TYPE_CHECKING:
    from .finetuning.finetune import Plan, Trained

STEPS = ("model", "backups", "tfidf", "screen", "ensemble")
"""'backups' are all that the task names; one of them alone is asked for by its name. So are 'tfidf_lr' and
'tfidf_svm', backups of those kinds; and 'familiarity', which the step 'model' includes, for an adapter without it."""
FAMILIAR, SCREENED = "familiarity", "screen"

HeldOut: TypeAlias = Mapping[Split, Sequence[Example]]
"""The rows of validation and test."""

log = logging.getLogger("healdag")


def train(
    task: Task,
    *,
    source: Path | None,
    models: Path,
    version: str,
    steps: Sequence[str] = STEPS,
    command: str = "",
    resume: bool | None = None,
    announce: Callable[[Task, Plan], None] | None = None,
    rows: Sequence[Example] | None = None,
    start: Path | None = None,
    anchor: float = 0.0,
    promote: bool = True,
) -> Path:
    """Trains what ``steps`` name and leaves ``models/<task>/<version>``, which becomes the current version.

    Args:
        source: Folder with the data sets.
        models: Folder of artefacts to write into.
        version: Semantic version of the artefact. Without the step 'model', one that is not there yet starts as a
            copy of the current one.
        command: The command line that was typed, for training_info.json.
        resume: True goes on from the last checkpoint of an interrupted run with the same rows and settings and
            refuses to start over; None goes on where there is one; False starts over.
        announce: Is told what will be trained, the task's own model or a backup's, before it starts.
        rows: What the model is trained on, instead of the task's training split and its auxiliary set; an adapter
            then keeps its last weights, since the validation split does not show what these rows are to teach.
        start: Artefact of the same labels whose adapter and head the model's training starts from; a full or
            classical model starts from zero.
        anchor: Share, 0 to 1, of its weights in the result: between the two, much of what was learned is kept and
            most of what was known (Wortsman et al. 2022, arXiv:2109.01903).
        promote: Whether the version is put into use.

    Returns:
        The artefact's folder.

    Raises:
        UsageError: the data or the settings do not allow it, or there is nothing to resume.
    """
    folder = models / task.name / version
    if "model" in steps:
        own = model_of(models, task.start_from) if task.start_from and rows is None else None
        _train_model(
            *(task, source, folder, command),
            start=start or own,
            keep_head=start is not None,
            anchor=anchor,
            given=rows,
            resume=resume,
            announce=announce,
        )
    elif not folder.is_dir():
        shutil.copytree(current_folder(models, task.name), folder)
        _rename_version(folder, version)
    if FAMILIAR in steps and "model" not in steps:
        _add_familiarity(task, source, folder)
    for name, file in task.backups.items():
        if name not in steps and "backups" not in steps:
            continue
        backup = _sparing(load_task(file), task)
        place = folder / "backups" / name
        its = model_of(models, backup.start_from) if backup.start_from else None
        if backup.start_from == task.name:
            its = folder  # the model beside it
        _train_model(backup, source, place, command, start=its, resume=resume, announce=announce)
    for kind in KINDS:
        if kind in steps and task.training.method != kind:
            _train_classical_backup(task, source, folder, version, kind, command)
    if SCREENED in steps:
        _renew_screen(task, source, folder, models, rows)
    if "ensemble" in steps and (folder / "backups").is_dir():
        from .ensembles.stack import train_ensemble

        detector = model_of(models, "sarcasm") if task.sarcasm else None
        train_ensemble(task, source, folder, version, detector)
    if promote:
        set_current(models, task.name, version)
    shutil.rmtree(models / task.name / RUNS, ignore_errors=True)
    return folder


def _sparing(backup: Task, task: Task) -> Task:
    """The backup's task, which sets the same rows aside where both validate on one set: the certificate covers it."""
    shared = {reference.set for reference in task.validation} & {reference.set for reference in backup.validation}
    return backup.model_copy(update={"certify": task.certify}) if shared else backup


def current_folder(models: Path, task: str) -> Path:
    """The folder of a task's current version.

    Raises:
        UsageError: the task has not been trained yet.
    """
    version = current_version(models / task)
    if version is None:
        raise UsageError(f"task {task!r} has no model in {str(models)!r} yet ({CURRENT} is missing); train it first")
    return models / task / version


def model_of(models: Path, task: str) -> Path:
    """Another task's model: the one in ``models``, or else where models are looked for."""
    return current_folder(models, task) if (models / task / CURRENT).is_file() else find_artifact(task)


def _rename_version(folder: Path, version: str) -> None:
    for path in (folder, *(folder / "backups").glob("*")):
        manifest = read_manifest(path).model_copy(update={"version": version})
        write_manifest(path, manifest, list(manifest.files))


def _train_model(
    task: Task,
    source: Path | None,
    folder: Path,
    command: str,
    *,
    start: Path | None = None,
    keep_head: bool = False,
    anchor: float = 0.0,
    given: Sequence[Example] | None = None,
    resume: bool | None = None,
    announce: Callable[[Task, Plan], None] | None = None,
) -> None:
    """The primary, or another model that is kept as a backup."""
    rows = augmented_split(task, source) if given is None else given
    held_out = {split: load_split(task, split, source) for split in HELD_OUT}
    auxiliary = _auxiliary_rows(task, source) if given is None else []
    info = _training_info(task, rows, auxiliary, held_out, command)
    if anchor:
        info |= {"anchor": anchor, "run": run_hash(info["run"], anchor)}
    if _is_done(folder, info["run"]) and resume is not False:
        log.info("%s is trained already, with these rows and settings", folder)
        return
    method = task.training.method
    if method != "lora" and method != "full":
        validation, test = held_out["validation"], held_out["test"]
        train_classical(
            task, rows, validation, test, folder, folder.name, kind=method, as_backup=False, command=command
        )
        return
    from .finetuning.finetune import fine_tune

    checkpoints = run_folder(_place_of_run(folder), info["run"], resume)
    base = resolve_base(task.lora.base)
    log.info("training %s on %d rows, %d auxiliary", task.name, len(rows), len(auxiliary))
    trained = fine_tune(
        base,
        task.labels,
        rows,
        task.lora,
        task.training,
        validation=held_out["validation"] if given is None else (),
        auxiliary=auxiliary,
        multi_label=task.multi_label,
        start=start,
        keep_head=keep_head,
        anchor=anchor,
        checkpoints=checkpoints,
        announce=partial(announce, task) if announce is not None else None,
    )
    truth = targets(held_out["validation"], task.labels, multi_label=task.multi_label)
    full = task.training.method == "full"
    manifest = Manifest(
        kind="full" if full else "lora",
        task=task.name,
        version=folder.name if folder.parent.name != "backups" else folder.parents[1].name,
        labels=task.labels,
        prior=prior_of(truth, len(task.labels)),
        multi_label=task.multi_label,
        sarcasm=task.sarcasm,
        base=BaseReference(name=task.lora.base, sha256=sha256(base / WEIGHTS)),
        max_length=task.lora.max_length,
    )
    with replacing(folder) as fresh:
        covered = _save_weights(trained.model, fresh, task, base)
        write_manifest(fresh, manifest, covered)
        if folder.parent.name != "backups":
            covered.append(write_familiarity(fresh, rows, held_out["validation"], task.training.seed))
            write_manifest(fresh, manifest, covered)
        made = calibrate_and_measure(fresh, manifest, task, held_out["validation"], held_out["test"])
        write_manifest(fresh, made.manifest, covered)
        write_json(fresh / POLICY, made.policy.model_dump(mode="json"))
        write_report(fresh, task, made, {**info, **_run_info(trained)})
    for checkpoint in checkpoints.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _add_familiarity(task: Task, source: Path | None, folder: Path) -> None:
    """For an adapter that was trained without."""
    rows, held_out = augmented_split(task, source), load_split(task, "validation", source)
    name = write_familiarity(folder, rows, held_out, task.training.seed)
    manifest = read_manifest(folder)
    write_manifest(folder, manifest, list(dict.fromkeys([*manifest.files, name])))


def _renew_screen(task: Task, source: Path | None, folder: Path, models: Path, given: Sequence[Example] | None) -> None:
    """The screen for sarcasm, of the model as it is now; an old one goes, even if no new one is worth having."""
    manifest = read_manifest(folder)
    covered = [name for name in manifest.files if name != SCREEN]
    (folder / SCREEN).unlink(missing_ok=True)
    if task.sarcasm and manifest.kind in ("lora", "full"):
        rows = augmented_split(task, source) if given is None else given
        held_out = load_split(task, "validation", source)
        name = write_screen(folder, model_of(models, "sarcasm"), rows, held_out, task.training.seed)
        covered += [name] if name is not None else []
    write_manifest(folder, manifest, covered)


def _train_classical_backup(
    task: Task, source: Path | None, folder: Path, version: str, kind: Kind, command: str
) -> None:
    train, validation, test = (load_split(task, split, source) for split in get_args(Split))
    train_classical(task, train, validation, test, folder, version, kind=kind, as_backup=True, command=command)


def write_report(folder: Path, task: Task, made: Calibrated, info: dict[str, Any]) -> None:
    """Everything in an artefact folder that people read: figures, tables, pictures of the training, model card."""
    write_figures(folder, task.labels, made.figures, made.fitted.report)
    write_json(folder / "training_info.json", info)
    if info.get("history"):
        training_curves_png(folder / "training_curves.png", info["history"])
    card = model_card(task, made.manifest, made.figures, info, made.fitted.report)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _is_done(folder: Path, run: str) -> bool:
    """Whether the folder holds the finished result of this very run: a later step of it was interrupted."""
    path = folder / "training_info.json"
    if not path.is_file():
        return False
    return bool(json.loads(path.read_text(encoding="utf-8")).get("run") == run)


def _place_of_run(folder: Path) -> Path:
    """Where the checkpoints lie while the model in ``folder`` is trained."""
    backup = folder.parent.name == "backups"
    version = folder.parents[1] if backup else folder
    return version.parent / RUNS / (f"{version.name}-{folder.name}" if backup else version.name)


def _save_weights(model: Any, folder: Path, task: Task, base: Path) -> list[str]:
    """Writes the weights; returns the files that the manifest vouches for."""
    if task.training.method == "full":
        from transformers import AutoTokenizer

        model.save_pretrained(str(folder), safe_serialization=True)
        AutoTokenizer.from_pretrained(str(base)).save_pretrained(str(folder))
        return [WEIGHTS, "config.json", "tokenizer.json"]
    # The name, not the folder that it was found in: that is this machine's.
    model.peft_config["default"].base_model_name_or_path = task.lora.base
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    return [ADAPTER, "adapter_config.json"]


def _auxiliary_rows(task: Task, source: Path | None) -> list[Example]:
    """Fine-label rows, without any text that stands in the task's validation or test split."""
    if task.auxiliary is None or not task.training.auxiliary_weight:
        return []
    kept_out = {row.text for row in held_out_rows(task, source)}
    rows = read_examples(task.auxiliary.set, "train", source, label_column=task.auxiliary.label_column)
    return [row for row in rows if row.text not in kept_out]


def _training_info(
    task: Task, rows: Sequence[Example], auxiliary: Sequence[Example], held_out: HeldOut, command: str
) -> dict[str, Any]:
    hashes: dict[str, str] = {split: data_hash(kept) for split, kept in held_out.items()}
    hashes |= {"train": data_hash(rows), "auxiliary": data_hash(auxiliary)}
    settings = task.model_dump(mode="json")
    packages = ("torch", "transformers", "peft", "scikit-learn")
    return {
        "command": command,
        "run": run_hash(settings["labels"], settings["lora"], settings["training"], hashes),
        "task": settings,
        "rows": len(rows),
        "rows_per_label": dict(Counter(label for row in rows for label in row.labels)),
        "auxiliary_rows": len(auxiliary),
        "data_sha256": hashes,
        "seed": task.training.seed,
        "packages": {name: package_version(name) for name in packages},
        "machine": platform.machine(),
    }


def _run_info(trained: Trained) -> dict[str, Any]:
    return {
        "seconds": round(trained.seconds),
        "precision": trained.plan.precision,
        "batch_size": trained.plan.batch_size,
        "gradient_accumulation": trained.plan.accumulation,
        "trained_weights": trained.plan.trained,
        "best_step": trained.best_step,
        "alarms": list(trained.alarms),
        "history": trained.history,
    }
