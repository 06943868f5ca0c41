"""Another predictor's answers, restricted to some of its labels, and to the shares in which they are expected."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..config import ModelSettings
from ..errors import ConfigError
from .base import Answers, FloatArray, Predictor, Row, Spec, is_multi_label

_IMPOSSIBLE = "gives none of the labels asked for any probability"


class Restricted:
    """A predictor whose answer is known to be one of ``labels``. See :class:`~healdag.predictors.base.Predictor`.

    Dividing by the sum is the exact conditional probability P(label | one of the labels), so that calibrated
    probabilities stay calibrated for the texts whose label is among them. Where the labels are not as frequent as in
    the training data, ``label_prior`` corrects for it: p * share expected / share in training, renormalised
    (Saerens, Latinne & Decaestecker 2002, Neural Computation 14(1)). In a multi-label task each label stands by
    itself: the columns are picked, and the correction is made to each label's odds.

    Args:
        inner: The predictor.
        labels: Some of its labels, in the order wanted.
        label_prior: Share expected per label, or counts; multi-label: the share of texts that have it. None: as in
            the training data.
        prior: Shares in the training data of all of ``inner``'s labels; needed with ``label_prior``.

    Raises:
        ConfigError: fewer than two labels, one that ``inner`` does not have, or shares that are none.

    >>> from healdag.predictors.fake import FakePredictor
    >>> fake = FakePredictor(("joy", "anger", "neutral"), default={"joy": 0.1, "anger": 0.3, "neutral": 0.6})
    >>> Restricted(fake, ("anger", "joy")).predict_proba(["hm"]).round(2).tolist()
    [[0.75, 0.25]]
    """

    def __init__(
        self,
        inner: Predictor,
        labels: Sequence[str],
        *,
        label_prior: Mapping[str, float] | None = None,
        prior: Sequence[float] | None = None,
    ) -> None:
        self.inner = inner
        self.name = inner.name
        self.labels = check_labels(labels, inner.labels)
        self.multi_label = is_multi_label(inner)
        self._columns = [inner.labels.index(label) for label in self.labels]
        self._weights = np.ones(len(self.labels))
        self.version = inner.version
        if label_prior is not None:
            trained = np.array([1 / len(inner.labels)] * len(inner.labels) if prior is None else prior)[self._columns]
            expected = check_label_prior(label_prior, self.labels, multi_label=self.multi_label)
            self._weights = self._ratios(expected, trained)
        if self.labels != tuple(inner.labels) or label_prior is not None:
            content = json.dumps([self.labels, self._weights.tolist()])
            self.version = f"{inner.version}/{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (len(texts), len(labels)); each row sums to 1, unless multi-label.

        A row is NaN where ``inner`` could not answer, or gave these labels no probability at all.
        """
        return self.narrow(np.asarray(self.inner.predict_proba(texts), dtype=np.float64))

    def narrow(self, values: FloatArray) -> FloatArray:
        """``inner``'s probabilities, of shape (n, its labels), as this predictor's."""
        picked = values[:, self._columns]
        weighted = picked * self._weights
        total = weighted + (1.0 - picked) if self.multi_label else weighted.sum(axis=1, keepdims=True)
        result: FloatArray = np.divide(weighted, total, out=np.full_like(weighted, np.nan), where=total > 0)
        return result

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Share, 0 to 1, of each text that ``inner`` does not know; 0 where it does not say."""
        share = getattr(self.inner, "unknown_share", None)
        return [0.0] * len(texts) if share is None else list(share(texts))

    def _ratios(self, expected: FloatArray, trained: FloatArray) -> FloatArray:
        """What a label's probability (multi-label: its odds) is multiplied by."""
        if not ((trained > 0) & (trained < 1)).all():
            raise ConfigError(
                f"label_prior cannot be used with these labels: the model has learned the shares "
                f"{dict(zip(self.labels, trained.tolist(), strict=True))}, and each has to be above 0 and below 1"
            )
        ratios: FloatArray = expected / trained
        if self.multi_label:
            ratios = ratios * (1 - trained) / (1 - expected)
        return ratios


def check_labels(labels: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """The labels, if they are a choice among ``allowed``; else ConfigError, with the list."""
    given = [labels] if isinstance(labels, str) else list(labels)
    there = f"the task's labels are: {', '.join(allowed)}"
    unknown = [label for label in given if label not in allowed]
    if unknown:
        raise ConfigError(f"labels: no label {', '.join(map(repr, unknown))}; {there}")
    twice = sorted({label for label in given if given.count(label) > 1})
    if twice:
        raise ConfigError(f"labels: {', '.join(map(repr, twice))} is given twice; name each label once")
    if len(given) < 2:
        raise ConfigError(f"labels: got {given}, at least two are needed to choose from; {there}")
    return tuple(given)


def check_label_prior(shares: Mapping[str, float], labels: Sequence[str], *, multi_label: bool) -> FloatArray:
    """The shares in the labels' order, as a distribution (multi-label: each as it is); ConfigError if they are none."""
    missing = [label for label in labels if label not in shares]
    unknown = [label for label in shares if label not in labels]
    if missing or unknown:
        problem = f"has no share for {missing}" if missing else f"names {unknown}"
        raise ConfigError(f"label_prior {problem}; it needs one share for each of: {', '.join(labels)}")
    largest = 1.0 if multi_label else math.inf
    bad = {label: value for label, value in shares.items() if not 0 < value < largest}
    if bad:
        bounds = "above 0 and below 1" if multi_label else "above 0 and finite"
        raise ConfigError(f"label_prior: a share must be {bounds}, got {bad}; leave a label out with labels=[...]")
    values: FloatArray = np.array([float(shares[label]) for label in labels])
    return values if multi_label else values / values.sum()


def whole(predictor: Predictor) -> Predictor:
    """The predictor that answers for all of its labels: what is inside a restricted one, or the predictor itself."""
    return predictor.inner if isinstance(predictor, Restricted) else predictor


def narrowed(predictor: Predictor, answers: Answers) -> Answers:
    """What ``whole(predictor)`` answered, as the predictor's own answers."""
    if not isinstance(predictor, Restricted):
        return answers
    rows: list[Row | None] = list(answers.rows)
    errors = list(answers.errors)
    for i, row in enumerate(answers.rows):
        if row is not None:
            own = predictor.narrow(np.array([row]))[0]
            rows[i] = own.tolist() if np.isfinite(own).all() else None
            errors[i] = errors[i] if rows[i] is not None else _IMPOSSIBLE
    return replace(answers, rows=rows, errors=errors)


def load(spec: Spec) -> Predictor:
    """Restricts a loaded predictor, ``spec.members[options["of"]]``, to ``spec.labels``.

    Options: ``of`` (default 'model'), ``label_prior`` and ``prior``, see :class:`Restricted`.

    Raises:
        ConfigError: an option is unknown or not possible, or there is no such member.
    """
    allowed = ("of", "label_prior", "prior")
    unknown = sorted(spec.options.keys() - {*allowed, "name", *ModelSettings.model_fields})
    if unknown:
        raise ConfigError(
            f"options of a predictor of kind 'restricted': unknown {unknown}; allowed: {', '.join(allowed)}, name"
        )
    of = str(spec.options.get("of", "model"))
    if of not in spec.members:
        raise ConfigError(f"no predictor {of!r} to restrict; there are: {', '.join(spec.members) or 'none'}")
    return Restricted(
        spec.members[of],
        spec.labels,
        label_prior=spec.options.get("label_prior"),
        prior=spec.options.get("prior"),
    )
