"""Augmentation: new training rows from those that are there, by the methods of ``rewrites.py``.

Only training rows are rewritten, no text comes twice, none that stands in a held-out split comes at all, and the same
rows and seed give the same result on every machine. English only.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from ...errors import UsageError
from ...text import clean_text
from ..data import held_out_rows, load_split
from ..datasets import Example
from ..tasks import Task
from .rewrites import EMOTIONS, METHODS

log = logging.getLogger("healdag")

ROUNDS = 8  # new rows per row, at most: more of them would say the same
TRIES = 3  # draws per method before the next one is asked
_NOT_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class AugmentedExample(Example):
    """A new row and where it comes from.

    Attributes:
        method: Name of the method in :data:`~healdag.training.augmentation.rewrites.METHODS`.
        source: Position of the row that was rewritten.
    """

    method: str = ""
    source: int = -1


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What came of it.

    Attributes:
        rows: The new rows, without those that they were made from.
        missing: Label to the number of rows that no method could give; labels that were filled are left out.
    """

    rows: list[AugmentedExample]
    missing: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, Counter[str]]:
        """Method to new rows of each label; a row without a label counts under the empty one."""
        found: dict[str, Counter[str]] = {}
        for row in self.rows:
            found.setdefault(row.method, Counter()).update(row.labels or ("",))
        return found


def usable_methods(rows: Sequence[Example], *, emotions: bool | None = None) -> tuple[str, ...]:
    """Names of the methods that can work on these rows.

    Args:
        emotions: Whether every row has one of the eight emotions; looked up in the rows by default.
    """
    if emotions is None:
        emotions = bool(rows) and all(len(row.labels) == 1 and row.label in EMOTIONS for row in rows)
    return tuple(name for name, method in METHODS.items() if emotions or not method.emotions_only)


def augment_rows(
    rows: Sequence[Example],
    *,
    n: int,
    seed: int = 13,
    methods: Sequence[str] | None = None,
    emotions: bool | None = None,
    held_out: Collection[str] = (),
) -> list[AugmentedExample]:
    """Up to ``n`` new rows, spread evenly over rows and methods; fewer where the texts give no more variants.

    Args:
        methods: Names of methods, all usable ones by default; where one gives nothing new, the next is asked.
        emotions: Whether every row has one of the eight emotions; looked up in the rows by default.
        held_out: Texts that must not come out, whatever their case and punctuation.

    Returns:
        Cleaned texts, none equal to another or to a row's.

    Raises:
        UsageError: no such method, or one that cannot work on these rows.
    """
    if n < 0:
        raise UsageError(f"n is {n}; give the number of new rows, 0 or more")
    workshop = _Workshop(rows, _checked(rows, methods, emotions), seed, held_out)
    return workshop.take(workshop.everywhere(), n)


def augment(
    rows: Sequence[Example],
    *,
    target_per_label: int | None = None,
    factor: float | None = None,
    seed: int = 13,
    methods: Sequence[str] | None = None,
    held_out: Collection[str] = (),
) -> Augmentation:
    """New rows by a plan: fill rare labels up to a number, or add a share of all rows. Exactly one is to be given.

    Args:
        target_per_label: Labels with fewer rows get new ones until they have that many.
        factor: New rows per row, over 0: 0.5 adds half as many as there are.
        methods: See :func:`augment_rows`.
        held_out: Texts that must not come out, whatever their case and punctuation.

    Raises:
        UsageError: both or neither plan, a number out of range, or a method that cannot work here.
    """
    if (target_per_label is None) == (factor is None):
        raise UsageError("augmentation needs target_per_label or factor, one of them; for example factor=0.5")
    if factor is not None:
        if not 0 < factor <= ROUNDS:
            raise UsageError(
                f"factor is {factor}; new rows per row lie over 0 and at most at {ROUNDS}, for example 0.5"
            )
        n = round(factor * len(rows))
        made = augment_rows(rows, n=n, seed=seed, methods=methods, held_out=held_out)
        return Augmentation(made, _short({"all labels": n - len(made)}))
    assert target_per_label is not None
    if target_per_label < 1:
        raise UsageError(f"target_per_label is {target_per_label}; give a number of rows, 1 or more")
    return _fill(_Workshop(rows, _checked(rows, methods, None), seed, held_out), target_per_label)


def _fill(workshop: _Workshop, target: int) -> Augmentation:
    """Back-off: the rarest label first, since in a multi-label task its rows count for others too."""
    counts = Counter(label for row in workshop.rows for label in row.labels)
    made: list[AugmentedExample] = []
    missing = {}
    for label, _ in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        found = sum(label in row.labels for row in made)
        need = target - counts[label] - found
        if need > 0:
            new = workshop.fill(label, need)
            made += new
            missing[label] = need - len(new)
    return Augmentation(made, _short(missing))


def _short(missing: dict[str, int]) -> dict[str, int]:
    short = {label: number for label, number in missing.items() if number > 0}
    for label, number in short.items():
        log.warning(
            "augmentation: %d rows too few for %s; its texts give no more, at most %d each", number, label, ROUNDS
        )
    return short


def _checked(rows: Sequence[Example], methods: Sequence[str] | None, emotions: bool | None) -> tuple[str, ...]:
    usable = usable_methods(rows, emotions=emotions)
    if methods is None:
        return usable
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise UsageError(f"augmentation methods {list(methods)}: there are: {', '.join(METHODS)}; give one or more")
    unfit = [name for name in methods if name not in usable]
    if unfit:
        raise UsageError(
            f"augmentation method {unfit[0]!r} needs one label per row, of: {', '.join(EMOTIONS)}; "
            f"for these rows there are: {', '.join(usable)}"
        )
    return tuple(dict.fromkeys(methods))


def letters_of(text: str) -> str:
    """The text without case, punctuation and blanks, for comparison; itself where nothing would be left."""
    return _NOT_LETTERS.sub("", text.casefold()) or text


_Job = tuple[int, tuple[str, ...]]
"""Position of a row, and the methods to try on it, in order."""


class _Workshop:
    """Rows, methods and what was made so far: a text that is taken is never made again."""

    def __init__(self, rows: Sequence[Example], methods: tuple[str, ...], seed: int, held_out: Collection[str]) -> None:
        self.rows = rows
        self._methods = methods
        self._seed = seed
        self._known_labels = {label for row in rows for label in row.labels}
        self._taken = {row.text for row in rows}
        self._forbidden = {letters_of(clean_text(text)) for text in held_out}
        self._order = [i for i, row in enumerate(rows) if letters_of(row.text) not in self._forbidden]
        Random(seed).shuffle(self._order)

    def everywhere(self) -> list[_Job]:
        """Every row; which method it begins with goes round."""
        return [(i, self._rotated(self._methods, place)) for place, i in enumerate(self._order)]

    def fill(self, label: str, need: int) -> list[AugmentedExample]:
        """Up to ``need`` rows with this label: of its own rows, a part by denying others, where that gives it."""
        keeping = tuple(name for name in self._methods if METHODS[name].keeps_labels)
        changing = tuple(name for name in self._methods if not METHODS[name].keeps_labels)
        own = [
            (i, self._rotated(keeping, place))
            for place, i in enumerate(i for i in self._order if label in self.rows[i].labels)
        ]
        others = [(i, changing) for i in self._order if label not in self.rows[i].labels] if changing else []
        made = self.take(others, need // max(1, len(self._methods)), label=label)
        made += self.take(own, need - len(made), label=label)
        return made + self.take(others, need - len(made), label=label)

    def take(self, jobs: Sequence[_Job], n: int, *, label: str | None = None) -> list[AugmentedExample]:
        """The first ``n`` new rows of these jobs, of a label where one is given."""
        made: list[AugmentedExample] = []
        variants = self._variants(jobs, label)
        while len(made) < n and (row := next(variants, None)) is not None:
            made.append(row)
        return made

    def _variants(self, jobs: Sequence[_Job], label: str | None) -> Iterator[AugmentedExample]:
        """One new row per job and round, as long as a job gives any."""
        for attempt in range(ROUNDS):
            fruitful = []
            for job in jobs:
                row = self._rewrite(job, attempt, label)
                if row is not None:
                    fruitful.append(job)
                    yield row
            jobs = fruitful

    def _rewrite(self, job: _Job, attempt: int, label: str | None) -> AugmentedExample | None:
        source, methods = job
        row = self.rows[source]
        for name in self._rotated(methods, attempt):
            # A seed of its own for each row and method: what it gives does not depend on the other rows.
            chance = Random(f"{self._seed}|{name}|{attempt}|{row.text}")
            for _ in range(TRIES):
                found = METHODS[name].rewrite(row, chance)
                if found is None:
                    break
                text, labels = clean_text(found[0]), found[1]
                if self._is_new(text) and self._is_wanted(labels, label):
                    self._taken.add(text)
                    return AugmentedExample(text, labels, row.sarcastic, method=name, source=source)
        return None

    def _is_new(self, text: str) -> bool:
        letters = letters_of(text)
        return text not in self._taken and letters not in self._forbidden and any(c.isalnum() for c in letters)

    def _is_wanted(self, labels: tuple[str, ...], label: str | None) -> bool:
        return self._known_labels.issuperset(labels) and (label is None or label in labels)

    @staticmethod
    def _rotated(methods: tuple[str, ...], by: int) -> tuple[str, ...]:
        start = by % len(methods) if methods else 0
        return methods[start:] + methods[:start]


def held_out_texts(task: Task, source: Path | None) -> set[str]:
    """The texts of the task's validation and test rows."""
    return {row.text for row in held_out_rows(task, source)}


def augmented_split(task: Task, source: Path | None) -> list[Example]:
    """The task's training rows, followed by the new ones that its table ``[augmentation]`` asks for, if it has one."""
    rows = load_split(task, "train", source)
    settings = task.augmentation
    if settings is None:
        return rows
    made = augment(
        rows,
        target_per_label=settings.target_per_label,
        factor=settings.factor,
        seed=settings.seed,
        methods=settings.methods,
        held_out=held_out_texts(task, source),
    )
    log.info("augmentation: %d new rows beside %d", len(made.rows), len(rows))
    return [*rows, *made.rows]
