"""The ensemble and the policy: learned weights over the members, and from when on a backup is asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts import POLICY, BackupPolicy, Manifest, Policy, Rule, read_manifest, read_policy
from ..predictors import FloatArray, Spec, calibrate, load_predictor, log_probabilities
from ..predictors.ensemble import SETUP, Setup, stack_features
from ..predictors.tfidf import MODEL
from .artifact_writer import replacing, write_json, write_manifest
from .data import load_split, prior_of, read_references, targets, texts_of
from .metrics import IntArray, evaluate, fit_calibration
from .tasks import Task

MEMBERS = ("model", "tfidf")
FOLDS = 10

log = logging.getLogger("healdag")


def train_ensemble(task: Task, source: Path | None, folder: Path, version: str, detector: Path | None) -> None:
    """Fits the ensemble on held-out rows, and the policy on its cross-validated answers.

    Args:
        folder: The artefact, with its adapter and ``backups/tfidf`` in place.
        detector: Folder of the sarcasm adapter, where sarcasm can change the answer.
    """
    from skops.io import dump

    field = load_split(task, "validation", source)
    known = {row.text for row in field}
    extra = [row for row in read_references(task, task.ensemble, "validation", source) if row.text not in known]
    rows = [*field, *extra]
    truth = targets(rows, task.labels)
    in_field = np.arange(len(rows)) < len(field)
    members = member_probabilities(folder, task, texts_of(rows), detector)
    sarcasm = members.pop("sarcasm", None)
    features = stack_features([members[name] for name in MEMBERS], sarcasm)
    crossed = cross_validated(features, truth, in_field, task.training.seed)
    temperature, bias = fit_calibration(log_probabilities(crossed[in_field]), truth[in_field], with_bias=True)
    stacked = calibrate(log_probabilities(crossed), temperature, bias)
    model = _regression(task.training.seed).fit(features, truth.astype(str))
    manifest = Manifest(
        kind="ensemble",
        task=task.name,
        version=version,
        labels=task.labels,
        prior=prior_of(truth[in_field], len(task.labels)),
        temperature=temperature,
        bias=bias,
    )
    policy = fit_policy(
        read_policy(folder), members["model"][in_field], members["tfidf"][in_field], stacked[in_field], truth[in_field]
    )
    with replacing(folder / "backups" / "ensemble") as fresh:
        dump(model, fresh / MODEL)
        write_json(fresh / SETUP, Setup(members=MEMBERS, sarcasm=sarcasm is not None).model_dump(mode="json"))
        write_manifest(fresh, manifest, [MODEL, SETUP])
        figures = {
            "rows": len(field),
            "extra_rows": len(extra),
            "cross_validated": evaluate_both(stacked, truth, in_field, task),
        }
        write_json(fresh / "metrics.json", figures)
    write_json(folder / POLICY, policy.model_dump(mode="json"))
    log.info("policy: %s", policy)


def member_probabilities(
    folder: Path, task: Task, texts: Sequence[str], detector: Path | None
) -> dict[str, FloatArray]:
    """What each member says: arrays of shape (n, labels), and for sarcasm of shape (n,)."""
    found: dict[str, FloatArray] = {}
    for name, place in (("model", folder), ("tfidf", folder / "backups" / "tfidf")):
        found[name] = load_predictor(read_manifest(place).kind, Spec(task.labels, place)).predict_proba(texts)
    if detector is not None:
        manifest = read_manifest(detector)
        predictor = load_predictor(manifest.kind, Spec(manifest.labels, detector))
        found["sarcasm"] = predictor.predict_proba(texts)[:, manifest.labels.index("sarcastic")]
    return found


def cross_validated(features: FloatArray, truth: IntArray, in_field: Any, seed: int) -> FloatArray:
    """Answers to each row by a stack that has not seen it, of shape (n, labels)."""
    from sklearn.model_selection import StratifiedKFold

    k = int(truth.max()) + 1
    result: FloatArray = np.zeros((len(truth), k))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fit, held_out in folds.split(features, truth * 2 + in_field):
        model = _regression(seed).fit(features[fit], truth[fit].astype(str))
        order = [int(c) for c in model[-1].classes_]
        result[np.ix_(held_out, order)] = model.predict_proba(features[held_out])
    return result


def fit_policy(policy: Policy, primary: FloatArray, tfidf: FloatArray, stacked: FloatArray, truth: IntArray) -> Policy:
    """The threshold with the best held-out accuracy, and what each backup fixed and broke below it.

    Of thresholds as good as the best within one row in two thousand the lowest is taken: it asks the backups least.
    """
    confidence = primary.max(axis=1)
    right_before = primary.argmax(axis=1) == truth
    right_after = stacked.argmax(axis=1) == truth
    grid = [round(0.01 * step, 2) for step in range(30, 100)]
    accuracy = [float(np.where(confidence < t, right_after, right_before).mean()) for t in grid]
    best = max(accuracy)
    threshold = next(t for t, a in zip(grid, accuracy, strict=True) if a >= best - 0.0005)
    asked = confidence < threshold

    def learned(right: Any, rule: Rule) -> BackupPolicy:
        fixed, broke = int((asked & right & ~right_before).sum()), int((asked & ~right & right_before).sum())
        return BackupPolicy(rule=rule if fixed > broke else "never", n=len(truth), fixed=fixed, broke=broke)

    surer = np.where(tfidf.max(axis=1) > confidence, tfidf.argmax(axis=1) == truth, right_before)
    backups = {"tfidf": learned(surer, "surer"), "ensemble": learned(right_after, "always")}
    return policy.model_copy(update={"threshold": threshold, "backups": backups})


def evaluate_both(stacked: FloatArray, truth: IntArray, in_field: Any, task: Task) -> dict[str, Any]:
    """Figures on the validation rows, and on the extra rows."""
    figures = {"validation": evaluate(stacked[in_field], truth[in_field], task.labels)}
    if not in_field.all():
        figures["extra"] = evaluate(stacked[~in_field], truth[~in_field], task.labels)
    return figures


def _regression(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, random_state=seed))
