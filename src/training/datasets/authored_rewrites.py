"""The authored training texts once more, as people type them, and with the feeling that they name exchanged.

Raw: lower case without punctuation, as in tweets and blogs. Exchanged: statements of :mod:`.authored_feelings` with
another word of the lexicon ``src/data/feelings.json`` (CC0-1.0, words grouped after Shaver et al. 1987) in the gap; the
label follows the word. A model learns that the feeling which is named decides, and words that no text of ours has
(counterfactual augmentation, Kaushik et al. 2020, arXiv:1909.12434).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from .authored import FOLDER, rows_below

PER_WORD = 4
"""Statements that each word is put into."""
RAW_SHARE = 0.7
"""Share of those that are written as people type."""
_NAMED = re.compile(
    r"\b(feel|feels|feeling|felt)((?: (?:so|very|really|a bit|a little|quite|too|rather|pretty|just))*) $"
)
_NEGATION = re.compile(r"\b(no|not|never|nor|without|hardly|barely|stop|stopped|less|\w+n'?t)\b", re.IGNORECASE)


def rows(split: str, source: Path | None) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - every set's signature
    """Rows of the training split, in a fixed order; other splits have none."""
    if split != "train":
        return
    for folder in (FOLDER, FOLDER / "feelings"):
        for row in rows_below(folder, "train"):
            if not row["sarcastic"] and (raw := as_typed(row["text"])) != row["text"]:
                yield {"text": raw, "emotion": row["emotion"]}
    frames = list(_frames())
    generator = random.Random(13)
    lexicon = json.loads((files("healdag.data") / "feelings.json").read_text(encoding="utf-8"))["feelings"]
    for emotion, words in lexicon.items():
        for word in words:
            for before, after in generator.sample(frames, PER_WORD):
                text = f"{before}{word}{after}"
                yield {"text": as_typed(text) if generator.random() < RAW_SHARE else text, "emotion": emotion}


def as_typed(text: str) -> str:
    """Lower case, without punctuation.

    >>> as_typed("I'm fine, thanks!")
    'im fine thanks'
    """
    return " ".join(re.sub(r"[^\w\s]", "", text.replace("'", "").replace("\u2019", "").lower()).split())


def _frames() -> Iterator[tuple[str, str]]:
    """What stands before and after the feeling word, where 'feel' comes right before it and nothing is negated."""
    for row in rows_below(FOLDER / "feelings", "train"):
        before, found, after = row["text"].partition(row.get("word") or "\0")
        if found and _NAMED.search(before) and not _NEGATION.search(before):
            yield before, after
