"""The ensemble and the policy: learned weights over the members, and from when on a backup is asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifacts import POLICY, BackupPolicy, Manifest, Policy, Rule, read_manifest, read_policy
from ..predictors import FloatArray, Spec, calibrate, decide, load_predictor, logits_of
from ..predictors.ensemble import SETUP, Irony, Pool
from .artifact_writer import replacing, write_json, write_manifest
from .data import load_split, prior_of, read_references, targets, texts_of
from .metrics import IntArray, best_f1_thresholds, evaluate, fit_calibration
from .tasks import Task

BACKUPS = ("second", "tfidf")
FOLDS = 10
EXTRA_WEIGHT = 0.3
"""Weight of a sincere row that is not of the validation sets, in the fit of the pool."""
PENALTY = 1e-3
IRONY_WEIGHT = 2.0
"""Weight of a row beside the validation sets in the fit of irony. The validation sets do not say which of their texts
are ironic, and their annotators labelled what a text seems to say. Of 1, 2 and 3 (cross-validated accuracy there
0.724, 0.722 and 0.721, the adapter alone 0.719; on ironic rows 0.365, 0.378 and 0.386, alone 0.340) 2 was taken."""
SMOOTHING = 5.0
"""Rows' worth of the overall shares that each row of the irony matrix starts with."""

BoolArray = npt.NDArray[np.bool_]

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
    evidence = Evidence(members, sarcasm, truth, in_field, np.array([row.sarcastic for row in rows]))
    crossed = logits_of(cross_validated(evidence, task.training.seed))
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
    policy = fit_policy(read_policy(folder), answers, truth[in_field], decision=task.decision)
    with replacing(folder / "backups" / "ensemble") as fresh:
        write_json(fresh / SETUP, fit_pool(evidence).model_dump(mode="json"))
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


@dataclass(frozen=True)
class Evidence:
    """Held-out rows with what everybody said about them.

    Attributes:
        members: Probabilities of shape (n, labels) by name, the primary first.
        sarcasm: The detector's probabilities, shape (n,); None where sarcasm plays no part.
        truth: Column of the right label, shape (n,).
        in_field: Which rows are of the validation sets, shape (n,).
        sarcastic: Which rows are known to be sarcastic, shape (n,).
    """

    members: dict[str, FloatArray]
    sarcasm: FloatArray | None
    truth: IntArray
    in_field: BoolArray
    sarcastic: BoolArray

    def at(self, rows: Any) -> Evidence:
        """The evidence of these rows."""
        return Evidence(
            {name: values[rows] for name, values in self.members.items()},
            None if self.sarcasm is None else self.sarcasm[rows],
            self.truth[rows],
            self.in_field[rows],
            self.sarcastic[rows],
        )

    def combine(self, pool: Pool) -> FloatArray:
        """The pool's answers, shape (n, labels)."""
        return pool.combine(list(self.members.values()), self.sarcasm)

    def loss(self, probabilities: FloatArray, weights: FloatArray) -> float:
        """Weighted log loss."""
        right = np.clip(probabilities[np.arange(len(self.truth)), self.truth], 1e-12, 1.0)
        return float(-(weights * np.log(right)).sum() / weights.sum())


def fit_pool(evidence: Evidence) -> Pool:
    """Weights and bias from the sincere rows; then, where sarcasm plays a part, irony from all of them."""
    from scipy.optimize import minimize

    sincere = evidence.at(~evidence.sarcastic)
    weights = np.where(sincere.in_field, 1.0, EXTRA_WEIGHT)
    m, k = len(sincere.members), next(iter(sincere.members.values())).shape[1]

    def pool_of(x: FloatArray) -> Pool:
        return Pool(members=tuple(sincere.members), weights=tuple(x[:m].tolist()), bias=tuple(x[m:].tolist()))

    def loss(x: FloatArray) -> float:
        return sincere.loss(sincere.combine(pool_of(x)), weights) + PENALTY * float((x[m:] ** 2).sum())

    start = np.zeros(m + k)
    start[0] = 1.0
    pool = pool_of(np.round(minimize(loss, start, method="L-BFGS-B").x, 5))
    if evidence.sarcasm is None or not evidence.sarcastic.any():
        return pool
    return pool.model_copy(update={"irony": fit_irony(evidence, pool)})


def fit_irony(evidence: Evidence, pool: Pool) -> Irony:
    """What is meant, counted on the rows known to be sarcastic; how far to trust the detector, on all rows."""
    from scipy.optimize import minimize

    ironic = evidence.at(evidence.sarcastic)
    said = ironic.combine(pool)
    k = said.shape[1]
    shares = (np.bincount(ironic.truth, minlength=k) + 1.0) / (len(ironic.truth) + k)
    counts = said.T @ np.eye(k)[ironic.truth] + SMOOTHING * shares
    meant = np.round(counts / counts.sum(axis=1, keepdims=True), 5)
    everything = evidence.combine(pool)
    weights = np.where(evidence.in_field, 1.0, IRONY_WEIGHT)

    def irony_of(x: FloatArray) -> Irony:
        return Irony(offset=float(x[0]), slope=float(np.exp(x[1])), meant=tuple(map(tuple, meant.tolist())))

    def loss(x: FloatArray) -> float:
        assert evidence.sarcasm is not None
        return evidence.loss(irony_of(x).apply(everything, evidence.sarcasm), weights)

    # The loss has a flat region where irony plays no part: several starts.
    starts = ([-1.0, 0.0], [-2.0, 1.0], [-3.0, 0.5])
    best = min((minimize(loss, start, method="L-BFGS-B") for start in starts), key=lambda found: float(found.fun))
    return irony_of(np.round(best.x, 5))


def cross_validated(evidence: Evidence, seed: int) -> FloatArray:
    """Probabilities for each row by a pool that has not seen it, of shape (n, labels)."""
    from sklearn.model_selection import StratifiedKFold

    result: FloatArray = np.zeros(next(iter(evidence.members.values())).shape)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fit, held_out in folds.split(result, evidence.truth * 2 + evidence.in_field):
        result[held_out] = evidence.at(held_out).combine(fit_pool(evidence.at(fit)))
    return result


def fit_policy(policy: Policy, answers: dict[str, FloatArray], truth: IntArray, decision: str = "argmax") -> Policy:
    """The threshold with the best held-out score, and what each backup fixed and broke below it.

    The score is the accuracy, or for the decision 'f1' the F1 of the first label. Of thresholds as good as the best
    within 0.0005 the lowest is taken: it asks the backups least.
    A backup that fixes no more than it breaks never overrides; it still speaks through the ensemble.

    Args:
        policy: What is known so far.
        answers: Probabilities of shape (n, labels) of 'model', of each backup, and last of 'ensemble'.
        truth: Column of the right label, shape (n,).
        decision: 'argmax' or 'f1'.
    """
    cut = best_f1_thresholds(answers["ensemble"], truth) if decision == "f1" else None
    said = {name: decide(values, cut) for name, values in answers.items()}
    right = {name: answer == truth for name, answer in said.items()}
    confidence = answers["model"].max(axis=1)
    grid = [round(0.01 * step, 2) for step in range(30, 101)]
    scores = [_score(np.where(confidence < t, said["ensemble"], said["model"]), truth, decision) for t in grid]
    threshold = next(t for t, score in zip(grid, scores, strict=True) if score >= max(scores) - 0.0005)
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
    return policy.model_copy(update={"threshold": threshold, "thresholds": cut, "backups": backups})


def _score(said: IntArray, truth: IntArray, decision: str) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(truth == 0, said == 0, zero_division=0) if decision == "f1" else (said == truth).mean())


def evaluate_both(stacked: FloatArray, truth: IntArray, in_field: Any, task: Task) -> dict[str, Any]:
    """Figures on the validation rows, and on the extra rows."""
    figures = {"validation": evaluate(stacked[in_field], truth[in_field], task.labels)}
    if not in_field.all():
        figures["extra"] = evaluate(stacked[~in_field], truth[~in_field], task.labels)
    return figures
