"""Texts of other domains for the emotion task, and simulated reviewers who say what is right, or what is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from healdag.store.feedback import FeedbackEvent, text_key
from healdag.training.datasets import Example, Split, read_examples

LABELS = ("joy", "sadness", "anger", "fear", "love", "surprise", "neutral", "disgust")
DOMAINS: dict[str, dict[str, str]] = {
    "dair_emotion": {},
    # Optimism is a part of joy, worry of fear: Demszky et al. 2020, the mapping to Ekman's emotions.
    "tweeteval_emotion": {"optimism": "joy"},
    "crowdflower_text_emotion": {
        "happiness": "joy",
        "enthusiasm": "joy",
        "fun": "joy",
        "relief": "joy",
        "worry": "fear",
        "hate": "anger",
        "empty": "",
        "boredom": "",
    },
}
"""What labels of each set are called in the task; '' for rows that are left out."""
OPPOSITE = {
    "joy": "sadness",
    "sadness": "joy",
    "love": "anger",
    "anger": "love",
    "fear": "surprise",
    "surprise": "fear",
    "neutral": "disgust",
    "disgust": "neutral",
}
Wrong = Callable[[str, random.Random], str]
"""The right label to a wrong one."""


def domain_rows(name: str, split: Split, source: Path, seed: int | None = None) -> list[Example]:
    """Rows of a domain, each text once; in random order with a seed."""
    rows = list({row.text: row for row in read_examples(name, split, source, rename=DOMAINS[name])}.values())
    if seed is not None:
        random.Random(seed).shuffle(rows)
    return rows


def at_random(label: str, chance: random.Random) -> str:
    """Any other label."""
    return chance.choice([other for other in LABELS if other != label])


def shifted(label: str, _: random.Random) -> str:
    """The next one in the task's order."""
    return LABELS[(LABELS.index(label) + 1) % len(LABELS)]


def reversed_feeling(label: str, _: random.Random) -> str:
    """Its opposite."""
    return OPPOSITE[label]


WRONG: dict[str, Wrong] = {"random": at_random, "shift": shifted, "rule": reversed_feeling}


@dataclass(frozen=True)
class Said:
    """What a reviewer says about a text."""

    row: Example
    label: str
    by: str

    @property
    def right(self) -> bool:
        """Whether the data says so too."""
        return self.label == self.row.label


def corrections(
    rows: Sequence[Example],
    *,
    seed: int,
    reviewers: int = 4,
    wrong: float = 0.0,
    hostile: float = 0.0,
    how: str = "random",
) -> list[Said]:
    """What several reviewers say about rows.

    Args:
        rows: One text each.
        seed: Of who says what.
        reviewers: How many there are.
        wrong: Share of all that is wrong, whoever says it.
        hostile: Share of all that the first reviewer says, all of it wrong; the others are right.
        how: Which wrong label it is, see :data:`WRONG`.
    """
    chance = random.Random(seed)
    n = len(rows)
    names = [f"reviewer {i + 1}" for i in range(reviewers)]
    if hostile:
        own = round(hostile * n)
        who = [names[0]] * own + [names[1 + i % (reviewers - 1)] for i in range(n - own)]
    else:
        who = [names[i % reviewers] for i in range(n)]
    chance.shuffle(who)
    bad = set(chance.sample(range(n), round(wrong * n)))
    return [
        Said(row, WRONG[how](row.label, chance) if i in bad or (hostile and by == names[0]) else row.label, by)
        for i, (row, by) in enumerate(zip(rows, who, strict=True))
    ]


def as_events(said: Sequence[Said], version: str, start: datetime | None = None) -> list[FeedbackEvent]:
    """The same as a feedback store gives it, one a second."""
    first = start or datetime(2026, 1, 1, tzinfo=UTC)
    return [
        FeedbackEvent(
            id=f"f-{i}",
            seq=i + 1,
            time=first + timedelta(seconds=i),
            task="emotion",
            kind="correction",
            text_sha256=text_key(one.row.text),
            text=one.row.text,
            label=one.label,
            labels=LABELS,
            by=one.by,
            model_version=version,
        )
        for i, one in enumerate(said)
    ]
