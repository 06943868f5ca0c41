"""In which order a person is asked: where an answer is expected to teach the most for the time that it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

from ..errors import UsageError
from ..schema import Question

Order = Literal["gain", "uncertainty", "oldest", "random"]
WORDS_PER_SECOND = 4.0
"""Silent reading: 238 words a minute (Brysbaert 2019, https://doi.org/10.1016/j.jml.2019.104047)."""
SECONDS_TO_CHOOSE = 2.0
"""To choose a label and to press a key; an assumption, which keeps the shortest texts from always being first."""


def arrange(questions: Sequence[Question], order: Order = "gain") -> list[Question]:
    """The questions with their gain, in an order.

    Args:
        questions: Of one task.
        order: "gain": the largest expected gain first, that is uncertainty x density / cost. Density is how much a
            text is like all the others that wait, for the answer to one says something about its like: the mean
            cosine similarity of TF-IDF vectors, itself among them. Uncertainty x density is the information density
            of Settles and Craven 2008 (https://aclanthology.org/D08-1112/) with beta 1; division by the cost follows
            Settles, Craven and Friedland 2008 (gain per cost). The cost is the time to read the text and to choose.
            "uncertainty": by entropy alone. "oldest": those that wait the longest first. "random": by a hash of the
            decision id, the same at every call; for samples that are to show how good the model is.

    Raises:
        UsageError: another order.
    """
    check_order(order)
    if not questions:
        return []
    densities = density([question.text for question in questions])
    found = [
        question.model_copy(update={"gain": question.uncertainty * dense / cost(question.text)})
        for question, dense in zip(questions, densities, strict=True)
    ]
    found.sort(key=lambda question: question.asked)  # equals: the oldest first, rows of one call in their order
    if order == "gain":
        found.sort(key=lambda question: -question.gain)
    elif order == "uncertainty":
        found.sort(key=lambda question: -question.uncertainty)
    elif order == "random":
        found.sort(key=lambda question: hashlib.sha256(question.decision_id.encode()).digest())
    return found


def check_order(order: str) -> None:
    """Raises UsageError for what is no order."""
    if order not in get_args(Order):
        raise UsageError(f"order must be one of {', '.join(get_args(Order))}; got {order!r}")


def density(texts: Sequence[str]) -> list[float]:
    """Mean cosine similarity of each text to all of them, 0 to 1.

    >>> [round(value, 2) for value in density(["refund please", "refund please", "good morning"])]
    [0.67, 0.67, 0.33]
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Words, and every other sign by itself: no text is without any.
    vectors = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]").fit_transform(texts)
    # The mean of the products is the product with the mean: no matrix of all pairs is needed.
    return [float(value) for value in (vectors @ vectors.mean(axis=0).T).A1]


def cost(text: str) -> float:
    """Seconds that a person needs for a text."""
    return SECONDS_TO_CHOOSE + len(text.split()) / WORDS_PER_SECOND
