"""Trains the next version from the one in use, without putting it into use."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import MANIFEST, POLICY, Manifest, read_json, read_manifest, read_policy
from ..config import TrainingSettings
from ..errors import ConfigError, UsageError
from ..training.artifact_writer import write_json, write_manifest
from ..training.datasets import Example
from ..training.ensembles.stack import ENSEMBLE, train_ensemble
from ..training.evaluation.candidates import Artifact
from ..training.evaluation.labelled import task_of, trained_task
from ..training.pipeline import model_of, train
from ..training.tasks import Task
from ..training.versions import next_version
from ..trust.fit import finish
from .state import STAGING

if TYPE_CHECKING:
    from ..training.finetuning.finetune import Plan

INFO = "training_info.json"
GOLDEN = 0.5
"""Share of the validation rows, those of the certificate aside, that are golden where the task does not say."""
_TRAINED_FROM_SCRATCH = ("full", "tfidf")


@dataclass(frozen=True)
class Recipe:
    """How a candidate is trained.

    The defaults were chosen on dair_emotion, with 300 of its training texts as corrections, on its validation rows and
    on those of the shipped emotion model's own data; see ``tuning`` in benchmarks/results/healing.json.

    Attributes:
        epochs: Passes over the corrections and the replayed rows.
        learning_rate: Times that of the incumbent's training: it is to move, not to start over.
        replay: Original training rows per correction.
        least_replay: Original training rows at least, as far as there are so many.
        weight: How often a correction counts in a pass, where a replayed row counts once: among so many rows that the
            model knows already it would be drowned. Adapters only; other models are trained from scratch, on each once.
        anchor: Share, 0 to 1, of the incumbent's weights in the candidate's. Adapters only.
    """

    epochs: float = 2.0
    learning_rate: float = 0.5
    replay: float = 4.0
    least_replay: int = 2000
    weight: int = 4
    anchor: float = 0.4

    def __post_init__(self) -> None:
        if self.weight < 1:
            raise ConfigError(f"weight={self.weight!r}: a correction counts once at least; the default is 4")
        if not 0 <= self.anchor < 1:
            raise ConfigError(f"anchor={self.anchor!r} is a share of weights: 0 or more, below 1; the default is 0.4")


def task_to_heal(found: Artifact, *, golden: bool) -> Task:
    """The task with the labels, the form and the shape of the version in use, and its training as it was at first.

    Args:
        found: The version in use.
        golden: Whether validation rows serve as the golden set; then nothing is fitted on them.

    Raises:
        UsageError: its kind cannot be trained further, or it is not known what it was trained on.
    """
    manifest, known, trained = found.manifest, task_of(found), trained_task(found)
    if manifest.kind not in ("lora", *_TRAINED_FROM_SCRATCH):
        raise UsageError(f"{found.name!r} is a model of kind {manifest.kind!r}; healing trains lora, full and tfidf")
    training = _first_training(found.folder) or (trained or known).training
    method = manifest.kind if manifest.kind in ("lora", "full") else training.method
    changes = {
        "name": manifest.task,
        "labels": manifest.labels,
        "multi_label": manifest.multi_label,
        "sarcasm": manifest.sarcasm,
        "training": training.model_copy(update={"method": method}),
        "augmentation": None,
        "golden": (known.golden or GOLDEN) if golden else 0.0,
    }
    if trained is not None:
        changes["lora"] = trained.lora
    return known.model_copy(update=changes)


def replayed(task: Task, corrections: int, recipe: Recipe) -> int | None:
    """How many original training rows are repeated beside so many corrections; None: all, for a training from scratch.

    >>> from healdag.training.tasks import load_task
    >>> replayed(load_task("emotion"), 100, Recipe()), replayed(load_task("emotion"), 1200, Recipe())
    (2000, 4800)
    """
    if task.training.method != "lora":
        return None
    return max(recipe.least_replay, round(recipe.replay * corrections))


def weighted(task: Task, learned: Sequence[Example], recipe: Recipe) -> list[Example]:
    """The corrections as they are trained on, each as often as it counts."""
    return [*learned] * (recipe.weight if task.training.method == "lora" else 1)


def train_candidate(
    found: Artifact,
    task: Task,
    source: Path | None,
    models: Path,
    rows: Sequence[Example],
    recipe: Recipe,
    *,
    command: str = "",
    announce: Callable[[Task, Plan], None] | None = None,
) -> Path:
    """Trains, calibrates and certifies a candidate; what was begun by an interrupted heal with these rows goes on.

    Args:
        found: The version in use, which an adapter's training starts from; others start from scratch.
        task: From :func:`task_to_heal`.
        source: Folder with the task's data sets.
        models: Folder of models.
        rows: What to train on.
        recipe: How.
        command: The command line that was typed.
        announce: Is told what will be trained before it starts.

    Returns:
        Its folder, which lies aside: see :func:`admit`.
    """
    base = found.manifest.base.name if found.manifest.base is not None else None
    version = next_version(models / task.name, task.labels, base, trained=True)
    healed = task.model_copy(update={"training": settings_of(task.training, recipe)})
    folder = train(
        healed,
        source=source,
        models=models / STAGING,
        version=version,
        steps=("model", "screen") if task.sarcasm else ("model",),
        command=command,
        announce=announce,
        rows=rows,
        start=found.folder if task.training.method == "lora" else None,
        anchor=recipe.anchor if task.training.method == "lora" else 0.0,
        promote=False,
    )
    info = read_json(folder / INFO)
    # As it was at first: the next heal is not to halve the learning rate again.
    write_json(folder / INFO, {**info, "first_training": task.training.model_dump(mode="json")})
    _keep_backups(found.folder, folder, healed, source, models, version)
    finish(healed, source, folder)
    return folder


def admit(folder: Path, models: Path) -> Path:
    """Makes a candidate a version of its task; it is not in use yet."""
    place = models / folder.parent.name / folder.name
    folder.rename(place)
    shutil.rmtree(models / STAGING / place.parent.name, ignore_errors=True)
    if not any((models / STAGING).iterdir()):
        (models / STAGING).rmdir()
    return place


def settings_of(training: TrainingSettings, recipe: Recipe) -> TrainingSettings:
    """How an adapter is trained further; a model of another kind is trained as it was at first."""
    if training.method != "lora":
        return training
    changes = {
        "epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate * training.learning_rate,
        "average_decay": 0.0,  # an average over so few steps would mostly be the incumbent
    }
    return training.model_copy(update=changes)


def _first_training(folder: Path) -> TrainingSettings | None:
    path = folder / INFO
    content = read_json(path).get("first_training") if path.is_file() else None
    return TrainingSettings.model_validate(content) if content is not None else None


def _keep_backups(before: Path, folder: Path, task: Task, source: Path | None, models: Path, version: str) -> None:
    """The incumbent's backups as they are; the ensemble and the policy are fitted anew, for the primary has changed."""
    shutil.rmtree(folder / "backups", ignore_errors=True)
    there = sorted(path.parent for path in (before / "backups").glob(f"[!.]*/{MANIFEST}"))
    for backup in there:
        if backup.name == ENSEMBLE:
            continue
        place = Path(shutil.copytree(backup, folder / "backups" / backup.name))
        manifest: Manifest = read_manifest(place)
        write_manifest(place, manifest.model_copy(update={"version": version}), list(manifest.files))
    if any(backup.name == ENSEMBLE for backup in there):
        detector = model_of(models, "sarcasm") if task.sarcasm else None
        train_ensemble(task, source, folder, version, detector)
    elif there:
        known = read_policy(before)
        policy = read_policy(folder).model_copy(update={"threshold": known.threshold, "backups": known.backups})
        write_json(folder / POLICY, policy.model_dump(mode="json"))
