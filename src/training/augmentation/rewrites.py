"""The methods of augmentation: each writes a labelled English text in another way, or passes.

A method takes a row and a source of chance and gives the new text with its labels, or None where its pattern does
not surely fit. The registry is :data:`METHODS`; another method is one function and one line there. Which of them
help is measured by ``benchmarks/augmentation.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from ...emojis import load_data
from ..datasets import Example
from .synonyms import replace_synonyms
from .word_order import change_word_order, sentences_of

Rewritten = tuple[str, tuple[str, ...]]
"""A new text and its labels."""

EMOTIONS = ("joy", "sadness", "anger", "fear", "love", "surprise", "neutral", "disgust")


@dataclass(frozen=True, slots=True)
class Method:
    """A way to write a text anew.

    Attributes:
        rewrite: Gives the new text and its labels, or None where it does not fit.
        emotions_only: Whether it can only work on rows that have one of the eight emotions and nothing else.
        keeps_labels: Whether the labels stay as they are.
    """

    rewrite: Callable[[Example, Random], Rewritten | None]
    emotions_only: bool = False
    keeps_labels: bool = True


def _keeping_labels(change: Callable[[str, Random], str | None]) -> Callable[[Example, Random], Rewritten | None]:
    def rewrite(row: Example, chance: Random) -> Rewritten | None:
        text = change(row.text, chance)
        return None if text is None else (text, row.labels)

    return rewrite


# Without the apostrophe these are other words, some of them with a feeling of their own (I'll, he'll, we're).
_KEEP_APOSTROPHE = re.compile(r"\b(?:I|he|she|we)['\u2019](?:ll|d|re)\b", re.IGNORECASE)
_APOSTROPHE = re.compile(r"(?<=[A-Za-z])['\u2019](?=[a-z])")
_PLACEHOLDER = re.compile(r"\[[A-Z]+\]")  # [NAME]: written by those who made a set anonymous
_MARK = re.compile(r"[.,!?;:\u2026\"\u201c\u201d]+(?=\s|$)|(?<!\S)[\"\u201c\u201d]+")


def vary_punctuation(text: str, chance: Random) -> str | None:
    """Writes as raw posts do: lower case, no apostrophes, no marks or more of them; one to three of these.

    >>> vary_punctuation("I don't know, he's gone.", Random(5))
    "i don't know he's gone"
    """
    ways = [way for way in _PUNCTUATION if way(text) != text]
    if not ways:
        return None
    for way in chance.sample(ways, chance.randint(1, min(3, len(ways)))):
        text = way(text)
    return text if text.strip() else None


def _lower(text: str) -> str:
    pieces = _PLACEHOLDER.split(text)
    kept = [*_PLACEHOLDER.findall(text), ""]
    return "".join(piece.lower() + name for piece, name in zip(pieces, kept, strict=True))


def _drop_apostrophes(text: str) -> str:
    kept = [match.span() for match in _KEEP_APOSTROPHE.finditer(text)]
    return _APOSTROPHE.sub(lambda m: m.group() if any(a <= m.start() < b for a, b in kept) else "", text)


def _drop_marks(text: str) -> str:
    return _MARK.sub("", text)


def _drop_commas(text: str) -> str:
    return re.sub(r",(?=\s)", "", text)


def _drop_last_mark(text: str) -> str:
    return text.rstrip(".! ")


def _dots(text: str) -> str:
    return re.sub(r"(?<![.\d])\.(?=\s|$)", "...", text)


def _double(text: str) -> str:
    return re.sub(r"(?<![!?])([!?])(?=\s|$)", r"\1\1", text)


_PUNCTUATION = (_lower, _drop_apostrophes, _drop_marks, _drop_commas, _drop_last_mark, _dots, _double)

EMOJI_WEIGHT = 0.6
# Faces, hearts and hands. The lexicon's food, sport and animals fit only texts about them.
_FEELING_SIGN = re.compile(
    "[\U0001f600-\U0001f64f\U0001f910-\U0001f915\U0001f917\U0001f920-\U0001f92f\U0001f970-\U0001f976\U0001f979\U0001f97a\U0001fae0-\U0001fae8\u2639\u263a\u2764"
    "\U0001f44d\U0001f44f\U0001f493-\U0001f49f\U0001f4a2\U0001f4af\U0001f389\U0001f90d\U0001f90e\U0001f9d0\U0001f9e1]"
    "\ufe0f?"
)


@cache
def emoji_of(emotion: str) -> tuple[str, ...]:
    """Faces, hearts and hands of our lexicon that say this emotion with a weight of at least 0.6, in its order."""
    lexicon: dict[str, dict[str, float]] = load_data("emoji_emotions")["emoji"]
    return tuple(
        sign
        for sign, weights in lexicon.items()
        if weights.get(emotion, 0.0) >= EMOJI_WEIGHT and _FEELING_SIGN.fullmatch(sign)
    )


def add_emoji(row: Example, chance: Random) -> Rewritten | None:
    """Appends an emoji of the row's emotion, or puts it behind the first sentence.

    Sarcastic rows are left alone: ironic people do not choose the emoji of what they mean.
    """
    signs = () if row.sarcastic else emoji_of(row.label)
    if not signs:
        return None
    sentences = sentences_of(row.text)
    place = 1 if len(sentences) > 1 and chance.random() < 0.3 else len(sentences)
    return " ".join([*sentences[:place], chance.choice(signs), *sentences[place:]]), row.labels


_TAIL = (
    r"(?P<tail>(?: (?:about|with|of|by|at) [^,;:.!?]+?)?"
    r"(?: (?:today|now|right now|tonight|at all|this morning|this week|these days|lately|here|again))?)(?P<end>[.!]*)"
)
_OPENING = r"(?:(?:oh|wow|ugh|lol|haha|man|damn|god|omg|yeah|well|honestly)[,.!]* )?"
_DEGREE = r"(?: (?:so|very|really|pretty|quite|extremely|incredibly|totally|absolutely|kinda|just))*"
_FEELS = re.compile(
    rf"{_OPENING}(?P<subject>I|we|he|she|they|you|it|this|that|my \w+)"
    rf"(?P<verb>['\u2019]?m|['\u2019]re|['\u2019]s| am| are| is| was| were| feel| feels| felt){_DEGREE}"
    rf" (?P<feeling>[a-z]+){_TAIL}",
    re.IGNORECASE,
)
_MAKES = re.compile(
    rf"{_OPENING}(?P<subject>it|this|that)(?P<verb> makes| made)(?P<whom> (?:me|us)(?: feel)?){_DEGREE}"
    rf" (?P<feeling>[a-z]+){_TAIL}",
    re.IGNORECASE,
)
_TURNS = re.compile(
    r"\b(?:not|no|never|but|because|when|if|and|that|who|which|how|what|why|where|until|than|too|also|either|"
    r"i|you|we|they|he|she)\b|n['\u2019]?t\b",
    re.IGNORECASE,
)
_DENIED_VERBS = {
    " feel": " don't feel",
    " feels": " doesn't feel",
    " felt": " didn't feel",
    " makes": " doesn't make",
    " made": " didn't make",
}
_LONGEST_TAIL = 6


@cache
def label_changes() -> dict[str, tuple[str, str]]:
    """Word to the emotion that it names and the one that its denial leaves; the table is data/negations.json."""
    changes: dict[str, dict[str, list[str]]] = load_data("negations")["changes"]
    return {
        word: (emotion, denied)
        for emotion, targets in changes.items()
        for denied, words in targets.items()
        for word in words
    }


def negate(row: Example, chance: Random) -> Rewritten | None:  # noqa: ARG001 - there is one way
    """Denies the feeling of a text that says nothing else, and changes the label; None for any other text.

    >>> negate(Example("I'm so happy with my job!", ("joy",)), Random(0))
    ("I'm not happy with my job.", ('sadness',))
    >>> negate(Example("i feel scared", ("fear",)), Random(0))
    ('i dont feel scared', ('neutral',))
    """
    match = _FEELS.fullmatch(row.text) or _MAKES.fullmatch(row.text)
    if match is None or row.sarcastic or len(row.labels) != 1:
        return None
    emotion, denied = label_changes().get(match["feeling"].lower(), ("", ""))
    if emotion != row.label or _TURNS.search(match["tail"]) or len(match["tail"].split()) > _LONGEST_TAIL:
        return None
    verb = _DENIED_VERBS.get(match["verb"].lower(), f"{match['verb']} not")
    if row.text.islower() and "'" not in row.text:
        verb = verb.replace("'", "")  # as who writes so would go on
    subject = match["subject"][0].upper() + match["subject"][1:] if row.text[0].isupper() else match["subject"]
    end = "." if match["end"] else ""  # what is denied is rarely shouted
    whom = match.groupdict().get("whom") or ""
    return f"{subject}{verb}{whom} {match['feeling'].lower()}{match['tail']}{end}", (denied,)


METHODS: dict[str, Method] = {
    "synonyms": Method(_keeping_labels(replace_synonyms)),
    "word_order": Method(_keeping_labels(change_word_order)),
    "emoji": Method(add_emoji, emotions_only=True),
    "negation": Method(negate, emotions_only=True, keeps_labels=False),
    "punctuation": Method(_keeping_labels(vary_punctuation)),
}
"""Every method by its name."""
