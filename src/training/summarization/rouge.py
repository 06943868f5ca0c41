"""ROUGE: how much of a reference summary a written one shares (Lin 2004)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import MissingExtraError

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Mean F-measure, 0 to 1, of ROUGE-1, -2, -L and -Lsum over the rows, with stemming.

    Sentences are set on lines of their own first, as ROUGE-Lsum asks for.

    Raises:
        MissingExtraError: rouge-score is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtraError("rouge-score", "train") from None
    scorer = RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
    scores = [
        scorer.score(sentence_lines(reference), sentence_lines(prediction))
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    return {kind: sum(score[kind].fmeasure for score in scores) / max(len(scores), 1) for kind in ROUGE_TYPES}


def sentence_lines(text: str) -> str:
    r"""The text with every sentence on a line of its own.

    >>> sentence_lines("It rained. We stayed in!  Why not?")
    'It rained.\nWe stayed in!\nWhy not?'
    """
    return _SENTENCE_END.sub("\n", text.strip())
