"""Emoji read whole, emoticons told from punctuation, and the lexicon's data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import emoji
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from healdag.emojis import DATA, emoji_key, emoji_words, emoticons_to_emoji, find_emoji, load_data
from healdag.predictors.emoji import EmojiLexicon, lexicon_labels
from healdag.text import prepare

SEQUENCES = {
    "❤️": "red heart",
    "❤": "red heart",
    "☺️": "smiling face",
    "👍🏽": "thumbs up",
    "👩🏽‍💻": "woman technologist",
    "👨‍👩‍👧‍👦": "family man woman girl boy",
    "🤷🏻‍♀️": "woman shrugging",
    "😮‍💨": "face exhaling",
    "❤️‍🔥": "heart on fire",
    "🇩🇪": "Germany",
    "🏳️‍🌈": "rainbow flag",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿": "England",
    "1️⃣": "keycap 1",
    "#️⃣": "keycap",
}


class TestSequences:
    @pytest.mark.parametrize(("sequence", "words"), SEQUENCES.items())
    def test_read_whole(self, sequence: str, words: str) -> None:
        text = f"a {sequence} b"
        assert find_emoji(text) == [(2, 2 + len(sequence), sequence)]
        assert emoji_words(sequence) == words
        assert prepare(text).clean == f"a {words} b"

    def test_neighbours_stay_apart(self) -> None:
        found = [sequence for _, _, sequence in find_emoji("".join(SEQUENCES))]
        assert found == list(SEQUENCES)

    def test_ascii_has_none(self) -> None:
        assert find_emoji("#1 (c) 2*3") == []

    @pytest.mark.parametrize(
        "variants", [("❤️", "❤"), ("👍", "👍🏻", "👍🏿"), ("🤷", "🤷‍♀️", "🤷🏽‍♂️", "🤷🏽‍♂"), ("☹️", "☹")]
    )
    def test_one_key_per_meaning(self, variants: tuple[str, ...]) -> None:
        assert len({emoji_key(v) for v in variants}) == 1

    def test_unknown_sequences_have_no_words(self) -> None:
        assert emoji_words("abc") == ""

    @given(st.lists(st.sampled_from(sorted(emoji.EMOJI_DATA)), min_size=1, max_size=5))
    def test_every_emoji_of_unicode_is_found(self, sequences: list[str]) -> None:
        text = " x ".join(sequences)
        assert [sequence for _, _, sequence in find_emoji(text)] == sequences
        assert "\ufffd" not in prepare(text).clean


class TestEmoticons:
    @pytest.mark.parametrize("text", ["so :)", ":-) so", "so:-)", "so.:)", "so <3", "</3", "so xD", "so ;-;", "T_T"])
    def test_found(self, text: str) -> None:
        assert find_emoji(emoticons_to_emoji(text))

    @pytest.mark.parametrize(
        "text",
        [
            "10:30",
            "http://example.org",
            "https://example.org/:)",
            "list:D",
            "C:\\data",
            "and/or :/path",
            "1) 2) 8) and (8)",
            "option B) and D)",
            "{'a':(1)}",
            "ratio 3:(4)",
            "f(x):",
            "if x<3 and y<30",
            "std::vector",
            "a=D",
            "xDrive",
            "note: D",
        ],
    )
    def test_not_matched(self, text: str) -> None:
        assert emoticons_to_emoji(text) == text

    def test_every_emoticon_alone(self) -> None:
        table: dict[str, str] = load_data("emoticons")["emoticons"]
        assert {e: emoticons_to_emoji(e) for e in table} == table
        assert all(emoji.is_emoji(value) for value in table.values())

    def test_longest_first(self) -> None:
        assert emoticons_to_emoji(":))") != emoticons_to_emoji(":)")

    @given(st.from_regex(r"[0-9]{1,2}:[0-9]{2}|https?://[a-z]{1,9}\.(com|org)/[a-z]{0,5}", fullmatch=True))
    def test_times_and_addresses(self, text: str) -> None:
        assert emoticons_to_emoji(text) == text


def read_pairs(name: str) -> list[tuple[str, Any]]:
    """The pairs of a data file's innermost table, a key given twice included."""
    tables: list[list[tuple[str, Any]]] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tables.append(pairs)
        return dict(pairs)

    json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"), object_pairs_hook=collect)
    return max(tables, key=len)


class TestLexiconData:
    def test_every_data_file_says_its_licence(self) -> None:
        for path in Path(DATA).glob("*.json"):
            content = load_data(path.stem)
            assert content["description"]
            assert content["licence"] == "CC0-1.0"

    def test_at_least_150_emoji_none_twice(self) -> None:
        keys = [key for key, _ in read_pairs("emoji_emotions")]
        assert len(keys) >= 150
        assert all(emoji.is_emoji(key) for key in keys)
        assert len({emoji_key(key) for key in keys}) == len(keys)

    @pytest.mark.parametrize("name", ["emoji_emotions", "emoji_words"])
    def test_distributions(self, name: str) -> None:
        for key, distribution in read_pairs(name):
            assert set(distribution) <= set(lexicon_labels()), key
            assert all(p > 0 for p in distribution.values()), key
            assert math.isclose(sum(distribution.values()), 1, abs_tol=1e-9), key

    def test_words_are_lower_case_and_given_once(self) -> None:
        words = [word for word, _ in read_pairs("emoji_words")]
        assert len(set(words)) == len(words)
        assert all(word == word.lower() for word in words)

    def test_emoticons_are_given_once(self) -> None:
        emoticons = [emoticon for emoticon, _ in read_pairs("emoticons")]
        assert len(set(emoticons)) == len(emoticons)

    def test_every_label_has_emoji(self) -> None:
        tops = {max(d, key=d.get) for _, d in read_pairs("emoji_emotions")}
        assert tops == set(lexicon_labels())


@pytest.fixture(scope="module")
def lexicon() -> EmojiLexicon:
    return EmojiLexicon(lexicon_labels())


class TestLexicon:
    def top(self, lexicon: EmojiLexicon, text: str) -> str:
        row = lexicon.predict_proba([text])[0]
        return lexicon.labels[int(row.argmax())]

    @pytest.mark.parametrize(
        ("text", "label"),
        [
            ("😀", "joy"),
            ("😭", "sadness"),
            ("😡", "anger"),
            ("😱", "fear"),
            ("❤️", "love"),
            ("🤮", "disgust"),
            ("😲", "surprise"),
        ],
    )
    def test_answers(self, lexicon: EmojiLexicon, text: str, label: str) -> None:
        assert self.top(lexicon, text) == label

    @pytest.mark.parametrize(
        ("one", "other"), [("❤️", "❤"), ("👍", "👍🏿"), ("🤷", "🤷🏽‍♀️"), ("😀", "😀😀😀"), ("<3", "❤️")]
    )
    def test_variants_are_answered_alike(self, lexicon: EmojiLexicon, one: str, other: str) -> None:
        np.testing.assert_array_equal(lexicon.predict_proba([one]), lexicon.predict_proba([other]))

    def test_several_emoji_are_averaged(self, lexicon: EmojiLexicon) -> None:
        both = lexicon.predict_proba(["😀😭"])[0]
        np.testing.assert_allclose(both, (lexicon.predict_proba(["😀"])[0] + lexicon.predict_proba(["😭"])[0]) / 2)

    def test_unknown_emoji_are_read_by_their_name(self, lexicon: EmojiLexicon) -> None:
        known = {emoji_key(e) for e in load_data("emoji_emotions")["emoji"]}
        words = load_data("emoji_words")["words"]
        by_words = [
            e
            for e in emoji.EMOJI_DATA
            if emoji_key(e) not in known and set(emoji_words(e).lower().split()) & words.keys()
        ]
        assert by_words
        for sequence in by_words[::20]:
            given = [words[w] for w in emoji_words(sequence).lower().split() if w in words]
            expected = np.mean([[d.get(label, 0) for label in lexicon.labels] for d in given], axis=0)
            np.testing.assert_allclose(lexicon.distribution(sequence), expected, err_msg=sequence)

    def test_an_emoji_that_says_nothing_is_neutral(self, lexicon: EmojiLexicon) -> None:
        assert self.top(lexicon, "🇩🇪") == "neutral"

    def test_a_text_without_emoji_is_not_answered(self, lexicon: EmojiLexicon) -> None:
        assert np.isnan(lexicon.predict_proba(["words"])).all()

    @given(st.sampled_from(sorted(emoji.EMOJI_DATA)))
    def test_every_emoji_of_unicode_is_answered(self, sequence: str) -> None:
        row = EmojiLexicon(lexicon_labels()).predict_proba([sequence])[0]
        assert row.sum() == pytest.approx(1)
        assert row.min() >= 0
