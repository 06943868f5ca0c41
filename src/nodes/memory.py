"""What people have said before: about this very text, or about a near twin of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..predictors import Row
from .corrections import Corrections, Vote
from .decider import Decider
from .records import Label, MemoryDict
from .twin_index import Vectors

LEAST_SIMILARITY = 0.75
"""From this cosine similarity on a text is the near twin of a corrected one.

Measured by ``benchmarks/memory.py`` with 10,000 corrections: of 1,500 near twins (letter case, punctuation, a typo, a
synonym, an emoji, a filler word) 86 % are answered from there on, all of them right, and 0.05 % of 2,000 other texts
get another answer; from 0.7 on 91 % and 0.25 %, from 0.6 on 95 % and 0.4 %. Hidden states that are not whitened reach
48 to 61 % of the twins where whitened ones reach 81 %. Of nine texts whose feeling was denied none is as near as 0.6.
"""
SLOPE, OFFSET = 4.7, -1.2
"""Of the similarity in the log-odds that the correction is right for the twin, too; fitted there on near twins and
other texts in equal weight. It gives 0.91 at 0.75 and 0.97 at 1."""
LEAST_AGREEMENT = 2 / 3
"""Where less than this share of the evidence from several near twins is for one answer, the models answer."""
MOST_TWINS = 5
MOST_UNREADABLE = 0.1
"""Of a text that the model cannot read further than this, its vector says too little."""


@dataclass(frozen=True)
class Memory:
    """Writes remembered.

    Attributes:
        corrections: Of this task.
        decider: Corrections to other labels, or of the other form, are passed over: they are of another model. A list
            of labels holds for a restricted classifier as far as its labels go, and for another one only where all of
            its labels had been to choose from.
    """

    corrections: Corrections
    decider: Decider

    @property
    def task(self) -> str:
        """The task that the corrections are of."""
        return self.corrections.task

    def __call__(self, state: Any) -> dict[str, Any]:
        """One look-up per text, in one batch. Of people who disagree the most are followed, then who spoke last."""
        start = time.perf_counter()
        self.corrections.take_up()
        verdicts = [verdict(votes, self.decider) for votes in self.corrections.find(state["clean"])]
        ms = (time.perf_counter() - start) * 1000 / max(len(verdicts), 1)
        return {"remembered": [None if said is None else self._answer(said, ms) for said in verdicts]}

    def _answer(self, said: Verdict, ms: float) -> MemoryDict:
        return {
            "label": said.label,
            "confidence": said.share,
            "probabilities": said.probabilities,
            "event": said.event,
            "similarity": 1.0,
            "ms": ms,
        }


@dataclass(frozen=True)
class Recall:
    """Answers texts that are near twins of corrected ones, from the vectors that the primary's pass makes anyway.

    Attributes:
        corrections: Of this task.
        decider: See :class:`Memory`.
        least: Similarity from which on a text is a near twin.
    """

    corrections: Corrections
    decider: Decider
    least: float = LEAST_SIMILARITY

    def __call__(self, vectors: Vectors, rows: Sequence[Row | None]) -> list[MemoryDict | None]:
        """The answer to each text; None for one that has no near twin, or whose twins disagree.

        Args:
            vectors: In length 1, shape (n, d); all 0 for a text that is not to be looked up.
            rows: The primary's probabilities; they say how what is left is shared among the other labels.
        """
        start = time.perf_counter()
        found = self.corrections.twins(vectors, self.least, MOST_TWINS)
        answers = [self._answer(near, row) if near else None for near, row in zip(found, rows, strict=True)]
        ms = (time.perf_counter() - start) * 1000 / max(len(answers), 1)
        for answer in answers:
            if answer is not None:
                answer["ms"] = ms
        return answers

    def _answer(self, near: Sequence[tuple[float, list[Vote]]], row: Row | None) -> MemoryDict | None:
        """Each twin speaks with the weight of its confidence; what they disagree about is taken off the answer's."""
        said = [(similarity, one) for similarity, votes in near if (one := verdict(votes, self.decider)) is not None]
        weights: dict[str, float] = {}
        for similarity, one in said:
            weights[one.name] = weights.get(one.name, 0.0) + confidence_of(similarity) * one.share
        total = sum(confidence_of(similarity) for similarity, _ in said)
        if row is None or not said or max(weights.values()) < LEAST_AGREEMENT * total:
            return None
        winner = max(weights, key=weights.__getitem__)
        similarity, best = next((similarity, one) for similarity, one in said if one.name == winner)
        confidence = confidence_of(similarity) * weights[winner] / total
        return {
            "label": best.label,
            "confidence": confidence,
            "probabilities": _blend(self.decider, best.label, confidence, row),
            "event": best.event,
            "similarity": min(similarity, 1.0),
            "ms": 0.0,
        }


@dataclass(frozen=True)
class Verdict:
    """What the votes on one text come to.

    Attributes:
        label: The answer.
        share: Of the people who said so.
        event: The newest correction that says so; None for one that was put into the store by hand.
        probabilities: Share of the votes for each label.
    """

    label: Label
    share: float
    event: str | None
    probabilities: Row

    @property
    def name(self) -> str:
        """The answer in a form that can be a key."""
        return repr(self.label)


def verdict(votes: Sequence[Vote], decider: Decider) -> Verdict | None:
    """One vote per person, the last; the most votes win, of as many those whose newest is the newest.

    Args:
        votes: The oldest first. Those without a name count as one person's.
        decider: What can be answered.

    Returns:
        None where no vote is about the decider's labels.
    """
    latest: dict[str | None, tuple[Label, str | None]] = {}
    for vote in votes:
        label = _usable(vote, decider)
        if label is not None:
            latest.pop(vote["by"], None)  # a later word is behind the others' again
            latest[vote["by"]] = (label, vote["event"])
    if not latest:
        return None
    spoken = list(latest.values())
    counts = [sum(other == label for other, _ in spoken) for label, _ in spoken]
    place = max(range(len(spoken)), key=lambda i: (counts[i], i))
    label, event = spoken[place]
    rows = [decider.certain(each) for each, _ in spoken]
    return Verdict(
        label, counts[place] / len(spoken), event, [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    )


def confidence_of(similarity: float) -> float:
    """How likely a near twin's correction is right for a text, 0 to 1, by their similarity."""
    return 1 / (1 + math.exp(-(OFFSET + SLOPE * similarity)))


def _usable(vote: Vote, decider: Decider) -> Label | None:
    label: Any = vote["label"]
    if decider.multi_label and isinstance(label, list):
        if not set(decider.labels) <= set(vote.get("labels", ())):
            return None
        label = [name for name in label if name in decider.labels]
    return decider.check(label) if decider.accepts(label) else None


def _blend(decider: Decider, label: Label, confidence: float, row: Row) -> Row:
    """The answer with its confidence; what is left goes to the other labels as the primary shares it out."""
    certain = decider.certain(label)
    if decider.multi_label:
        return [confidence * sure + (1 - confidence) * p for sure, p in zip(certain, row, strict=True)]
    others = [0.0 if sure else p for sure, p in zip(certain, row, strict=True)]
    total = sum(others)
    spread = [p / total if total > 0 else (1 - sure) / (len(row) - 1) for sure, p in zip(certain, others, strict=True)]
    return [confidence * sure + (1 - confidence) * p for sure, p in zip(certain, spread, strict=True)]
