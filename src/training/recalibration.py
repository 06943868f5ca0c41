"""What is fitted on a trained model's answers, fitted anew on held-out rows: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import MANIFEST, POLICY, Manifest, read_json, read_manifest, read_policy
from ..errors import UsageError
from ..predictors import FloatArray, Spec, load_predictor
from ..predictors.ensemble import SETUP, Pool
from .artifact_writer import write_json, write_manifest
from .calibrating import Calibrated, calibrate_and_measure, recalibrated, write_figures
from .data import data_hash, load_split, targets, texts_of
from .datasets import Example
from .ensembles.ensemble import ensemble_card
from .ensembles.stack import ENSEMBLE, IRONY, backups_in, sarcasm_probabilities, train_ensemble
from .evaluation.calibration import Fitted
from .evaluation.candidates import Artifact
from .evaluation.labelled import trained_task
from .evaluation.metrics import IntArray, one_hot, probability_figures
from .evaluation.plots import Reliability
from .model_card import model_card
from .tasks import Task

FEWEST = 50
"""Rows without which nothing is fitted: on fewer a calibration is worse than the one that is there."""


@dataclass(frozen=True)
class Refit:
    """A model of an artefact, calibrated anew.

    Attributes:
        name: 'model' for the primary, a backup's name, or 'ensemble'.
        method: Of the new calibration, see :class:`healdag.artifacts.Calibration`.
        answers: Probabilities of the rows as it was calibrated before, or where that was on these rows uncalibrated;
            and cross-validated as it is now.
    """

    name: str
    method: str
    answers: Reliability

    @property
    def before(self) -> dict[str, float]:
        """Figures of :func:`.evaluation.metrics.probability_figures` before."""
        return probability_figures(self.answers.before, self.answers.truth)

    @property
    def after(self) -> dict[str, float]:
        """The same after, cross-validated."""
        return probability_figures(self.answers.after, self.answers.truth)


def recalibrate(
    folder: Path,
    task: Task,
    source: Path | None,
    version: str,
    detector: Path | None,
    *,
    fresh: bool = False,
    command: str = "",
) -> list[Refit]:
    """Fits calibration, thresholds, the ensemble's weights and the policy of an artefact anew, in place.

    A backup named 'irony' stays as it is: it says what is meant where a text is ironic, and was calibrated on such.

    Args:
        folder: A copy of the artefact that nobody uses yet.
        task: Its validation split is what everything is fitted on; its test split, where it has one, is measured.
        version: What the artefact becomes.
        detector: Folder of the sarcasm adapter, where sarcasm can change the answer.
        fresh: Whether the calibration that is there was fitted on other rows.
        command: The command line that was typed, for training_info.json.

    Returns:
        The primary first, then the backups, the ensemble last.

    Raises:
        UsageError: too few rows, or a label that they do not tell apart.
    """
    rows = load_split(task, "validation", source)
    test = load_split(task, "test", source) if task.test else []
    truth = targets(rows, task.labels, multi_label=task.multi_label)
    _check_rows(truth, task)
    info = {"command": command, "from": read_manifest(folder).version, "rows": len(rows), "sha256": data_hash(rows)}
    places = {"model": folder, **{name: folder / "backups" / name for name in backups_in(folder)}}
    before: dict[str, FloatArray] = {}
    refits: list[Refit] = []
    for name, place in places.items():
        manifest = read_manifest(place).model_copy(update={"version": version})
        if name == IRONY and detector is not None:
            write_manifest(place, manifest, list(manifest.files))
            before[name] = load_predictor(manifest.kind, Spec(task.labels, place)).predict_proba(texts_of(rows))
            continue
        made = _refit(place, manifest, task, rows, test, info)
        before[name] = recalibrated(made.fitted.raw, manifest.calibration, multi_label=task.multi_label)
        refits.append(_compared(name, truth, before[name] if fresh else made.fitted.raw, made.fitted))
    ensemble = folder / "backups" / ENSEMBLE
    if (ensemble / MANIFEST).is_file():
        pool = Pool.model_validate(read_json(ensemble / SETUP))
        sarcasm = sarcasm_probabilities(detector, texts_of(rows)) if detector is not None and pool.irony else None
        pooled = pool.combine([before[name] for name in pool.members], sarcasm, before.get(IRONY))
        was = recalibrated(pooled, read_manifest(ensemble).calibration, multi_label=task.multi_label)
        fitted = train_ensemble(task, source, folder, version, detector, irony=pool.irony)
        if fitted is not None:
            refits.append(_compared(ENSEMBLE, truth, was if fresh else fitted.raw, fitted))
    return refits


def _compared(name: str, truth: IntArray, before: FloatArray, fitted: Fitted) -> Refit:
    return Refit(name, fitted.calibration.method, Reliability(name, truth, before, fitted.crossed))


def _check_rows(truth: IntArray, task: Task) -> None:
    if len(truth) < FEWEST:
        raise UsageError(
            f"{len(truth)} labelled texts are too few to calibrate {task.name!r} on; give {FEWEST} at least, "
            "a thousand are better"
        )
    right = truth if task.multi_label else one_hot(truth, len(task.labels))
    counts = dict(zip(task.labels, right.sum(axis=0).tolist(), strict=True))
    missing = [label for label, n in counts.items() if n == 0]
    always = [label for label, n in counts.items() if n == len(truth)]
    if missing or always:
        problem = f"no text has the label {missing}" if missing else f"every text has the label {always}"
        raise UsageError(
            f"of the {len(truth):,} labelled texts {problem}: how likely it is could not be told. Give texts with and "
            f"without each label of {task.name!r}: {', '.join(task.labels)}"
        )


def _refit(
    place: Path, manifest: Manifest, task: Task, rows: Sequence[Example], test: Sequence[Example], info: dict[str, Any]
) -> Calibrated:
    """One model's calibration and thresholds, with everything in its folder that speaks of them."""
    path = place / "training_info.json"
    known = read_json(path) if path.is_file() else {}
    # Its own task, which says how it decides and what it was trained on, with the rows that it is fitted on now.
    trained = trained_task(Artifact(manifest.task, place, manifest))
    same = ("name", "labels", "multi_label", "validation", "test")
    own = (trained or task).model_copy(update={name: getattr(task, name) for name in same})
    pictures = (place / "confusion_matrix.png").is_file()
    made = calibrate_and_measure(place, manifest, own, rows, test, pictures=pictures)
    write_manifest(place, made.manifest, list(manifest.files))
    if (place / POLICY).is_file():
        changes = {"thresholds": made.policy.thresholds, "set_calibration": made.policy.set_calibration}
        write_json(place / POLICY, read_policy(place).model_copy(update=changes).model_dump(mode="json"))
    write_figures(place, task.labels, made.figures, made.fitted.report)
    (place / "README.md").unlink(missing_ok=True)
    if known:
        write_json(path, {**known, "calibrated": info})
    if trained is not None and "task" in known:
        (place / "README.md").write_text(_card(own, made, known), encoding="utf-8")
    return made


def _card(task: Task, made: Calibrated, info: dict[str, Any]) -> str:
    if made.manifest.kind == "ensemble":
        return ensemble_card(made.manifest, made.figures, info, task)
    return model_card(task, made.manifest, made.figures, info, made.fitted.report)
