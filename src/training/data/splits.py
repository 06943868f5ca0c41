"""Cuts rows that come without splits: 80 % train, 10 % validation, 10 % test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ...errors import UsageError
from .near_duplicates import near_duplicate_groups

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
MIN_ROWS, MIN_ROWS_PER_LABEL = 3, 2


def cut(
    texts: Sequence[str], labels: Sequence[tuple[str, ...]], splits: Sequence[Split], seed: int, *, name: str = "data"
) -> list[Split]:
    """The split of each row: stratified by label, near-duplicates always on the same side.

    Args:
        labels: Of each row; a row with several counts for its rarest.
        splits: Between which the rows are cut; the shares are those of :data:`SHARES`, the first takes what is left.
        seed: The same rows and seed give the same splits.
        name: What is cut, for messages.

    Raises:
        UsageError: fewer than 3 rows, or a label with fewer than 2 distinct texts.
    """
    if len(splits) == 1:
        return [splits[0]] * len(texts)
    groups = near_duplicate_groups(texts)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    counts = Counter(label for group in members for label in {lab for row in members[group] for lab in labels[row]})
    _check(len(members), counts, splits, name)
    strata: dict[str, list[int]] = {}
    for group, rows in members.items():
        rarest = min(labels[rows[0]], key=lambda label: (counts[label], label), default="")
        strata.setdefault(rarest, []).append(group)
    generator = np.random.default_rng(seed)
    taken: dict[int, Split] = {}
    left_out = Counter[Split]()
    for stratum in sorted(strata):
        shuffled = [strata[stratum][i] for i in generator.permutation(len(strata[stratum]))]
        for split, n in _sizes(len(shuffled), splits, left_out).items():
            taken.update(dict.fromkeys(shuffled[:n], split))
            shuffled = shuffled[n:]
        taken.update(dict.fromkeys(shuffled, splits[0]))
    return [taken[group] for group in groups.tolist()]


def _sizes(n: int, splits: Sequence[Split], left_out: Counter[Split]) -> dict[Split, int]:
    """How many of n rows of a label each split but the first takes: at least one, as long as the first keeps one.

    Where there are not enough for all, the split goes first that was left out most often.
    """
    total = sum(SHARES[split] for split in splits)
    sizes: dict[Split, int] = {}
    spare = n - 1
    for split in sorted(splits[1:], key=lambda s: -left_out[s]):
        sizes[split] = min(spare, max(1, round(n * SHARES[split] / total)))
        spare -= sizes[split]
        left_out[split] += sizes[split] == 0
    return sizes


def _check(n: int, counts: Counter[str], splits: Sequence[Split], name: str) -> None:
    into = " and ".join(", ".join(splits).rsplit(", ", 1))
    if n < MIN_ROWS:
        raise UsageError(
            f"{name} has {n} distinct texts; at least {MIN_ROWS} are needed to cut it into {into}, and "
            f"{MIN_ROWS_PER_LABEL} for each label; some hundreds for each label give a usable model"
        )
    rare = sorted(label for label, count in counts.items() if count < MIN_ROWS_PER_LABEL)
    if rare:
        shown = ", ".join(map(repr, rare[:5])) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
        raise UsageError(
            f"{name}: {len(rare)} of {len(counts)} labels have fewer than {MIN_ROWS_PER_LABEL} distinct texts: "
            f"{shown}; at least {MIN_ROWS_PER_LABEL} are needed to cut the rows into {into}: add rows, merge these "
            "labels, or leave their rows out"
        )
