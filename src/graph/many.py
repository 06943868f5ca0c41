"""Many texts: cut into runs, those that cannot be classified set aside, and everything put back in order."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice

from ..errors import InputError, UsageError
from ..schema import Classification
from ..text import check_text

CHUNK = 1024
"""Texts in one run of many: enough to batch texts of like length, few enough that memory stays flat."""


def check_many(texts: object, errors: str, chunk: int = CHUNK) -> None:
    """Raises InputError for a single text, UsageError for another value of ``errors`` or a chunk without a text."""
    if isinstance(texts, str | bytes):
        raise InputError(f"this takes several texts, got one {type(texts).__name__}; use classify")
    if errors not in {"raise", "return"}:
        raise UsageError(f"errors must be 'raise' or 'return', got {errors!r}")
    if chunk < 1:
        raise UsageError(f"a chunk holds one text or more, got {chunk!r}")


def sift(texts: Iterable[str], max_chars: int, errors: str, start: int = 0) -> tuple[list[str], dict[int, InputError]]:
    """The texts that can be classified, and the errors of the others by index; with "raise" up to the first of those.

    Args:
        start: Index of the first text.
    """
    good: list[str] = []
    bad: dict[int, InputError] = {}
    for index, text in enumerate(texts, start):
        try:
            good.append(check_text(text, max_chars=max_chars, index=index))
        except InputError as error:
            bad[index] = error
            if errors == "raise":
                break
    return good, bad


def weave(
    found: list[Classification], bad: dict[int, InputError], start: int = 0
) -> list[Classification] | list[Classification | InputError]:
    """Results and errors in the order of the texts."""
    if not bad:
        return found
    results = iter(found)
    return [bad[i] if i in bad else next(results) for i in range(start, start + len(found) + len(bad))]


def deliver(woven: Iterable[Classification | InputError], errors: str) -> Iterator[Classification | InputError]:
    """One after the other; with "raise" an error is raised in its turn."""
    for one in woven:
        if errors == "raise" and isinstance(one, InputError):
            raise one
        yield one


def chunks(texts: list[str]) -> Iterator[list[str]]:
    """The texts of each run."""
    return (texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK))


async def parts(texts: Iterable[str] | AsyncIterable[str], size: int) -> AsyncIterator[list[str]]:
    """The texts by ``size``, the last part with those that are left."""
    if not isinstance(texts, AsyncIterable):
        source = iter(texts)
        while part := list(islice(source, size)):
            yield part
        return
    part = []
    async for text in texts:
        part.append(text)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
