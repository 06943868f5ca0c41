"""What a classifier answers to the cases, by its primary alone and as a whole graph, and whether that is right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError, UsageError
from ..predictors import ask
from ..schema import Classification
from ..text import clean_text
from .cases import EMOTIONS, Case, agreement, share_of

if TYPE_CHECKING:
    from ..graph import Classifier


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a case.

    Attributes:
        label: None where there is no answer.
        confidence: Calibrated probability of the label; None where there is no answer.
        doubted: Whether the answer is given as a doubtful one.
        reasons: Why, in the graph's words.
    """

    label: str | None
    confidence: float | None
    doubted: bool
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Classification | InputError) -> Answer:
        """The graph's answer; sarcasm is a doubt about what is meant, none about whether it can be read."""
        if isinstance(result, InputError):
            return NO_ANSWER
        doubted = result.source in {"abstain", "pending"} or bool(set(result.reasons) - {"sarcasm"})
        label = result.final_label if isinstance(result.final_label, str) else None
        return cls(label, result.confidence, doubted, tuple(result.reasons))


NO_ANSWER = Answer(None, None, doubted=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case with what was answered before the graph's healing, by the primary alone, and after it."""

    case: Case
    before: Answer
    after: Answer


def answered(classifier: Classifier, cases: Sequence[Case]) -> list[Outcome]:
    """Asks the primary alone, and then the whole graph, for every case.

    The primary alone doubts what it is less sure of than the graph's threshold, or cannot answer.

    Raises:
        UsageError: the classifier does not answer the eight emotions.
    """
    if classifier.multi_label or set(classifier.labels) != set(EMOTIONS):
        raise UsageError(
            f"the cases have the labels {', '.join(EMOTIONS)}; {classifier.model_version!r} answers "
            f"{', '.join(classifier.labels)}{' (several)' if classifier.multi_label else ''}. Choose a model of these "
            "eight emotions, such as 'emotion'"
        )
    texts = [case.text for case in cases]
    found = map(Answer.of, classifier.classify_many(texts, errors="return"))
    return [Outcome(*one) for one in zip(cases, _alone(classifier, texts), found, strict=True)]


def _alone(classifier: Classifier, texts: Sequence[str]) -> list[Answer]:
    nodes = classifier.nodes
    decider, threshold = nodes.finalize.decider, nodes.check.threshold
    answers = []
    for row in ask(nodes.classify.primary, [clean_text(text) for text in texts]).rows:
        if row is None:
            answers.append(NO_ANSWER)
            continue
        label, confidence = decider.name(row)
        answers.append(Answer(str(label), confidence, decider.sureness(row) < threshold))
    return answers


def is_right(case: Case, answer: Answer, *, strict: bool = False) -> bool:
    """Whether an answer is right: its label is the case's or one of ``accept``, or it is the doubt that is expected.

    Args:
        strict: Whether the case's label alone counts.

    >>> case = Case(id="plain-1", group="plain", text="Hm.", label="neutral", accept=["sadness"])
    >>> is_right(case, Answer("sadness", 0.6, doubted=False))
    True
    >>> is_right(case, Answer("sadness", 0.6, doubted=False), strict=True)
    False
    """
    if case.expects == "doubt" and answer.doubted:
        return True
    return answer.label is not None and answer.label in ((case.label,) if strict else (case.label, *case.accept))


def summary(classifier: Classifier, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures of all cases and of each group, and every answer: nothing of the machine that ran it."""
    groups = dict.fromkeys(outcome.case.group for outcome in outcomes)
    return {
        "model": classifier.model_version,
        "cases": {"n": len(outcomes), "sha256": _digest(outcome.case for outcome in outcomes)},
        "groups": {group: figures([one for one in outcomes if one.case.group == group]) for group in groups},
        "all": figures(outcomes),
        "answers": [_record(outcome) for outcome in outcomes],
    }


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How the primary alone (before) and the whole graph (after) did.

    ``right`` and ``right_strict`` are shares, see :func:`is_right`; ``fixed`` and ``broke`` count cases that are right
    only after or only before; ``doubted`` is a share and ``confidence`` a mean over the graph's answers, None where it
    gave none; ``readers`` see :func:`agreement`.
    """
    before = [is_right(one.case, one.before) for one in outcomes]
    after = [is_right(one.case, one.after) for one in outcomes]
    sure = [one.after.confidence for one in outcomes if one.after.confidence is not None]
    return {
        "n": len(outcomes),
        "right": {"before": share_of(before), "after": share_of(after)},
        "right_strict": {
            "before": share_of([is_right(one.case, one.before, strict=True) for one in outcomes]),
            "after": share_of([is_right(one.case, one.after, strict=True) for one in outcomes]),
        },
        "fixed": sum(now and not then for then, now in zip(before, after, strict=True)),
        "broke": sum(then and not now for then, now in zip(before, after, strict=True)),
        "doubted": share_of([one.after.doubted for one in outcomes]),
        "confidence": round(sum(sure) / len(sure), 4) if sure else None,
        "readers": agreement([one.case for one in outcomes]),
    }


def _digest(cases: Iterable[Case]) -> str:
    """SHA-256 of what decides about right and wrong."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.model_dump_json(include={"text", "label", "accept", "expects"}).encode() + b"\n")
    return digest.hexdigest()


def _record(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    return {
        "id": case.id,
        "label": case.label,
        "accept": list(case.accept),
        "expects": case.expects,
        "before": _shown(case, outcome.before),
        "after": {**_shown(case, outcome.after), "reasons": list(outcome.after.reasons)},
    }


def _shown(case: Case, answer: Answer) -> dict[str, Any]:
    sure = None if answer.confidence is None else round(answer.confidence, 4)
    return {"label": answer.label, "confidence": sure, "doubted": answer.doubted, "right": is_right(case, answer)}
