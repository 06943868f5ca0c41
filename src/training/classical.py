"""Classical baselines: TF-IDF with a linear model, calibrated on the validation split; a primary or a backup."""

from __future__ import annotations

import logging
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from ..artifacts import POLICY, Manifest, replacing
from ..errors import UsageError
from ..predictors.tfidf import MODEL
from .artifact_writer import write_json, write_manifest
from .calibrating import calibrate_and_measure
from .data import data_hash, prior_of, targets, texts_of
from .datasets import Example
from .evaluation.metrics import IntArray
from .tasks import Task

_Fit: TypeAlias = Callable[[Any, Any, str, int], Any]
"""Takes features, truth, the label where there is one only, and a seed; returns a fitted classifier."""
Kind: TypeAlias = Literal["tfidf", "tfidf_lr", "tfidf_svm"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DESCRIPTIONS: dict[Kind, str] = {
    "tfidf": "TF-IDF of hashed word 1-2-grams and character 2-5-grams with logistic regression",
    "tfidf_lr": "TF-IDF of the 10,000 most frequent word 1-3-grams with logistic regression (SAGA, balanced classes)",
    "tfidf_svm": "TF-IDF of the 10,000 most frequent word 1-3-grams with a linear SVM (balanced classes, sigmoid "
    "calibration)",
}
FEATURES = 10_000
FOLDS = 5
"""Folds that calibrate the SVM; fewer where a label has fewer rows."""
# C of both models: of 0.1, 0.2, 0.3, 1 (SVM) and 1, 3, 5 (logistic regression) about the best macro-F1 on the
# validation splits of GoEmotions (8 labels) and Davidson's hate speech.
LR_C, SVM_C = 3.0, 0.2

log = logging.getLogger("healdag")


def train_classical(
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    folder: Path,
    version: str,
    *,
    kind: Kind,
    as_backup: bool,
    command: str = "",
) -> Path:
    """Trains on ``train``, calibrates on ``validation``, measures on ``test`` and writes an artefact of kind 'tfidf'.

    Args:
        test: May be empty.
        folder: The task's artefact, ``models/<task>/<version>``.
        kind: 'tfidf', 'tfidf_lr' or 'tfidf_svm'; see DESCRIPTIONS.
        as_backup: Whether it becomes ``folder/backups/<kind>``, or ``folder`` itself: the primary.
        command: The command line that was typed, for training_info.json.

    Returns:
        The folder that was written.

    Raises:
        UsageError: the rows cannot train or calibrate the model; the message says what is missing.
    """
    from skops.io import dump

    from .pipeline import write_report

    task = task.model_copy(update={"training": task.training.model_copy(update={"method": kind})})
    start = time.monotonic()
    pipeline = fit_pipeline(task, train, kind)
    info = {**_training_info(task, train, validation, test, kind, command), "seconds": round(time.monotonic() - start)}
    place = folder / "backups" / kind if as_backup else folder
    with replacing(place) as fresh:
        dump(pipeline, fresh / MODEL, compression=8, compresslevel=9)
        truth = targets(validation, task.labels, multi_label=task.multi_label)
        manifest = Manifest(
            kind="tfidf",
            task=task.name,
            version=version,
            labels=task.labels,
            prior=prior_of(truth, len(task.labels)),
            multi_label=task.multi_label,
            sarcasm=task.sarcasm and not as_backup,
        )
        write_manifest(fresh, manifest, [MODEL])
        made = calibrate_and_measure(fresh, manifest, task, validation, test, pictures=not as_backup)
        write_manifest(fresh, made.manifest, [MODEL])
        if not as_backup:
            write_json(fresh / POLICY, made.policy.model_dump(mode="json"))
        write_report(fresh, task, made, info)
    log.info("%s on validation: macro-F1 %.3f", kind, made.figures["validation"]["macro_f1"])
    return place


def fit_pipeline(task: Task, rows: Sequence[Example], kind: Kind) -> Any:
    """A fitted scikit-learn pipeline of a kind: texts in, probabilities per label out.

    Raises:
        UsageError: no two rows differ in their labels, or the texts hold no words.
    """
    from sklearn.pipeline import make_pipeline

    if kind not in KINDS:
        raise UsageError(f"no classical model {kind!r}; there are: {', '.join(KINDS)}")
    truth = targets(rows, task.labels, multi_label=task.multi_label)
    _check_rows(truth, task)
    seed = task.training.seed
    vectorizer = _hashed_features() if kind == "tfidf" else _word_features()
    try:
        features = vectorizer.fit_transform(texts_of(rows))
    except ValueError as error:
        raise UsageError(f"the {len(rows)} training texts hold no words to learn from: {error}") from None
    if kind != "tfidf":
        # Plain numbers, which skops writes as one JSON object rather than as ten thousand files.
        vectorizer.vocabulary_ = {word: int(column) for word, column in vectorizer.vocabulary_.items()}
    fit = _FITS[kind]
    if task.multi_label:
        columns = zip(task.labels, truth.T, strict=True)
        model = _one_vs_rest([_fit_label(fit, features, column, label, seed) for label, column in columns], truth)
    else:
        model = fit(features, np.array([task.labels[column] for column in truth]), "", seed)
    return make_pipeline(vectorizer, model)


def _check_rows(truth: IntArray, task: Task) -> None:
    counts = truth.sum(axis=0) if task.multi_label else np.bincount(truth, minlength=len(task.labels))
    missing = [label for label, count in zip(task.labels, counts, strict=True) if count == 0]
    if len(truth) == 0 or (truth == truth[0]).all():
        raise UsageError(
            f"the {len(truth)} training rows of task {task.name!r} all have the same labels; there is nothing to "
            "learn: add rows with others"
        )
    if missing:
        log.warning("no training row has the label %s; it will not be answered", ", ".join(map(repr, missing)))


def _hashed_features() -> Any:
    """Word 1-2-grams and character 2-5-grams, hashed: the file needs no vocabulary and loads at once."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline, make_union

    def vectorizer(analyzer: str, ngrams: tuple[int, int], bits: int) -> Any:
        hashing = HashingVectorizer(
            analyzer=analyzer, ngram_range=ngrams, n_features=2**bits, alternate_sign=False, norm=None, dtype=np.float32
        )
        return make_pipeline(hashing, TfidfTransformer(sublinear_tf=True))

    return make_union(vectorizer("word", (1, 2), 16), vectorizer("char_wb", (2, 5), 17))


def _word_features() -> Any:
    """The most frequent word 1-3-grams; words of one letter count, for 'i' and 'a' matter in 'i am not'."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        max_features=FEATURES, ngram_range=(1, 3), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, dtype=np.float32
    )


def _fit_hashed_lr(features: Any, truth: Any, label: str, seed: int) -> Any:  # noqa: ARG001 - the signature of all three
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=3.0, class_weight="balanced", max_iter=200, random_state=seed).fit(features, truth)
    _shrink(model, digits=3)
    return model


def _fit_saga(features: Any, truth: Any, label: str, seed: int) -> Any:  # noqa: ARG001 - the signature of all three
    """Logistic regression with balanced classes, by SAGA.

    Its step size supposes that no row weighs more than 1; with class_weight='balanced' rare classes do, and it never
    settles (goemotions_8: not in 1,000 passes). So the weights are scaled to at most 1 and C by the inverse: the same
    objective, in 20 to 50 passes.
    """
    from sklearn.linear_model import LogisticRegression

    classes, counts = np.unique(truth, return_counts=True)
    balanced = len(truth) / (len(classes) * counts)
    weights = dict(zip(classes.tolist(), (balanced / balanced.max()).tolist(), strict=True))
    model = LogisticRegression(
        solver="saga",
        C=LR_C * float(balanced.max()),
        class_weight=weights,
        tol=1e-3,
        max_iter=2000,
        random_state=seed,
    ).fit(features, truth)
    _shrink(model, digits=4)
    return model


def _fit_svm(features: Any, truth: Any, label: str, seed: int) -> Any:
    """A linear SVM on all rows, with sigmoids fitted to scores of rows that it had not seen (Platt 1999)."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import LinearSVC

    classes, counts = np.unique(truth, return_counts=True)
    if counts.min() < 2:
        name = label or str(classes[counts.argmin()])
        raise UsageError(f"label {name!r} has or lacks one training row only; 'tfidf_svm' needs two; take 'tfidf_lr'")
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    svm = LinearSVC(C=SVM_C, class_weight="balanced", max_iter=5000, random_state=seed)
    model = CalibratedClassifierCV(svm, method="sigmoid", cv=folds, ensemble=False).fit(features, truth)
    model.cv = folds.n_splits  # the splitter itself is a type that skops does not trust, and has done its work
    _shrink(model.calibrated_classifiers_[0].estimator, digits=4)
    return model


_FITS: dict[Kind, _Fit] = {
    "tfidf": _fit_hashed_lr,
    "tfidf_lr": _fit_saga,
    "tfidf_svm": _fit_svm,
}


def _fit_label(fit: _Fit, features: Any, truth: IntArray, label: str, seed: int) -> Any:
    """The model of one label; where every row or no row has it, its share, whatever the text."""
    from sklearn.linear_model import LogisticRegression

    there, n = int(truth.sum()), len(truth)
    if 0 < there < n:
        return fit(features, truth, label, seed)
    model = LogisticRegression()
    model.classes_ = np.array([0, 1])
    model.coef_ = np.zeros((1, features.shape[1]), dtype=np.float32)
    model.intercept_ = np.log([(there + 1) / (n - there + 1)]).astype(np.float32)
    model.n_features_in_ = features.shape[1]
    return model


def _one_vs_rest(models: list[Any], truth: IntArray) -> Any:
    """One fitted two-class model per label as a OneVsRestClassifier: the weights of SAGA differ by label."""
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import LabelBinarizer

    model = OneVsRestClassifier(models[0])
    model.estimators_ = models
    model.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(truth)
    model.classes_ = model.label_binarizer_.classes_
    model.n_features_in_ = models[0].n_features_in_
    return model


def _shrink(model: Any, *, digits: int) -> None:
    """Coefficients as 32-bit numbers, rounded: half the file, the same answers to 1e-3 of a logit."""
    model.coef_ = np.round(model.coef_, digits).astype(np.float32)
    model.intercept_ = np.asarray(model.intercept_).astype(np.float32)


def _training_info(
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    kind: Kind,
    command: str,
) -> dict[str, Any]:
    splits = {"train": train, "validation": validation, "test": test}
    return {
        "command": command,
        "model": DESCRIPTIONS[kind],
        "task": task.model_dump(mode="json"),
        "rows": len(train),
        "rows_per_label": dict(Counter(label for row in train for label in row.labels)),
        "data_sha256": {name: data_hash(rows) for name, rows in splits.items()},
        "seed": task.training.seed,
        "packages": {name: package_version(name) for name in ("scikit-learn", "skops")},
        "machine": platform.machine(),
    }
