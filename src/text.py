"""Cleaning that serving and training share, so that a model is asked in the form in which it was taught."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from .emojis import emoji_words, emoticons_to_emoji, find_emoji
from .errors import InputError

URL_WORD = "http"
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_REPEATED = re.compile(r"(\D)\1{3,}")  # digits stay: 10000 is a number, not an elongation
_SPACES = re.compile(r"\s+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_VARIATION_SELECTORS = "\ufe0e\ufe0f"  # left over where one stands alone
_DEFAULT_MAX_CHARS = 100_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text as the nodes see it.

    Attributes:
        clean: What the models read: emoji as words, no mark-up, no control characters. Never empty.
        emojis: The emoji sequences, in order, emoticons included.
        emoji_only: True where emoji and emoticons are all that is said.
        foreign: Share, 0 to 1, of letters that are not Latin; 1 where there are no letters and no emoji.
    """

    clean: str
    emojis: tuple[str, ...]
    emoji_only: bool
    foreign: float


def check_text(text: object, *, max_chars: int = _DEFAULT_MAX_CHARS, index: int | None = None) -> str:
    """Returns ``text`` if it can be classified.

    Raises:
        InputError: not a string, nothing but white space, or longer than ``max_chars`` characters.
    """
    if not isinstance(text, str):
        shown = repr(text)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise InputError(f"a text must be a str, got {type(text).__name__}: {shown}", index=index)
    if len(text) > max_chars:
        raise InputError(
            f"the text has {len(text):,} characters, at most {max_chars:,} are read; "
            "split it, or raise dag.max_chars in the configuration",
            index=index,
        )
    if not _visible(text):
        raise InputError(f"the text is empty: {text[:20]!r}; give at least one visible character", index=index)
    return text


def _visible(text: str) -> bool:
    return any(not c.isspace() and unicodedata.category(c) not in {"Cc", "Cf"} for c in text)


def prepare(text: str) -> Prepared:
    """Reads one text: emoji found and turned into words, noise removed, script looked at."""
    plain = text
    if _SURROGATE.search(text):  # halves of a character, as JSON escapes them: joined, or marked where one is missing
        plain = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    plain = _URL.sub(f" {URL_WORD} ", _TAG.sub(" ", html.unescape(plain)))
    with_emoji = emoticons_to_emoji(plain)
    pieces: list[str] = []
    emojis: list[str] = []
    said: list[str] = []
    for piece, is_emoji in _split_emoji(with_emoji):
        if not is_emoji:
            pieces.append(piece)
            said.append(piece)
        else:
            # A row of the same emoji is one sign said loudly; its name once is enough for the model.
            if not (emojis and emojis[-1] == piece and pieces[-1] == ""):
                pieces.append(f" {emoji_words(piece)} ")
            emojis.append(piece)
            pieces.append("")
    words = "".join(said).replace(URL_WORD, "")
    return Prepared(
        clean=_tidy("".join(pieces)) or "?",
        emojis=tuple(emojis),
        emoji_only=bool(emojis) and URL_WORD not in "".join(said) and not any(c.isalnum() for c in words),
        foreign=_foreign_share(words, has_emoji=bool(emojis)),
    )


def clean_text(text: str) -> str:
    """The text as the models read it; see :class:`Prepared`.

    >>> clean_text("sooooooo good<br />see https://example.org \N{GRINNING FACE}")
    'sooo good see http grinning face'
    """
    return prepare(text).clean


def _split_emoji(text: str) -> Iterator[tuple[str, bool]]:
    end = 0
    for start, stop, sequence in find_emoji(text):
        if start > end:
            yield text[end:start], False
        yield sequence, True
        end = stop
    if end < len(text):
        yield text[end:], False


def _tidy(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in text if unicodedata.category(c) != "Cf" and c not in _VARIATION_SELECTORS)
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c.isspace() else " " for c in text)
    return _SPACES.sub(" ", _REPEATED.sub(r"\1\1\1", text)).strip()


def _foreign_share(words: str, *, has_emoji: bool) -> float:
    if words.isascii() and any(c.isalpha() for c in words):
        return 0.0
    letters = [c for c in words if c.isalpha()]
    if not letters:
        return 0.0 if has_emoji else 1.0
    foreign = sum(
        1
        for c in letters
        if not c.isascii() and "LATIN" not in unicodedata.name(unicodedata.normalize("NFKC", c)[0], "")
    )
    return foreign / len(letters)
