"""Near-duplicates: texts whose sets of character 5-grams overlap by a Jaccard index of at least 0.9.

The join is exact: two sets of such an overlap share one of their few rarest members (prefix filtering, Bayardo et
al. 2007), so only texts that do are compared. At this threshold that is faster than MinHash signatures, and unlike
them it misses no pair.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

THRESHOLD = 0.9
SIZE = 5
_WORD = re.compile(r"\w+")
_BASE = np.uint64(1_000_003)
_BITS = 24  # of a hash: a counter for each fits in 64 MiB, and chance hits in a pair of texts are rarer than 1 in 1,000
_BUCKETS = 1 << _BITS


def words_of(text: str) -> str:
    """The text's words in lower case, one blank between: what is left where case and punctuation do not count.

    >>> words_of("Thanks,  Anna!!")
    'thanks anna'
    """
    return " ".join(_WORD.findall(text.lower())) or text


def near_duplicate_groups(texts: Sequence[str], *, threshold: float = THRESHOLD) -> IntArray:
    """Group of each text, shape (n,): texts of a group are linked by pairs that overlap by ``threshold`` or more.

    A group's number is the position of its first text.

    Args:
        threshold: Jaccard index of the sets of character 5-grams of :func:`words_of`, above 0, at most 1.
    """
    parent = list(range(len(texts)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[str, int] = {}
    distinct = []
    for place, words in enumerate(map(words_of, texts)):
        if words in first:
            parent[place] = first[words]
        else:
            first[words] = place
            distinct.append(place)
    for one, other in _similar_pairs([words_of(texts[place]) for place in distinct], threshold):
        low, high = sorted((root(distinct[one]), root(distinct[other])))
        parent[high] = low
    return np.array([root(place) for place in range(len(texts))], dtype=np.int64)


def _similar_pairs(texts: Sequence[str], threshold: float) -> list[tuple[int, int]]:
    """Pairs of positions whose sets of shingles overlap by the threshold or more."""
    sets = [_shingles(text) for text in texts]
    counts = np.zeros(_BUCKETS, dtype=np.int32)
    for shingles in sets:
        counts[shingles] += 1
    pairs = []
    index: dict[int, list[int]] = {}
    # Smaller sets first: a later one is at least as large, so only its lower bound on the size is checked.
    for place in sorted(range(len(texts)), key=lambda i: len(sets[i])):
        shingles = sets[place]
        smallest = math.ceil(threshold * len(shingles) - 1e-9)
        rarest = shingles[np.argsort(counts[shingles], kind="stable")[: len(shingles) - smallest + 1]]
        candidates: set[int] = set()
        for shingle in rarest[counts[rarest] > 1].tolist():
            there = index.setdefault(shingle, [])
            candidates.update(there)
            there.append(place)
        for other in sorted(candidates):
            if len(sets[other]) < smallest:
                continue
            shared = len(np.intersect1d(shingles, sets[other], assume_unique=True))
            if shared >= threshold * (len(shingles) + len(sets[other]) - shared) - 1e-9:
                pairs.append((other, place))
    return pairs


def _shingles(text: str) -> npt.NDArray[np.uint32]:
    """Hashes of the distinct runs of 5 characters, ascending; a shorter text is one run."""
    letters = np.frombuffer(text.ljust(SIZE).encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    hashed = np.zeros(len(letters) - SIZE + 1, dtype=np.uint64)
    for offset in range(SIZE):
        hashed = hashed * _BASE + letters[offset : len(letters) - SIZE + 1 + offset]
    # The upper bits are the well mixed ones.
    mixed = (hashed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _BITS)
    return np.unique(mixed.astype(np.uint32))
