"""Makes a clean data set of a task's sources: read, cleaned, without duplicates, written as a ``datasets`` folder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...artifacts import replacing
from ...errors import MissingExtraError, UsageError
from ...text import clean_text
from ..artifact_writer import write_json
from ..datasets import SPLITS, Example, Split
from ..tasks import Balance, DataReference, Task
from . import data_hash, read_reference, with_known_labels
from .data_card import data_card
from .edge_cases import EDGES, edges_of
from .near_duplicates import near_duplicate_groups, words_of

REPORT, CARD = "report.json", "README.md"
WINS: tuple[Split, ...] = ("test", "validation", "train")
"""Of two equal texts the one in the earlier of these splits stays."""
EDGE_SHARE = 0.4
"""Share of a label's train rows that edge cases may take before the others are drawn."""

_MADE_PER_KEPT = 4
_CLEANINGS = 5  # mark-up within escaped mark-up comes to rest after one or two

log = logging.getLogger("healdag")


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """A row with the set that it comes from; 'augmented' for one made from others."""

    example: Example
    origin: str

    @property
    def authored(self) -> bool:
        """Whether a model wrote it: such texts are never held out of a balanced set."""
        return self.origin.startswith(("authored", "augmented"))


@dataclass
class PreparationReport:
    """What a preparation kept and dropped.

    Attributes:
        read: Rows read, per split.
        rows: Rows kept, per split.
        dropped: Rows dropped per split and reason.
        kept: Rows kept, per split and label; '' for rows without one.
        edges: Rows of each edge case, per split.
        origins: Rows of each set, per split.
        short: Labels with fewer rows than the balance asks for, per split: how many there are.
        sha256: Of each split, over texts and labels in order.
        conflicts: Up to 20 texts that stood with different labels, with the number of rows for each.
    """

    task: str
    seed: int
    read: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    kept: dict[str, dict[str, int]] = field(default_factory=dict)
    edges: dict[str, dict[str, int]] = field(default_factory=dict)
    origins: dict[str, dict[str, int]] = field(default_factory=dict)
    short: dict[str, dict[str, int]] = field(default_factory=lambda: {split: {} for split in SPLITS})
    sha256: dict[str, str] = field(default_factory=dict)
    conflicts: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as it is written to report.json."""
        names = ("task", "seed", "read", "rows", "dropped", "kept", "edges", "origins", "short", "sha256", "conflicts")
        return {name: getattr(self, name) for name in names}


Splits = dict[Split, list[PreparedRow]]


def prepare(task: Task, source: Path | None, out: Path, *, seed: int | None = None) -> PreparationReport:
    """Writes the task's rows, clean and distinct, to the folder ``out``; what stood there is replaced at the end.

    Held-out rows win over training rows: of equal or nearly equal texts (see :mod:`.near_duplicates`) the one in
    test stays, else the one in validation. Equal texts with different labels go with the majority, or are dropped
    where there is none. A task with a balance keeps that many rows of each label, edge cases among them.

    Args:
        source: Folder with the data sets; None asks the Hub for those that name one.
        out: Folder to write: splits as ``datasets`` saves them, README.md (the data card), report.json.
        seed: Of every draw; None takes the task's.

    Raises:
        UsageError: a set that cannot be read, an empty split, or a folder that holds something else.
        MissingExtraError: the package ``datasets`` is missing.
    """
    if find_spec("datasets") is None:
        raise MissingExtraError("datasets", "train")
    check_target(out)
    report = PreparationReport(task.name, task.training.seed if seed is None else seed)
    # The cut of a user's file goes with the seed that was asked for.
    task = task.model_copy(update={"training": task.training.model_copy(update={"seed": report.seed})})
    splits = _read(task, source, report)
    fill = _read_fill(task, source)
    splits, fill = _distinct(splits, fill, report)
    if task.balance is not None:
        splits = _balanced(task, task.balance, splits, fill, report)
    _check_kept(task, splits)
    _count(splits, report)
    with replacing(out) as fresh:
        _write(task, splits, fresh)
        write_json(fresh / REPORT, report.as_json())
        (fresh / CARD).write_text(data_card(task, report.as_json()), encoding="utf-8")
    return report


def check_target(out: Path) -> None:
    """Raises UsageError where ``out`` is a file, or a folder that no preparation wrote: it would be replaced."""
    if out.is_file():
        raise UsageError(f"{str(out)!r} is a file; give a folder with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / REPORT).is_file():
        raise UsageError(f"{str(out)!r} holds something else than a prepared data set; give an empty folder with --out")


def _read(task: Task, source: Path | None, report: PreparationReport) -> Splits:
    splits: Splits = {}
    for split in SPLITS:
        rows: list[PreparedRow] = []
        report.read[split] = 0
        for reference in getattr(task, split):
            reading = with_known_labels(task, reference, read_reference(task, reference, split, source), source)
            rows += [PreparedRow(_settled(row), reference.set) for row in reading.examples]
            report.dropped[split].update(reading.dropped)
            report.read[split] += len(reading.examples) + reading.dropped.total()
        splits[split] = rows
    return splits


def _read_fill(task: Task, source: Path | None) -> list[PreparedRow]:
    references: Sequence[DataReference] = task.balance.fill if task.balance is not None else ()
    return [
        PreparedRow(_settled(row), reference.set)
        for reference in references
        for row in with_known_labels(task, reference, read_reference(task, reference, "train", source), source).examples
    ]


def _settled(row: Example) -> Example:
    """The row with a text that cleaning leaves as it is, since it is cleaned again when it is read."""
    text = row.text
    for _ in range(_CLEANINGS):
        again = clean_text(text)
        if again == text:
            break
        text = again
    return row if text == row.text else replace(row, text=text)


def _distinct(splits: Splits, fill: list[PreparedRow], report: PreparationReport) -> tuple[Splits, list[PreparedRow]]:
    """Splits and fill without a text that stands twice, nearly twice, or with labels that contradict each other."""
    order = [row for split in WINS for row in splits[split]] + fill
    where = [split for split in WINS for _ in splits[split]] + [None] * len(fill)
    groups = near_duplicate_groups([row.example.text for row in order])
    by_group: dict[int, list[int]] = {}
    for place, group in enumerate(groups.tolist()):
        by_group.setdefault(group, []).append(place)
    kept = []
    for places in by_group.values():
        winner = places[0] if len(places) == 1 else _winner(places, order, where, report)
        if winner is not None:
            kept.append(winner)
        for place in places:
            split = where[place]
            if place != winner and split is not None:
                report.dropped[split][_reason(place, winner, places, order, where)] += 1
    kept.sort()
    result: Splits = {split: [order[place] for place in kept if where[place] == split] for split in SPLITS}
    return result, [order[place] for place in kept if where[place] is None]


def _winner(
    places: Sequence[int], order: Sequence[PreparedRow], where: Sequence[Split | None], report: PreparationReport
) -> int | None:
    """The row of a group that stays: of the split that wins, the first with the labels that most of its equals have."""
    best = [place for place in places if where[place] == where[places[0]]]
    same = words_of(order[best[0]].example.text)
    votes = Counter(order[place].example.labels for place in best if words_of(order[place].example.text) == same)
    (labels, most), *others = votes.most_common()
    if others and len(report.conflicts) < 20:
        shown = {"|".join(names): count for names, count in votes.items()}
        report.conflicts.append({"text": order[best[0]].example.text[:200], "labels": shown})
    if others and others[0][1] == most:
        return None
    return next(place for place in best if order[place].example.labels == labels)


def _reason(
    place: int,
    winner: int | None,
    places: Sequence[int],
    order: Sequence[PreparedRow],
    where: Sequence[Split | None],
) -> str:
    if winner is None and where[place] == where[places[0]]:
        return "contradictory labels"
    first = places[0] if winner is None else winner
    equal = order[place].example.text == order[first].example.text
    if where[place] != where[first]:
        return f"{'same text' if equal else 'near-duplicate'} in {where[first]}"
    if equal and order[place].example.labels != order[first].example.labels:
        return "contradictory labels"
    return "duplicate" if equal else "near-duplicate"


def _balanced(
    task: Task, balance: Balance, splits: Splits, fill: list[PreparedRow], report: PreparationReport
) -> Splits:
    """The number of rows of each label that the task's balance asks for; held out: texts that people wrote."""
    generator = np.random.default_rng(report.seed)
    result: Splits = {}
    held_out = [row.example.text for split in WINS[:-1] for row in splits[split]]
    for split in SPLITS:
        wanted: int = getattr(balance, split)
        rows: list[PreparedRow] = []
        for label in task.labels:
            pool = _shuffled([row for row in splits[split] if row.example.labels == (label,)], generator)
            if split == "train":
                extra = _shuffled([row for row in fill if row.example.labels == (label,)], generator)
                chosen = _filled(_with_edges(pool, wanted), extra, wanted, report.seed, held_out)
            else:
                chosen = [row for row in pool if not row.authored][:wanted]
            if len(chosen) < wanted:
                report.short[split][label] = len(chosen)
            used = {id(row) for row in chosen}
            report.dropped[split]["beyond the balance"] += sum(id(row) not in used for row in pool)
            rows += chosen
        result[split] = _shuffled(rows, generator)
    return result


def _with_edges(pool: Sequence[PreparedRow], wanted: int) -> list[PreparedRow]:
    """``wanted`` rows of a pool: edge cases in turn up to their share, the others as they come."""
    if len(pool) <= wanted:
        return list(pool)
    queues = {edge: [place for place, row in enumerate(pool) if edge in edges_of(row.example)] for edge in EDGES}
    taken: dict[int, None] = {}
    limit = int(wanted * EDGE_SHARE)
    while len(taken) < limit and any(queues.values()):
        for queue in queues.values():
            if queue and len(taken) < limit:
                taken[queue.pop(0)] = None
    for place in range(len(pool)):
        if len(taken) >= wanted:
            break
        taken[place] = None
    return [pool[place] for place in sorted(taken)]


def _filled(
    rows: list[PreparedRow], extra: Sequence[PreparedRow], wanted: int, seed: int, held_out: Sequence[str]
) -> list[PreparedRow]:
    """The rows, filled up from ``extra``, and then by augmentation of what is there."""
    full = [*rows, *extra][: max(wanted, len(rows))]
    if len(full) >= wanted or not full:
        return full
    made = _augmented([row.example for row in full], wanted - len(full), seed, held_out)
    return full + [PreparedRow(row, "augmented") for row in made]


def _augmented(rows: Sequence[Example], n: int, seed: int, held_out: Sequence[str]) -> list[Example]:
    """Up to n rows made from others, with their label and other words."""
    from ..augmentation.augment import augment_rows  # it reads splits itself

    known = {words_of(text) for text in (*held_out, *(row.text for row in rows))}
    fresh: dict[str, Example] = {}
    # More than n are asked for: some have another label (negation), or differ in punctuation alone.
    for row in augment_rows(rows, n=_MADE_PER_KEPT * n, seed=seed, held_out=held_out):
        if row.labels == rows[0].labels and words_of(row.text) not in known:
            fresh.setdefault(words_of(row.text), row)
    return list(fresh.values())[:n]


def _shuffled(rows: Sequence[PreparedRow], generator: np.random.Generator) -> list[PreparedRow]:
    return [rows[place] for place in generator.permutation(len(rows))]


def _check_kept(task: Task, splits: Mapping[Split, Sequence[PreparedRow]]) -> None:
    for split in SPLITS:
        if getattr(task, split) and not splits[split]:
            raise UsageError(f"task {task.name!r}: no {split} row is left; look at the data of its {split} sets")


def _count(splits: Splits, report: PreparationReport) -> None:
    for split, rows in splits.items():
        examples = [row.example for row in rows]
        report.rows[split] = len(rows)
        report.kept[split] = dict(Counter(label for row in examples for label in (row.labels or ("",))))
        report.edges[split] = dict(Counter(edge for row in examples for edge in edges_of(row)))
        report.origins[split] = dict(Counter(row.origin for row in rows))
        report.sha256[split] = data_hash(examples)


def _write(task: Task, splits: Splits, folder: Path) -> None:
    """The splits as ``DatasetDict.save_to_disk`` leaves them."""
    import datasets as library

    text = library.Value("string")
    label = {"labels": library.List(text)} if task.multi_label else {"label": text}
    features = library.Features(
        {"text": text, **label, "edge": library.List(text), "sarcastic": library.Value("bool"), "origin": text}
    )
    content = {
        split: library.Dataset.from_list([_as_written(row, task.multi_label) for row in rows], features=features)
        for split, rows in splits.items()
        if rows
    }
    library.disable_progress_bars()
    try:
        library.DatasetDict(content).save_to_disk(str(folder))
    finally:
        library.enable_progress_bars()


def _as_written(row: PreparedRow, multi_label: bool) -> dict[str, Any]:
    example = row.example
    labels = {"labels": list(example.labels)} if multi_label else {"label": example.label}
    fields = {"edge": list(edges_of(example)), "sarcastic": example.sarcastic, "origin": row.origin}
    return {"text": example.text, **labels, **fields}
