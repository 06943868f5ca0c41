"""Edge cases of texts, found by simple rules: emoji, sarcasm, mixed feelings, negation, neutral texts that look felt.

The rules are wide on purpose: they see to it that a set has such texts, they are no annotation.
"""

from __future__ import annotations

import re

from ...emojis import emoticons_to_emoji, find_emoji
from ..datasets import Example

EDGES = ("emoji", "sarcasm", "mixed", "negation", "neutral")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|hardly|barely|cannot|cant|wont|dont|doesnt|didnt|isnt|"
    r"wasnt|arent|aint|couldnt|shouldnt|wouldnt)\b|n['’]t\b",  # noqa: RUF001 - the apostrophe of phones
    re.IGNORECASE,
)
_CONTRAST = re.compile(r"\b(?:but|although|though|however|yet|even so|at the same time)\b", re.IGNORECASE)
_FELT = re.compile(
    r"!|\b(?:feel\w*|felt|love\w*|hate\w*|happ\w+|sad\w*|ang(?:er|ry)|afraid|scar(?:ed|y)|fun(?:ny)?|glad|sorry|wow|"
    r"great|awful|terrible|amazing)\b",
    re.IGNORECASE,
)
_MIN_MIXED_WORDS = 6


def edges_of(row: Example) -> tuple[str, ...]:
    """The edge cases that a row is one of, in the order of :data:`EDGES`.

    - emoji: an emoji or an emoticon stands in the text as it was read;
    - sarcasm: the field ``sarcastic`` is true, or the text ends with '/s';
    - mixed: the field ``second`` names another label, or six words or more hold a word of contrast ('but', 'though');
    - negation: a word such as 'not', 'never', "n't";
    - neutral: the label is 'neutral' though the text has an exclamation mark or a word of feeling.
    """
    raw = str(row.fields.get("text", row.text))
    words = row.text.split()
    found = {
        "emoji": any(True for _ in find_emoji(emoticons_to_emoji(raw))),
        "sarcasm": row.sarcastic or raw.rstrip().endswith("/s"),
        "mixed": bool(row.fields.get("second"))
        or (len(words) >= _MIN_MIXED_WORDS and _CONTRAST.search(row.text) is not None),
        "negation": _NEGATION.search(row.text) is not None,
        "neutral": row.labels == ("neutral",) and _FELT.search(row.text) is not None,
    }
    return tuple(name for name in EDGES if found[name])
