"""Texts as windows of tokens. A graph's models mostly have the same tokenizer: what one has cut the others find cut."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

TextInput: TypeAlias = str | tuple[str, str]
Ids: TypeAlias = npt.NDArray[np.int64]

_MOST = 2048
"""Texts that are remembered: more than one run of many holds."""
_LONGEST = 1000
"""Characters of those: longer ones cost memory, and little beside the model's pass."""


@dataclass(frozen=True, slots=True)
class Window:
    """What the model reads at once.

    Attributes:
        ids: Tokens.
        types: 0 for the first text of a pair, 1 for the second.
        special: How many of the tokens stand for no part of the text.
    """

    ids: Ids
    types: Ids
    special: int


class Windows:
    """Cuts texts into windows, for several threads at once.

    Args:
        content: Of ``tokenizer.json``.
        max_length: Tokens per window, special tokens included.
        stride: Tokens that neighbouring windows share.
    """

    def __init__(self, content: str, max_length: int, stride: int) -> None:
        # The window length is set once and for all: changing it per call is what makes a shared fast tokenizer fail
        # with "Already borrowed" under threads.
        self._tokenizer = Tokenizer.from_str(content)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, stride=stride, strategy="only_first")
        self._recent: dict[TextInput, tuple[Window, ...]] = {}
        self._lock = threading.Lock()

    def cut(self, texts: Sequence[TextInput]) -> list[tuple[Window, ...]]:
        """Each text's windows, none for a text of which the tokenizer leaves no token; a pair's first text is cut."""
        with self._lock:
            found = {text: self._recent[text] for text in texts if text in self._recent}
        fresh = [text for text in dict.fromkeys(texts) if text not in found]
        if fresh:
            # One text is not worth the threads that a batch is handed to.
            alone = isinstance(fresh[0], str) and len(fresh) == 1
            made = [self._tokenizer.encode(fresh[0])] if alone else self._tokenizer.encode_batch_fast(fresh)
            new = dict(zip(fresh, map(_windows, made), strict=True))
            found.update(new)
            self._remember((text, cut) for text, cut in new.items() if isinstance(text, str) and len(text) <= _LONGEST)
        return [found[text] for text in texts]

    def _remember(self, cut: Iterable[tuple[str, tuple[Window, ...]]]) -> None:
        with self._lock:
            self._recent.update(cut)
            for old in list(self._recent)[: max(0, len(self._recent) - _MOST)]:
                del self._recent[old]


def _windows(first: Encoding) -> tuple[Window, ...]:
    return tuple(
        Window(np.array(one.ids, dtype=np.int64), np.array(one.type_ids, dtype=np.int64), sum(one.special_tokens_mask))
        for one in (first, *first.overflowing)
        if one.ids
    )


@lru_cache(maxsize=4)
def windows_of(content: str, max_length: int, stride: int) -> Windows:
    """The one that models with the same tokenizer share; it takes some milliseconds and megabytes to make."""
    return Windows(content, max_length, stride)
