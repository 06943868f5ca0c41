"""Synonym replacement: words of our own table by substitutes that fit between the same neighbours."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from ...emojis import load_data

REPLACED_SHARE = 0.2
_WORD = re.compile(r"[A-Za-z]+(?:['\u2019][a-z]+)?")
_BEFORE_BASE_FORM = re.compile(
    r"i|you|we|they|to|(?:do|did|ca|wo|would|could|should)n't|cannot|will|would|could|should|must|please|just|really|i'[ld]+"
)
_PARTICLES = frozenset({"to", "up", "out", "off", "down", "on", "in", "over", "away", "back", "around", "through"})
_PRONOUNS = frozenset({"it", "him", "her", "them", "me", "us", "this", "that", "you"})
_DEGREE = frozenset({"as", "so", "too", "very", "more", "most", "how", "less", "quite", "really", "pretty", "a", "an"})
_TITLE = re.compile(r"\b(?:Mrs?|Ms|Dr|St|Prof)\.$")
_VOWEL = re.compile(r"[aeiou]", re.IGNORECASE)


@cache
def synonym_table() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Word in lower case to its section in ``data/synonyms.json`` and its substitutes."""
    data = load_data("synonyms")
    return {
        word: (section, tuple(substitutes))
        for section, words in data.items()
        if isinstance(words, dict)
        for word, substitutes in words.items()
    }


def replace_synonyms(text: str, chance: Random) -> str | None:
    """Replaces a fifth of the words, at least one, by substitutes of our table; names and capitals stay.

    >>> replace_synonyms("A terrible idea.", Random(3))
    'A dreadful idea.'
    """
    words = list(_WORD.finditer(text))
    options = {place: fitting for place in range(len(words)) if (fitting := _substitutes(text, words, place))}
    if not options:
        return None
    wanted = max(1, round(REPLACED_SHARE * len(words)))
    picked = chance.sample(sorted(options), min(chance.randint(1, wanted + 1), len(options)))
    for place in sorted(picked, reverse=True):  # from the end, so that earlier positions stay valid
        start, end = words[place].span()
        substitute = chance.choice(options[place])
        before = _fit_article(text[:start], text[start:end], substitute)
        text = before + _like(substitute, text[start:end]) + text[end:]
    return text


def _substitutes(text: str, words: list[re.Match[str]], place: int) -> list[str]:
    """Substitutes that fit between this word's neighbours."""
    word = words[place].group()
    entry = synonym_table().get(word.lower())
    if entry is None or text[words[place].end() :][:1] in {"-", "_", "/", "@"} or _is_name(text, words[place]):
        return []
    section, substitutes = entry
    previous = words[place - 1].group().lower() if place and _touch(text, words[place - 1], words[place]) else ""
    has_next = place + 1 < len(words) and _touch(text, words[place], words[place + 1])
    following = words[place + 1].group().lower() if has_next else ""
    if section == "verbs_or_nouns" and not _BEFORE_BASE_FORM.fullmatch(previous.replace("\u2019", "'")):
        return []
    if section.startswith("verbs") and following in _PARTICLES:
        return []
    if section in {"adjectives", "adverbs"} and following == "of":
        return []
    only_one_word = previous in _DEGREE or (section.startswith("verbs") and following in _PRONOUNS)
    taken = {previous, following}
    return [s for s in substitutes if s not in taken and not (only_one_word and " " in s)]


def _touch(text: str, left: re.Match[str], right: re.Match[str]) -> bool:
    return text[left.end() : right.start()].isspace()


def _is_name(text: str, word: re.Match[str]) -> bool:
    """Whether a capital stands where no sentence begins, in a text that is not all capitals."""
    if not word.group()[0].isupper() or (word.group().isupper() and len(word.group()) > 1):
        return False
    before = text[: word.start()].rstrip(" \"'“(*>")
    return bool(before) and (before[-1] not in ".!?…" or _TITLE.search(before) is not None)


def _like(substitute: str, word: str) -> str:
    if word.isupper() and len(word) > 1:
        return substitute.upper()
    return substitute[0].upper() + substitute[1:] if word[0].isupper() else substitute


def _fit_article(before: str, word: str, substitute: str) -> str:
    """``a`` or ``an`` before the new word, where the sound of its first letter changes."""
    if bool(_VOWEL.match(word)) == bool(_VOWEL.match(substitute)):
        return before
    article = re.search(r"\b([Aa])(n?) $", before)
    if article is None or (article.group(2) == "n") != bool(_VOWEL.match(word)):
        return before
    return before[: article.start()] + article.group(1) + ("n " if _VOWEL.match(substitute) else " ")
