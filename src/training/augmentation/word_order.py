"""Word-order variation: clauses, sentences and adverbials change places where nothing else depends on the order."""

from __future__ import annotations

import re
from random import Random

from .synonyms import synonym_table

_LONGEST_CLAUSE = 25  # words; longer sentences hold more than the patterns see
_ADVERBIALS = (
    "today|yesterday|tonight|this morning|this afternoon|this evening|last night|last week|last month|last year|"
    "this week|this year|right now|these days|at the moment|at this point|every day|every time|every night|"
    "sometimes|honestly|unfortunately|fortunately|luckily|sadly|apparently|obviously|lately|recently|nowadays|"
    "for once|to be honest|in the end|after all|at least|at first|for some reason|in my opinion|as usual|of course|"
    "by the way|lol|tbh|imo|haha"
)
_LEADING = re.compile(rf"(?P<adverbial>{_ADVERBIALS}),? (?P<rest>[^,;:]+)", re.IGNORECASE)
_TRAILING = re.compile(rf"(?P<rest>[^,;:]+),? (?P<adverbial>{_ADVERBIALS})", re.IGNORECASE)
_SUBORDINATE = "because|although|even though|though|unless|as soon as|whenever"
_MAIN_FIRST = re.compile(rf"(?P<main>[^,;:]+?),? (?P<word>{_SUBORDINATE}) (?P<clause>[^,;:]+)", re.IGNORECASE)
_CLAUSE_FIRST = re.compile(
    rf"(?P<word>{_SUBORDINATE}|when|after|before|while|if|since) (?P<clause>[^,;:]+), (?P<main>[^,;:]+)", re.IGNORECASE
)
_LINKED = re.compile(rf"\b(?:{_SUBORDINATE}|that|which|who|what|how|why|where|whether|but|so|and|or)\b", re.IGNORECASE)
_SUBJECT = re.compile(r"(?:i|you|we|they|he|she|it|my|your|our|the|this|that|there|people)\b", re.IGNORECASE)
_AGENT = re.compile(r"\b(?:i|you|we|they|he|she)\b", re.IGNORECASE)  # two of them: two clauses, run together
_SCOPED = re.compile(
    r"(?:\b(?:just|only|not|it's|its|that's|is|was|are|maybe|probably|simply)|n['\u2019]?t)$", re.IGNORECASE
)
_OWN_CLAUSES = re.compile(
    r"(?P<one>(?:i|we|you)(?:['\u2019](?:m|re|ve))? [^,;:]+?), and "
    r"(?P<two>(?:i|we|you)(?:['\u2019](?:m|re|ve))? [^,;:]+)",
    re.IGNORECASE,
)
_IN_SEQUENCE = re.compile(r"\b(?:then|now|later|after|so|too|also|it|that|this|there)\b", re.IGNORECASE)
_PAIR = re.compile(r"\b(?P<one>[a-z]+) and (?P<two>[a-z]+)\b")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_REFERS_BACK = re.compile(
    r"(?:its?|this|that|these|those|he|she|they|him|her|them|his|their|but|and|or|so|then|because|"
    r"also|which|who|yes|no|yeah|nope|not|same|there|here|still|even|only|too|edit)\b",
    re.IGNORECASE,
)


def change_word_order(text: str, chance: Random) -> str | None:
    """Swaps clauses, sentences or two adjectives, or moves an adverbial, where no other word refers to the order.

    >>> change_word_order("I stayed home because the rain was awful.", Random(0))
    'Because the rain was awful, I stayed home.'
    """
    ways = [_swap_pair, _swap_sentences] if sentences_of(text)[1:] else [*_IN_A_SENTENCE, _swap_pair]
    found = [other for way in ways if (other := way(text)) is not None]
    return chance.choice(found) if found else None


def sentences_of(text: str) -> list[str]:
    """The text cut behind each ``.``, ``!`` or ``?`` that white space follows."""
    return _SENTENCE.split(text)


def _body_and_end(text: str) -> tuple[str, str]:
    """A sentence and the signs at its end."""
    body = text.rstrip(" .!")
    return body, text[len(body) :].strip()


def _is_simple(clause: str) -> bool:
    """Whether it begins with its subject, and holds no other clause."""
    return bool(_SUBJECT.match(clause)) and not _LINKED.search(clause) and len(_AGENT.findall(clause)) < 2


def _swap_subordinate(text: str) -> str | None:
    body, end = _body_and_end(text)
    if "?" in body or len(body.split()) > _LONGEST_CLAUSE:
        return None
    match = _CLAUSE_FIRST.fullmatch(body)
    if match is not None:
        if not _is_simple(match["main"]) or _LINKED.search(match["clause"]):
            return None
        return _upper_first(f"{match['main']} {match['word'].lower()} {match['clause']}{end}", like=text)
    match = _MAIN_FIRST.fullmatch(body)
    if match is None or not (_is_simple(match["main"]) and _is_simple(match["clause"])):
        return None
    if _SCOPED.search(match["main"]):
        return None
    return _upper_first(f"{match['word'].lower()} {match['clause']}, {_lower_first(match['main'])}{end}", like=text)


def _move_adverbial(text: str) -> str | None:
    body, end = _body_and_end(text)
    if "?" in body or len(body.split()) > _LONGEST_CLAUSE:
        return None
    match = _LEADING.fullmatch(body)
    if match is not None and _is_simple(match["rest"]):
        return _upper_first(f"{match['rest']} {match['adverbial'].lower()}{end}", like=text)
    match = _TRAILING.fullmatch(body)
    if match is None or not _is_simple(match["rest"]):
        return None
    return _upper_first(f"{match['adverbial'].lower()} {_lower_first(match['rest'])}{end}", like=text)


def _swap_own_clauses(text: str) -> str | None:
    body, end = _body_and_end(text)
    match = _OWN_CLAUSES.fullmatch(body)
    if match is None or "?" in body or _IN_SEQUENCE.search(match["two"]) or _LINKED.search(match["two"]):
        return None
    return _upper_first(f"{match['two']}, and {_lower_first(match['one'])}{end}", like=text)


def _swap_pair(text: str) -> str | None:
    for match in _PAIR.finditer(text):
        pair = match["one"], match["two"]
        tail = text[match.end() :]
        alone = tail == "" or tail[0] in ".,!?;" or tail.startswith((" about", " with", " at ", " for", " because"))
        if alone and all(synonym_table().get(word, ("", ()))[0] == "adjectives" for word in pair):
            return f"{text[: match.start()]}{pair[1]} and {pair[0]}{tail}"
    return None


def _swap_sentences(text: str) -> str | None:
    sentences = sentences_of(text)
    if len(sentences) != 2 or any(len(s.split()) < 2 for s in sentences):
        return None
    first, second = sentences
    if first.endswith("?") or _REFERS_BACK.match(second) or first[-2:-1] == ".":
        return None
    closed = second if second[-1] in ".!?" else second + "."
    return f"{closed} {first}"


_IN_A_SENTENCE = (_swap_subordinate, _move_adverbial, _swap_own_clauses)


def _lower_first(text: str) -> str:
    """The text to go on with inside a sentence: ``I``, acronyms and names written after it stay."""
    word = text.split(maxsplit=1)[0]
    return text if re.match(r"I\b", word) or word[1:2].isupper() else text[0].lower() + text[1:]


def _upper_first(text: str, *, like: str) -> str:
    return text[0].upper() + text[1:] if like[0].isupper() else text
