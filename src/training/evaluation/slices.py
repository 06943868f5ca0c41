"""Parts of a split that a model may find harder: long texts, emoji, negation, sarcasm."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...emojis import emoticons_to_emoji, find_emoji
from ...predictors import Predictor
from ...text import clean_text
from ..datasets import Example

_BARE = "ai are could did do does had has have is should was were would"
"""What comes before n't, also where the apostrophe was left out."""
_NEGATION = re.compile(
    r"\b(?:no|not|nor|never|nothing|nobody|none|neither|nowhere|hardly|barely|without|cannot|\w+n['\u2019]t"
    rf"|(?:{_BARE.replace(' ', '|')})nt|cant|wont)\b",
    re.IGNORECASE,
)


def raw_text(row: Example) -> str:
    """The row's text as it was written, emoji and all, where the data set kept it; else as it was cleaned."""
    written = (value for value in row.fields.values() if isinstance(value, str))
    return next((value for value in written if value and clean_text(value) == row.text), row.text)


def slices_of(rows: Sequence[Example], detector: Predictor | None = None) -> dict[str, npt.NDArray[np.bool_]]:
    """Parts of the rows by name, as Boolean arrays of shape (n,): length (thirds by words), emoji, negation, sarcasm.

    Args:
        detector: Tells sarcastic rows; by default the data does (a field ``sarcastic``).
    """
    texts = [raw_text(row) for row in rows]
    words = np.array([len(text.split()) for text in texts])
    low, high = (int(edge) for edge in np.quantile(words, [1 / 3, 2 / 3], method="nearest"))
    emoji = np.array([bool(find_emoji(emoticons_to_emoji(text))) for text in texts])
    negated = np.array([has_negation(text) for text in texts])
    if detector is None:
        sarcastic = np.array([row.sarcastic for row in rows])
    else:
        column = list(detector.labels).index("sarcastic")
        sarcastic = np.asarray(detector.predict_proba([row.text for row in rows]))[:, column] >= 0.5
    parts = {
        f"length: up to {low} words": words <= low,
        f"length: {low + 1} to {high} words": (words > low) & (words <= high),
        f"length: over {high} words": words > max(low, high),
    }
    for name, part in (("emoji", emoji), ("negation", negated), ("sarcasm", sarcastic)):
        if part.any():
            parts |= {f"{name}: yes": part, f"{name}: no": ~part}
    return {name: part for name, part in parts.items() if part.any()}


def has_negation(text: str) -> bool:
    """Whether a word negates: not, no, never, n't, ...

    >>> has_negation("I don't mind"), has_negation("dont mind"), has_negation("I meant it, in front of the tent")
    (True, True, False)
    """
    return _NEGATION.search(text) is not None
