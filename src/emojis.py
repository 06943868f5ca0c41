"""Reading emoji and emoticons: whole sequences, their names as words, and one key per meaning."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import emoji

DATA = Path(__file__).parent / "data"

_SKIN_TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
_GENDER_SIGN = re.compile("\u200d[\u2640\u2642]\ufe0f?")
_VARIATION_SELECTOR = "\ufe0f"


def load_data(name: str) -> dict[str, Any]:
    """The JSON object in ``data/<name>.json``."""
    content: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return content


def emoji_key(sequence: str) -> str:
    """The sequence without skin tone, gender sign and variation selector: what the lexicon is keyed by.

    >>> emoji_key("\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-5}") == "\N{WAVING HAND SIGN}"
    True
    """
    return _GENDER_SIGN.sub("", _SKIN_TONE.sub("", sequence)).replace(_VARIATION_SELECTOR, "")


def emoji_words(sequence: str) -> str:
    """The English CLDR short name as plain words; skin tones are left out.

    >>> emoji_words("\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}")
    'red heart'
    """
    toneless = _SKIN_TONE.sub("", sequence)
    entry = emoji.EMOJI_DATA.get(toneless) or emoji.EMOJI_DATA.get(sequence)
    if entry is None:
        return ""
    return re.sub(r"[:_\W]+", " ", str(entry["en"])).strip()


def find_emoji(text: str) -> list[tuple[int, int, str]]:
    """Every emoji sequence as (start, end, sequence), read whole: ZWJ families, flags, keycaps, skin tones."""
    if text.isascii():  # no emoji is ASCII; this is the common case
        return []
    return [(hit["match_start"], hit["match_end"], hit["emoji"]) for hit in emoji.emoji_list(text)]


@cache
def _emoticons() -> dict[str, str]:
    table: dict[str, str] = load_data("emoticons")["emoticons"]
    return table


@cache
def _emoticon_pattern() -> re.Pattern[str]:
    """Matches emoticons, and not the colons and brackets of ordinary text.

    Those with a letter need white space around them; others may also follow punctuation or, with three signs or
    more, a word (``sad:-(``). None may be followed by a letter, digit or slash.
    """

    def alternatives(chosen: list[str]) -> str:
        return "|".join(re.escape(e) for e in sorted(chosen, key=len, reverse=True))

    with_letters = [e for e in _emoticons() if any(c.isalnum() for c in e) and e not in {"<3", "</3"}]
    plain = [e for e in _emoticons() if e not in with_letters]
    long = [e for e in plain if len(e) >= 3]
    return re.compile(
        rf"(?<!\S)(?:{alternatives(with_letters)})(?=[\s.,!?]|$)"
        rf"|(?<![\w:/<])(?:{alternatives(plain)})(?![\w/])"
        rf"|(?<=\w)(?:{alternatives(long)})(?![\w/])"
    )


def emoticons_to_emoji(text: str) -> str:
    """Replaces emoticons such as ``:-(`` and ``<3`` by the emoji that they stand for.

    >>> emoticons_to_emoji("miss you <3").split()[-1] == "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"
    True
    >>> emoticons_to_emoji("meet at 10:30 (room 8)")
    'meet at 10:30 (room 8)'
    """
    return _emoticon_pattern().sub(lambda hit: f" {_emoticons()[hit.group()]} ", text).strip()
