"""The ensemble and the policy: learned weights over the members, and from when on a backup is asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts import POLICY, BackupPolicy, Manifest, Policy, Rule, read_manifest, read_policy
from ..predictors import FloatArray, Spec, calibrate, load_predictor
from ..predictors.ensemble import SETUP, Pool
from .artifact_writer import replacing, write_json, write_manifest
from .data import load_split, prior_of, read_references, targets, texts_of
from .metrics import IntArray, evaluate, fit_calibration
from .tasks import Task

BACKUPS = ("second", "tfidf")
FOLDS = 10
EXTRA_WEIGHT = 0.3
"""Weight of an ensemble row that is not of the validation sets: enough to learn irony from, and 0.3 of 0.1, 0.3 and 1
kept the accuracy on the validation sets."""
PENALTY = 1e-3

log = logging.getLogger("healdag")


def train_ensemble(task: Task, source: Path | None, folder: Path, version: str, detector: Path | None) -> None:
    """Fits the ensemble on held-out rows, and the policy on its cross-validated answers.

    Args:
        folder: The artefact, with its adapter and the members in ``backups/`` in place.
        detector: Folder of the sarcasm adapter, where sarcasm can change the answer.
    """
    field = load_split(task, "validation", source)
    known = {row.text for row in field}
    extra = [row for row in read_references(task, task.ensemble, "validation", source) if row.text not in known]
    rows = [*field, *extra]
    truth = targets(rows, task.labels)
    in_field = np.arange(len(rows)) < len(field)
    backups = [name for name in BACKUPS if (folder / "backups" / name).is_dir()]
    members = member_probabilities(folder, task, texts_of(rows), backups)
    sarcasm = sarcasm_probabilities(detector, texts_of(rows)) if detector is not None else None
    weights = np.where(in_field, 1.0, EXTRA_WEIGHT)
    crossed = cross_validated(members, sarcasm, truth, weights, in_field, task.training.seed)
    temperature, bias = fit_calibration(crossed[in_field], truth[in_field], with_bias=True)
    pooled = calibrate(crossed, temperature, bias)
    manifest = Manifest(
        kind="ensemble",
        task=task.name,
        version=version,
        labels=task.labels,
        prior=prior_of(truth[in_field], len(task.labels)),
        temperature=temperature,
        bias=bias,
    )
    answers = {name: values[in_field] for name, values in members.items()} | {"ensemble": pooled[in_field]}
    policy = fit_policy(read_policy(folder), answers, truth[in_field])
    with replacing(folder / "backups" / "ensemble") as fresh:
        write_json(fresh / SETUP, fit_pool(members, sarcasm, truth, weights).model_dump(mode="json"))
        write_manifest(fresh, manifest, [SETUP])
        figures = {"rows": len(field), "extra_rows": len(extra)}
        write_json(fresh / "metrics.json", figures | evaluate_both(pooled, truth, in_field, task))
    write_json(folder / POLICY, policy.model_dump(mode="json"))
    log.info("policy: %s", policy)


def member_probabilities(
    folder: Path, task: Task, texts: Sequence[str], backups: Sequence[str]
) -> dict[str, FloatArray]:
    """What the primary ('model') and each backup say: arrays of shape (n, labels) by name."""
    places = {"model": folder, **{name: folder / "backups" / name for name in backups}}
    return {
        name: load_predictor(read_manifest(place).kind, Spec(task.labels, place)).predict_proba(texts)
        for name, place in places.items()
    }


def sarcasm_probabilities(detector: Path, texts: Sequence[str]) -> FloatArray:
    """The detector's probability that each text is sarcastic, shape (n,)."""
    manifest = read_manifest(detector)
    values = load_predictor(manifest.kind, Spec(manifest.labels, detector)).predict_proba(texts)
    return values[:, manifest.labels.index("sarcastic")]


def fit_pool(members: dict[str, FloatArray], sarcasm: FloatArray | None, truth: IntArray, weights: FloatArray) -> Pool:
    """The pool with the least weighted log loss; a small penalty keeps biases and shifts near 0."""
    from scipy.optimize import minimize

    names, arrays = tuple(members), list(members.values())
    n, k = arrays[0].shape
    m = len(names)

    def pool_of(x: FloatArray) -> Pool:
        return Pool(
            members=names,
            weights=tuple(x[:m].tolist()),
            bias=tuple(x[m : m + k].tolist()),
            sarcasm_shift=() if sarcasm is None else tuple(x[m + k : m + 2 * k].tolist()),
            sarcasm_scale=0.0 if sarcasm is None else float(x[-1]),
        )

    def loss(x: FloatArray) -> float:
        right = calibrate(pool_of(x).logits(arrays, sarcasm))[np.arange(n), truth]
        logs = np.log(np.clip(right, 1e-12, 1.0))
        return float(-(weights * logs).sum() / weights.sum() + PENALTY * (x[m:] ** 2).sum())

    start = np.zeros(m + k + (0 if sarcasm is None else k + 1))
    start[0] = 1.0
    return pool_of(np.round(minimize(loss, start, method="L-BFGS-B").x, 5))


def cross_validated(
    members: dict[str, FloatArray],
    sarcasm: FloatArray | None,
    truth: IntArray,
    weights: FloatArray,
    in_field: Any,
    seed: int,
) -> FloatArray:
    """Logits for each row by a pool that has not seen it, of shape (n, labels)."""
    from sklearn.model_selection import StratifiedKFold

    result: FloatArray = np.zeros(next(iter(members.values())).shape)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fit, held_out in folds.split(result, truth * 2 + in_field):
        pool = fit_pool(
            {name: values[fit] for name, values in members.items()},
            None if sarcasm is None else sarcasm[fit],
            truth[fit],
            weights[fit],
        )
        values = [member[held_out] for member in members.values()]
        result[held_out] = pool.logits(values, None if sarcasm is None else sarcasm[held_out])
    return result


def fit_policy(policy: Policy, answers: dict[str, FloatArray], truth: IntArray) -> Policy:
    """The threshold with the best held-out accuracy, and what each backup fixed and broke below it.

    Of thresholds as good as the best within one row in two thousand the lowest is taken: it asks the backups least.
    A backup that fixes no more than it breaks never overrides; it still speaks through the ensemble.

    Args:
        policy: What is known so far.
        answers: Probabilities of shape (n, labels) of 'model', of each backup, and last of 'ensemble'.
        truth: Column of the right label, shape (n,).
    """
    right = {name: values.argmax(axis=1) == truth for name, values in answers.items()}
    confidence = answers["model"].max(axis=1)
    grid = [round(0.01 * step, 2) for step in range(30, 100)]
    accuracy = [float(np.where(confidence < t, right["ensemble"], right["model"]).mean()) for t in grid]
    threshold = next(t for t, a in zip(grid, accuracy, strict=True) if a >= max(accuracy) - 0.0005)
    backups: dict[str, BackupPolicy] = {}
    for name, values in answers.items():
        if name == "model":
            continue
        rule: Rule = "always" if name == "ensemble" else "surer"
        overrides = (confidence < threshold) & ((values.max(axis=1) > confidence) | (rule == "always"))
        fixed = int((overrides & right[name] & ~right["model"]).sum())
        broke = int((overrides & ~right[name] & right["model"]).sum())
        backups[name] = BackupPolicy(rule=rule if fixed > broke else "never", n=len(truth), fixed=fixed, broke=broke)
    if backups["ensemble"].rule == "always":
        # The ensemble has the last word and includes the others' evidence; alone they are asked for it only.
        backups = {n: b if n == "ensemble" else b.model_copy(update={"rule": "never"}) for n, b in backups.items()}
    return policy.model_copy(update={"threshold": threshold, "backups": backups})


def evaluate_both(stacked: FloatArray, truth: IntArray, in_field: Any, task: Task) -> dict[str, Any]:
    """Figures on the validation rows, and on the extra rows."""
    figures = {"validation": evaluate(stacked[in_field], truth[in_field], task.labels)}
    if not in_field.all():
        figures["extra"] = evaluate(stacked[~in_field], truth[~in_field], task.labels)
    return figures
