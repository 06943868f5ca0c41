"""Statements that name a feeling, with the word exchanged: the label follows the word.

Made from the training split of :mod:`.authored_feelings` and the lexicon ``src/data/feelings.json`` (CC0-1.0, words
grouped after Shaver et al. 1987). A model learns that the feeling which is named decides, and words that no corpus of
ours has in a sentence (counterfactual augmentation, Kaushik et al. 2020, arXiv:1909.12434).
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
_NAMED = re.compile(
    r"\b(feel|feels|feeling|felt)((?: (?:so|very|really|a bit|a little|quite|too|rather|pretty|just))*) $"
)
_NEGATION = re.compile(r"\b(no|not|never|nor|without|hardly|barely|stop|stopped|less|\w+n'?t)\b", re.IGNORECASE)


def rows(split: str, source: Path | None) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - every set's signature
    """Rows of the training split, in a fixed order; other splits have none."""
    if split != "train":
        return
    frames = list(_frames())
    generator = random.Random(13)
    for emotion, words in json.loads((files("healdag.data") / "feelings.json").read_text(encoding="utf-8")).items():
        for word in words:
            for before, after in generator.sample(frames, PER_WORD):
                yield {"text": f"{before}{word}{after}", "emotion": emotion}


def _frames() -> Iterator[tuple[str, str]]:
    """What stands before and after the feeling word, where 'feel' comes right before it and nothing is negated."""
    for row in rows_below(FOLDER / "feelings", "train"):
        before, found, after = row["text"].partition(row.get("word") or "\0")
        if found and _NAMED.search(before) and not _NEGATION.search(before):
            yield before, after
