"""The ensemble and the policy: learned weights over the members, and from when on a backup is asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...artifacts import (
    MANIFEST,
    POLICY,
    BackupPolicy,
    FirstStage,
    Manifest,
    Policy,
    Rule,
    read_manifest,
    read_policy,
    replacing,
)
from ...errors import UsageError
from ...predictors import FloatArray, Spec, calibrate, decide, list_confidence, load_predictor, logits_of
from ...predictors.ensemble import SETUP, Irony, Pool, evidence_of
from ..artifact_writer import write_json, write_manifest
from ..calibrating import CALIBRATION
from ..data import load_split, prior_of, read_references, targets, texts_of
from ..evaluation.calibration import Fitted, fit_calibration
from ..evaluation.metrics import IntArray, Objective, accuracy, evaluate, fit_thresholds, row_losses
from ..tasks import Task
from .list_confidence import fit_list_confidence

FIRST_BACKUPS = ("second", "tfidf")
"""These are asked first; other backups follow by name."""
ENSEMBLE = "ensemble"
IRONY = "irony"
"""A backup of this name was trained on ironic texts alone: it is asked what is meant, and is no member of the pool."""
FOLDS = 10
EXTRA_WEIGHT = 0.3
"""Weight of a sincere row that is not of the validation sets, in the fit of the pool."""
PENALTY = 1e-3
IRONY_WEIGHT = 0.5
"""Weight of a row beside the validation sets in the fit of irony. The validation sets do not say which of their texts
are ironic, and their annotators labelled what a text seems to say. For emotion 1.1.0, six settings were looked at on
validation rows: with EXTRA_WEIGHT 0.3 and this weight 0.5, 1 and 2 the graph is right on 0.720, 0.718 and 0.717 of the
validation sets (EXTRA_WEIGHT 0.05: 0.719, 0.719, 0.719) and on 0.378, 0.372 and 0.382 of our ironic texts where only
doubt calls it (0.401, 0.425 and 0.437 where it is always asked)."""
CHEAP = "tfidf"
"""The backup that can be asked first, before the larger models."""
CHEAP_LOSS = 0.003
"""Accuracy that all the texts together may lose by that."""
CHEAP_SHARE = 0.05
"""Share of the texts that it has to answer to pay for being asked about all of them."""
KEPT_GAIN = 0.95
SMOOTHING = 5.0
"""Rows' worth of the overall shares that each row of the irony matrix starts with."""

BoolArray = npt.NDArray[np.bool_]

log = logging.getLogger("healdag")


def train_ensemble(
    task: Task, source: Path | None, folder: Path, version: str, detector: Path | None, *, irony: Irony | None = None
) -> Fitted | None:
    """Fits the ensemble on held-out rows, and the policy on its cross-validated answers.

    Args:
        folder: The artefact, with its model and the members in ``backups/`` in place; without any backup nothing is
            fitted.
        detector: Folder of the sarcasm adapter, where sarcasm can change the answer; a multi-label task has none.
        irony: What irony does to an answer, learned before; kept where no held-out row is known to be sarcastic.

    Returns:
        The ensemble's calibration, fitted on the validation rows; None without any backup.

    Raises:
        UsageError: there are too few held-out rows.
    """
    backups = backups_in(folder)
    if not backups:
        log.info("no backups in %s: no ensemble", folder)
        return None
    multi = task.multi_label
    field = load_split(task, "validation", source)
    known = {row.text for row in read_references(task, task.validation, "validation", source)}
    extra = [row for row in read_references(task, task.ensemble, "validation", source) if row.text not in known]
    rows = [*field, *extra]
    truth = targets(rows, task.labels, multi_label=multi)
    in_field = np.arange(len(rows)) < len(field)
    members = member_probabilities(folder, task, texts_of(rows), backups)
    sarcasm = sarcasm_probabilities(detector, texts_of(rows)) if detector is not None and not multi else None
    intended = members.get(IRONY) if sarcasm is not None else None
    pooling = {name: values for name, values in members.items() if intended is None or name != IRONY}
    sarcastic = np.array([row.sarcastic for row in rows])
    evidence = Evidence(pooling, sarcasm, truth, in_field, sarcastic, intended, irony)
    crossed = logits_of(cross_validated(evidence, task.training.seed), multi_label=multi)
    fitted = fit_calibration(crossed[in_field], truth[in_field], multi_label=multi)
    pooled = calibrate(crossed, fitted.calibration, multi_label=multi)
    manifest = Manifest(
        kind="ensemble",
        task=task.name,
        version=version,
        labels=task.labels,
        prior=prior_of(truth[in_field], len(task.labels)),
        multi_label=multi,
        calibration=fitted.calibration,
    )
    answers = {name: values[in_field] for name, values in members.items()} | {ENSEMBLE: pooled[in_field]}
    policy = fit_policy(read_policy(folder), answers, truth[in_field], decision=task.decision)
    with replacing(folder / "backups" / ENSEMBLE) as fresh:
        write_json(fresh / SETUP, fit_pool(evidence).model_dump(mode="json"))
        write_manifest(fresh, manifest, [SETUP])
        write_json(fresh / CALIBRATION, fitted.report)
        figures = {"rows": len(field), "extra_rows": len(extra)}
        measured = pooled.copy()
        measured[in_field] = fitted.crossed
        write_json(fresh / "metrics.json", figures | evaluate_both(measured, truth, in_field, task, policy))
    write_json(folder / POLICY, policy.model_dump(mode="json"))
    log.info("policy: %s", policy)
    return fitted


def backups_in(folder: Path) -> list[str]:
    """Names of the artefact's backups beside the ensemble, in the order in which they are asked."""
    there = {path.parent.name for path in (folder / "backups").glob(f"*/{MANIFEST}")} - {ENSEMBLE}
    names = sorted(name for name in there if not name.startswith("."))
    return [name for name in FIRST_BACKUPS if name in names] + [name for name in names if name not in FIRST_BACKUPS]


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
        truth: Column of the right label, shape (n,); multi-label: 0 or 1, shape (n, labels).
        in_field: Which rows are of the validation sets, shape (n,).
        sarcastic: Which rows are known to be sarcastic, shape (n,).
        intended: What is meant if the text is ironic, by a model of that: shape (n, labels); None without one.
        irony: What irony does to an answer, taken as it is where no row is known to be sarcastic; None: nothing.
    """

    members: dict[str, FloatArray]
    sarcasm: FloatArray | None
    truth: IntArray
    in_field: BoolArray
    sarcastic: BoolArray
    intended: FloatArray | None = None
    irony: Irony | None = None

    def at(self, rows: Any) -> Evidence:
        """The evidence of these rows."""
        return Evidence(
            {name: values[rows] for name, values in self.members.items()},
            None if self.sarcasm is None else self.sarcasm[rows],
            self.truth[rows],
            self.in_field[rows],
            self.sarcastic[rows],
            None if self.intended is None else self.intended[rows],
            self.irony,
        )

    @property
    def multi_label(self) -> bool:
        """Whether a row can have several labels, or none."""
        return self.truth.ndim == 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and labels."""
        n, k = next(iter(self.members.values())).shape
        return n, k

    def combine(self, pool: Pool) -> FloatArray:
        """The pool's answers, shape (n, labels)."""
        return pool.combine(list(self.members.values()), self.sarcasm, self.intended)

    def loss(self, probabilities: FloatArray, weights: FloatArray) -> float:
        """Weighted log loss of a single-label task."""
        right = np.clip(probabilities[np.arange(len(self.truth)), self.truth], 1e-12, 1.0)
        return float(-(weights * np.log(right)).sum() / weights.sum())


def fit_pool(evidence: Evidence) -> Pool:
    """Weights (0 at least) and bias from the sincere rows; then, where sarcasm plays a part, irony from all of them."""
    from scipy.optimize import minimize

    sincere = evidence.at(~evidence.sarcastic)
    multi, (_, k) = evidence.multi_label, evidence.shape
    share = np.where(sincere.in_field, 1.0, EXTRA_WEIGHT)
    share /= share.sum()
    # Shape (members, rows, labels): what the weights multiply.
    given = np.stack([evidence_of(values, multi_label=multi) for values in sincere.members.values()])
    right = sincere.truth if multi else np.eye(k)[sincere.truth]
    m = len(given)

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        """The log loss (multi-label: summed over the labels) with its gradient."""
        bias = x[m:]
        pooled = np.tensordot(x[:m], given, axes=1) + bias
        total = np.logaddexp(0, pooled).sum(axis=1) if multi else np.logaddexp.reduce(pooled, axis=1)
        gap = share[:, None] * (calibrate(pooled, multi_label=multi) - right)
        slope = np.concatenate([np.einsum("mnk,nk->m", given, gap), gap.sum(axis=0) + 2 * PENALTY * bias])
        return float(share @ (total - (right * pooled).sum(axis=1))) + PENALTY * float((bias**2).sum()), slope

    start = np.zeros(m + k)
    start[0] = 1.0
    # No weight below 0: to answer against what a member says is right by chance on these rows, wrong on others.
    limits = [(0.0, None)] * m + [(None, None)] * k
    x = np.round(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits).x, 5)
    pool = Pool(
        members=tuple(sincere.members), weights=tuple(x[:m].tolist()), bias=tuple(x[m:].tolist()), multi_label=multi
    )
    if evidence.sarcasm is None:
        return pool
    irony = fit_irony(evidence, pool) if evidence.sarcastic.any() else evidence.irony
    return pool.model_copy(update={"irony": irony})


def fit_irony(evidence: Evidence, pool: Pool) -> Irony:
    """What is meant, counted on the rows known to be sarcastic; how far to trust the detector, on all rows."""
    from scipy.optimize import minimize

    ironic = evidence.at(evidence.sarcastic)
    said = ironic.combine(pool)
    k = said.shape[1]
    shares = (np.bincount(ironic.truth, minlength=k) + 1.0) / (len(ironic.truth) + k)
    counts = said.T @ np.eye(k)[ironic.truth] + SMOOTHING * shares
    meant = np.round(counts / counts.sum(axis=1, keepdims=True), 5)
    weights_of_meant = _intent_weights(ironic, said @ meant)
    everything = evidence.combine(pool)
    weights = np.where(evidence.in_field, 1.0, IRONY_WEIGHT)

    def irony_of(x: FloatArray) -> Irony:
        return Irony(
            offset=float(x[0]),
            slope=float(np.exp(x[1])),
            meant=tuple(map(tuple, meant.tolist())),
            member=None if evidence.intended is None else IRONY,
            weights=weights_of_meant,
        )

    def loss(x: FloatArray) -> float:
        assert evidence.sarcasm is not None
        return evidence.loss(irony_of(x).apply(everything, evidence.sarcasm, evidence.intended), weights)

    # The loss has a flat region where irony plays no part: several starts.
    starts = ([-1.0, 0.0], [-2.0, 1.0], [-3.0, 0.5])
    best = min((minimize(loss, start, method="L-BFGS-B") for start in starts), key=lambda found: float(found.fun))
    return irony_of(np.round(best.x, 5))


def _intent_weights(ironic: Evidence, table: FloatArray) -> tuple[float, float]:
    """Weights (0 at least) of the table and of the model of irony that fit best what ironic rows mean."""
    from scipy.optimize import minimize

    if ironic.intended is None:
        return 1.0, 0.0
    given = evidence_of(table), evidence_of(ironic.intended)
    even = np.ones(len(table))

    def loss(x: FloatArray) -> float:
        return ironic.loss(calibrate(x[0] * given[0] + x[1] * given[1]), even)

    x = np.round(minimize(loss, np.array([0.5, 0.5]), method="L-BFGS-B", bounds=[(0.0, None)] * 2).x, 5)
    return float(x[0]), float(x[1])


def cross_validated(evidence: Evidence, seed: int) -> FloatArray:
    """Probabilities for each row by a pool that has not seen it, of shape (n, labels).

    Raises:
        UsageError: there are fewer than two rows.
    """
    result: FloatArray = np.zeros(evidence.shape)
    folds = folds_of(evidence, seed)
    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        result[held_out] = evidence.at(held_out).combine(fit_pool(evidence.at(~held_out)))
    return result


def folds_of(evidence: Evidence, seed: int) -> IntArray:
    """Fold of each row, shape (n,): ten at most, every label spread over them as evenly as its rows allow.

    Raises:
        UsageError: there are fewer than two rows.
    """
    n, k = evidence.shape
    if n < 2:
        raise UsageError(f"the weights of an ensemble are learned on held-out rows; there are {n}, give two at least")
    label = evidence.truth
    if evidence.multi_label:  # a row goes with its rarest label; k stands for none
        rarity = np.argsort(np.argsort(label.sum(axis=0)))
        label = np.where(label == 1, rarity, k).min(axis=1)
    shuffled = np.random.default_rng(seed).permutation(n)
    # Dealt out like cards, stratum after stratum, so that no fold stays empty.
    order = shuffled[np.argsort((label * 2 + evidence.in_field)[shuffled], kind="stable")]
    folds = np.zeros(n, dtype=np.int64)
    folds[order] = np.arange(n) % min(FOLDS, n)
    return folds


def fit_policy(
    policy: Policy, answers: dict[str, FloatArray], truth: IntArray, decision: Objective = "argmax"
) -> Policy:
    """The threshold below which asking the backups pays, and what each backup fixed and broke there.

    For the decisions 'argmax' and 'f1' it is the one with the best accuracy or F1 of the first label on held-out rows;
    of thresholds as good as the best within 0.0005 the lowest, which asks the backups least. Macro-F1 is decided by
    the few rows of the rarest label and moves more by chance than by the threshold (of 'hate' 0.7635 to 0.7640 on
    2,477 rows for any threshold from 0.5 to 1), so there, and for lists of labels, it is the lowest one that keeps
    KEPT_GAIN of the log loss which always asking would save.
    A backup that fixes no more than it breaks never overrides; it still speaks through the ensemble. Right is right
    as a whole: a list with one wrong label is wrong.

    Args:
        policy: What is known so far.
        answers: Probabilities of shape (n, labels) of 'model', of each backup, and last of 'ensemble'.
        truth: Column of the right label, shape (n,); multi-label: 0 or 1, shape (n, labels).
        decision: 'argmax', 'f1' or 'macro_f1'.
    """
    multi = truth.ndim == 2
    cut = fit_thresholds(answers[ENSEMBLE], truth, decision, multi_label=multi)
    said = {name: decide(values, cut, multi_label=multi) for name, values in answers.items()}
    right = {name: _right(truth, answer) for name, answer in said.items()}
    # One pair for whoever answers, so from the answers of both who mostly do.
    both = np.vstack([answers["model"], answers[ENSEMBLE]])
    pair = fit_list_confidence(both, np.vstack([truth, truth]), cut) if multi else None
    sure = {
        name: list_confidence(values, said[name], pair) if multi else values.max(axis=1)
        for name, values in answers.items()
    }
    confidence = sure["model"]
    grid = [round(0.01 * step, 2) for step in range(0 if multi else 30, 101)]
    scores = [_score(_escalated(confidence < t, said), truth, decision) for t in grid]
    margin = 0.0005
    if decision == "macro_f1" or multi:
        scores = [_log_gain(confidence < t, answers, truth) for t in grid]
        margin = (1 - KEPT_GAIN) * max(*scores, 0.0)
    threshold = next(t for t, score in zip(grid, scores, strict=True) if score >= max(scores) - margin)
    backups: dict[str, BackupPolicy] = {}
    for name in answers:
        if name == "model":
            continue
        rule: Rule = "always" if name == ENSEMBLE else "surer"
        overrides = (confidence < threshold) & ((sure[name] > confidence) | (rule == "always"))
        fixed = int((overrides & right[name] & ~right["model"]).sum())
        broke = int((overrides & ~right[name] & right["model"]).sum())
        backups[name] = BackupPolicy(rule=rule if fixed > broke else "never", n=len(truth), fixed=fixed, broke=broke)
    if backups[ENSEMBLE].rule == "always":
        # The ensemble has the last word and includes the others' evidence; alone they are asked for it only.
        backups = {n: b if n == ENSEMBLE else b.model_copy(update={"rule": "never"}) for n, b in backups.items()}
    found: dict[str, Any] = {
        "threshold": threshold,
        "thresholds": cut,
        "set_calibration": pair,
        "backups": backups,
        "first": None,
    }
    if CHEAP in answers:
        whole = np.where(confidence < threshold, right[ENSEMBLE], right["model"])
        found["first"] = fit_first_stage(sure[CHEAP], right[CHEAP], whole)
    return policy.model_copy(update=found)


def fit_first_stage(sure: FloatArray, right: BoolArray, whole: BoolArray) -> FirstStage | None:
    """The lowest confidence from which the cheap model's answers can stand for the whole graph's.

    What all the rows lose by it, with one standard error on top, stays within CHEAP_LOSS there and at every stricter
    threshold.

    Args:
        sure: Its confidence, shape (n,).
        right: Whether it is right, shape (n,).
        whole: Whether the graph is right without it, shape (n,).

    Returns:
        None where it would answer less than CHEAP_SHARE of the rows.
    """
    n = len(sure)
    order = np.argsort(-sure, kind="stable")
    differs = (whole[order].astype(int) - right[order].astype(int)).astype(float)
    loss, squares = np.cumsum(differs) / n, np.cumsum(differs**2) / n
    bound = loss + np.sqrt(np.maximum(squares - loss**2, 0.0) / n)
    held = n if (bound <= CHEAP_LOSS).all() else int(np.argmax(bound > CHEAP_LOSS))
    # A threshold takes all that are equally sure.
    while 0 < held < n and sure[order[held]] == sure[order[held - 1]]:
        held -= 1
    if held < CHEAP_SHARE * n:
        return None
    threshold, lost = float(sure[order[held - 1]]), round(float(loss[held - 1]), 5)
    return FirstStage(by=CHEAP, threshold=threshold, n=n, share=round(held / n, 4), loss=lost)


def _right(truth: IntArray, said: IntArray) -> BoolArray:
    """Which rows are right as a whole, shape (n,)."""
    same: BoolArray = np.asarray(said == truth)
    return np.asarray(same.all(axis=1)) if same.ndim == 2 else same


def _escalated(doubted: BoolArray, said: dict[str, IntArray]) -> IntArray:
    """The ensemble's answer where the model's is doubted."""
    rows = doubted[:, None] if said["model"].ndim == 2 else doubted
    return np.where(rows, said[ENSEMBLE], said["model"])


def _score(said: IntArray, truth: IntArray, decision: Objective) -> float:
    from sklearn.metrics import f1_score

    if decision == "f1" and truth.ndim == 1:
        return float(f1_score(truth == 0, said == 0, zero_division=0))
    return accuracy(truth, said)


def _log_gain(doubted: BoolArray, answers: dict[str, FloatArray], truth: IntArray) -> float:
    """Log loss, summed over rows, that the ensemble's probabilities save on the doubted ones."""
    losses = {name: row_losses(answers[name], truth) for name in ("model", ENSEMBLE)}
    return float((losses["model"] - losses[ENSEMBLE])[doubted].sum())


def evaluate_both(
    stacked: FloatArray, truth: IntArray, in_field: BoolArray, task: Task, policy: Policy
) -> dict[str, Any]:
    """Figures on the validation rows, and on the extra rows."""

    def figures(rows: BoolArray) -> dict[str, Any]:
        return evaluate(stacked[rows], truth[rows], task.labels, policy.thresholds, multi_label=task.multi_label)

    return {"validation": figures(in_field)} | ({} if in_field.all() else {"extra": figures(~in_field)})
