"""Cleaning: what the models read, and which texts are refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from healdag.errors import InputError
from healdag.text import URL_WORD, check_text, clean_text, prepare

GRINNING, HEART = "\N{GRINNING FACE}", "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"
ANY_TEXT = st.one_of(
    st.text(alphabet=st.characters(), max_size=80),  # lone surrogates included
    st.text(alphabet=f"{GRINNING}{HEART}\N{WAVING HAND SIGN}\U0001f3fd\u200d\u2640\U0001f1e9\u20e3 1a:)(-<3/;&\x00\n"),
)


class TestClean:
    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("plain words", "plain words"),
            ("  many \t\n spaces ", "many spaces"),
            ("sooooooo gooood!!!!!!", "sooo goood!!!"),
            ("10000 dollars", "10000 dollars"),
            ("see https://example.org/a?b=c now", f"see {URL_WORD} now"),
            ("see WWW.example.org now", f"see {URL_WORD} now"),
            ("fish &amp; chips", "fish & chips"),
            ("one<br />two <b>three</b>", "one two three"),
            ("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"),
            (f"fine {GRINNING}", "fine grinning face"),
            (f"fine{GRINNING}{GRINNING}{GRINNING}", "fine grinning face"),
            (f"{GRINNING}{HEART}", "grinning face red heart"),
            (f"{GRINNING}\ufe0f fine", "grinning face fine"),
            ("miss you <3", "miss you red heart"),
            ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
            ("zero\u200bwidth and soft\u00adhyphen", "zerowidth and softhyphen"),
            ("null\x00 and bell\x07", "null and bell"),
            ("<br>", "?"),
            ("\ud83d\ude00", "grinning face"),
            ("half \ud83d of one", "half \ufffd of one"),
        ],
    )
    def test_examples(self, text: str, clean: str) -> None:
        assert clean_text(text) == clean

    @given(ANY_TEXT)
    def test_any_text_is_read(self, text: str) -> None:
        try:
            check_text(text)
        except InputError:
            assume(False)
        prepared = prepare(text)
        assert prepared.clean
        assert prepared.clean == prepared.clean.strip()
        assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in prepared.clean)
        assert prepared.clean.encode("utf-8")
        assert 0 <= prepared.foreign <= 1
        assert not prepared.emoji_only or prepared.emojis
        assert prepare(text) == prepared

    @given(st.text(alphabet="abcXYZ019 ,.!?'\n\t\N{GRINNING FACE}éß漢ю", min_size=1))
    def test_cleaning_twice_changes_nothing(self, text: str) -> None:
        # Without mark-up and emoticons: "&amp;lt;" is an entity within an entity, and is read once only.
        assert clean_text(clean_text(text)) == clean_text(text)


class TestEmojiOnly:
    @pytest.mark.parametrize("text", [GRINNING, f"{GRINNING} {HEART}", ":-)", f"<3 !!! {GRINNING}...", "<b>:)</b>"])
    def test_emoji_and_punctuation(self, text: str) -> None:
        assert prepare(text).emoji_only

    @pytest.mark.parametrize(
        "text", [f"hi {GRINNING}", f"{GRINNING} 7", f"{GRINNING} https://example.org", "!!!", "今天😀"]
    )
    def test_anything_else(self, text: str) -> None:
        assert not prepare(text).emoji_only

    def test_emoticons_count_as_emoji(self) -> None:
        assert prepare(f"well :-( {GRINNING}").emojis == ("\N{WHITE FROWNING FACE}\ufe0f", GRINNING)


class TestForeign:
    @pytest.mark.parametrize(
        ("text", "share"),
        [
            ("plain", 0),
            ("déjà vu, größer, ñandú", 0),
            ("ｗｉｄｅ", 0),
            ("今天真的很难过😀", 1),
            ("очень грустно", 1),
            ("abcд", 0.25),
            ("12345", 1),
            ("?!", 1),
            ("https://example.org", 1),
            (GRINNING, 0),
            (f"12 {GRINNING}", 0),
        ],
    )
    def test_share_of_letters(self, text: str, share: float) -> None:
        assert prepare(text).foreign == pytest.approx(share)


class TestCheck:
    @pytest.mark.parametrize("text", ["a", " a ", "?", GRINNING, "\ud83d", "x" * 100_000])
    def test_gives_the_text_back(self, text: str) -> None:
        assert check_text(text) is text

    @pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u200d", "\x00\x1f", "\N{NO-BREAK SPACE}"])
    def test_refuses_nothing_visible(self, text: str) -> None:
        with pytest.raises(InputError, match="at least one visible character"):
            check_text(text)

    @pytest.mark.parametrize(("text", "message"), [(3, "got int: 3"), (None, "got NoneType"), (b"bytes", "got bytes")])
    def test_refuses_what_is_no_text(self, text: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            check_text(text)

    def test_shows_little_of_a_large_object(self) -> None:
        with pytest.raises(InputError) as caught:
            check_text(list(range(10_000)))
        assert len(str(caught.value)) < 150

    def test_refuses_what_is_too_long(self) -> None:
        with pytest.raises(InputError, match=r"has 100,001 characters, at most 100,000.*dag\.max_chars"):
            check_text("x" * 100_001)

    def test_names_the_index(self) -> None:
        with pytest.raises(InputError, match=r"^text at index 4: the text is empty") as caught:
            check_text("", index=4)
        assert caught.value.index == 4
        assert caught.value.reason.startswith("the text is empty")
        assert isinstance(caught.value, ValueError)
