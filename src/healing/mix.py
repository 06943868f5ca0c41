"""Which corrections are learned from, which are held out to measure on, and which old rows are repeated beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..training.data.near_duplicates import near_duplicate_groups
from ..training.datasets import Example
from .corrections import Correction


@dataclass(frozen=True)
class Parts:
    """Corrections by what they are for."""

    learned: list[Correction]
    held_out: list[Correction]


def hold_out(
    corrections: Sequence[Correction],
    share: float,
    *,
    learned: Collection[str] = (),
    held_out: Collection[str] = (),
) -> Parts:
    """Sets a share of the corrections aside, by the hashes of their texts, of each label alike.

    Near-duplicates stay on one side, and texts that an earlier heal has learned or held out on theirs.

    Args:
        corrections: One per text.
        share: From 0 to below 1, of each label; one at least of a label with four texts.
        learned: Keys of texts that are never held out.
        held_out: Keys of texts that are never learned.
    """
    groups = near_duplicate_groups([one.text for one in corrections]).tolist() if corrections else []
    members: dict[int, list[Correction]] = {}
    for one, group in zip(corrections, groups, strict=True):
        members.setdefault(group, []).append(one)
    aside: set[int] = set()
    strata: dict[tuple[str, ...], list[int]] = {}
    for group, ones in members.items():
        keys = {one.key for one in ones}
        if not keys.isdisjoint(held_out) and keys.isdisjoint(learned):
            aside.add(group)
        elif keys.isdisjoint(learned):
            strata.setdefault(min(one.labels for one in ones), []).append(group)
    for free in strata.values():
        n = max(round(share * len(free)), 1 if len(free) >= 4 and share > 0 else 0)
        free.sort(key=lambda group: min(_rank(one.key) for one in members[group]))
        aside.update(free[:n])
    return Parts(
        [one for one, group in zip(corrections, groups, strict=True) if group not in aside],
        [one for one, group in zip(corrections, groups, strict=True) if group in aside],
    )


def replay(rows: Sequence[Example], corrected: Collection[str], n: int, seed: int) -> list[Example]:
    """A sample of the original training rows, so that what was learned before is not forgotten.

    Args:
        rows: All of them.
        corrected: Texts that people have corrected since: what they said counts.
        n: How many.
        seed: Of the sample.
    """
    left = [row for row in rows if row.text not in corrected]
    chosen = sorted(np.random.default_rng(seed).permutation(len(left))[:n].tolist())
    return [left[i] for i in chosen]


def _rank(key: str) -> str:
    return hashlib.sha256(f"held out {key}".encode()).hexdigest()
