"""Augmentation: labels that stay true, no text twice, none of a held-out split, the same on every machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from healdag.cli import app
from healdag.emojis import emoji_words, load_data
from healdag.errors import ConfigError, UsageError
from healdag.text import clean_text
from healdag.training import load_task
from healdag.training.augmentation.augment import (
    ROUNDS,
    AugmentedExample,
    augment,
    augment_rows,
    augmented_split,
    held_out_texts,
    letters_of,
    usable_methods,
)
from healdag.training.augmentation.rewrites import EMOTIONS, METHODS, emoji_of, label_changes, negate, vary_punctuation
from healdag.training.augmentation.synonyms import replace_synonyms, synonym_table
from healdag.training.augmentation.word_order import change_word_order
from healdag.training.datasets import Example

ROWS = [
    Example("I'm so happy today!", ("joy",)),
    Example("What a wonderful movie, thank you!", ("joy",)),
    Example("I stayed home because the weather was awful.", ("sadness",)),
    Example("I feel sad and lonely.", ("sadness",)),
    Example("My boss is extremely annoying. I want to scream.", ("anger",)),
    Example("I'm scared of the dark.", ("fear",)),
    Example("The meeting begins at nine, usually in the big room.", ("neutral",)),
    Example("That's disgusting.", ("disgust",)),
]
TOPICS = [
    Example("The company reported quick growth last year.", ("business",)),
    Example("The team finally won the big game.", ("sports",)),
    Example("The new phone is extremely fast.", ("science",)),
]


def variants(method: Any, text: str, tries: int = 30) -> set[str]:
    return {found for seed in range(tries) if (found := method(text, Random(seed))) is not None}


# --- synonyms


def test_the_synonym_table_is_large_and_in_order() -> None:
    data = load_data("synonyms")
    table = synonym_table()
    assert data["licence"] == "CC0-1.0"
    assert len(table) >= 600
    assert len(table) == sum(len(words) for words in data.values() if isinstance(words, dict)), "a word stands twice"
    for word, (_, substitutes) in table.items():
        assert word == word.lower()
        assert 2 <= len(substitutes) <= 5, word
        assert len(set(substitutes)) == len(substitutes), word
        assert word not in substitutes
        assert "" not in substitutes


def test_no_synonym_crosses_emotions() -> None:
    """A feeling word that is among the denied ones has no substitute of another emotion."""
    changes = label_changes()
    for word, (_, substitutes) in synonym_table().items():
        emotions = {changes[w][0] for w in (word, *substitutes) if w in changes}
        assert len(emotions) <= 1, (word, substitutes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HUGE", {"ENORMOUS", "MASSIVE", "GIGANTIC"}),
        ("Huge.", {"Enormous.", "Massive.", "Gigantic."}),
        ("an excellent day", {"a superb day", "an outstanding day", "a first-rate day"}),  # the article follows
        ("a huge day", {"an enormous day", "a massive day", "a gigantic day"}),
        ("we met Mr. Small, and Big Tiny Huge", set()),  # names
        ("to whom it may concern", set()),
        ("the need is great-ish", set()),  # a noun; and part of a longer word
        ("we need it", {"we require it"}),  # 'have need of it' would not do
        ("we need to go", set()),
        ("", set()),
    ],
)
def test_synonyms_fit_their_neighbours(text: str, expected: set[str]) -> None:
    assert variants(replace_synonyms, text) == expected


def test_a_long_text_keeps_most_of_its_words() -> None:
    text = "I really think that the big movie was terrible, and my friend said it was boring and extremely long."
    for found in variants(replace_synonyms, text):
        kept = Counter(text.split()) & Counter(found.split())
        assert kept.total() >= 0.7 * len(text.split()), found


# --- word order


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I cried because the dog died.", "Because the dog died, I cried."),
        ("Because the dog died, I cried.", "I cried because the dog died."),
        ("When it rains, we stay inside!", "We stay inside when it rains!"),
        ("i went out even though it rained", "even though it rained, i went out"),
        ("Today I feel great.", "I feel great today."),
        ("I feel great right now", "Right now I feel great"),
        ("She is lazy and stupid.", "She is stupid and lazy."),
        ("I'm tired, and you look bored.", "You look bored, and I'm tired."),
        ("Thank you! Your answer helped me.", "Your answer helped me. Thank you!"),
    ],
)
def test_word_order(text: str, expected: str) -> None:
    assert change_word_order(text, Random(0)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "It's not because I hate you.",  # what is denied is the reason
        "I cried because he left and I was alone.",  # two clauses after it
        "Because the dog died?",
        "He fell. It hurt.",  # 'it' is what the first sentence said
        "Are you sure? We can wait.",
        "I came, and then I saw it.",
        "i get a lot of praise i feel proud sometimes",  # two sentences run together
        "Salt and pepper",
        "word",
        "",
    ],
)
def test_word_order_is_left_where_something_depends_on_it(text: str) -> None:
    assert variants(change_word_order, text) == set()


# --- punctuation


def test_punctuation_writes_as_raw_posts_do() -> None:
    found = variants(vary_punctuation, "I don't know, [NAME]. We'll see!", 200)
    assert "i don't know, [NAME]. we'll see!" in found
    assert "I dont know, [NAME]. We'll see!" in found  # without its apostrophe, "well" is another word
    assert "I don't know [NAME] We'll see" in found
    assert "I don't know, [NAME]... We'll see!" in found
    assert "I don't know, [NAME]. We'll see!!" in found
    assert all("[NAME]" in text for text in found)


def test_punctuation_inside_numbers_and_words_stays() -> None:
    assert all("10:30" in text and "3.5" in text for text in variants(vary_punctuation, "At 10:30, it cost 3.5.", 100))


# --- emoji


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_emoji_are_of_the_right_emotion(emotion: str) -> None:
    lexicon = load_data("emoji_emotions")["emoji"]
    assert emoji_of(emotion)
    assert all(max(lexicon[sign], key=lexicon[sign].get) == emotion for sign in emoji_of(emotion))
    found = augment_rows([Example("It is here.", (emotion,))], n=3, methods=["emoji"])
    names = {emoji_words(sign) for sign in emoji_of(emotion)}
    assert found
    assert all(row.text.removeprefix("It is here. ") in names and row.labels == (emotion,) for row in found)


def test_sarcastic_rows_get_neither_emoji_nor_negation() -> None:
    row = Example("I'm so happy.", ("anger",), sarcastic=True)
    assert augment_rows([row, ROWS[0]], n=50, methods=["emoji", "negation"], emotions=True)
    assert not augment_rows([row], n=5, methods=["emoji", "negation"])
    assert all(made.sarcastic for made in augment_rows([row], n=3))


# --- negation


@pytest.mark.parametrize(
    ("text", "label", "expected", "changed"),
    [
        ("I feel happy", "joy", "I don't feel happy", "sadness"),
        ("I am really pleased with it!", "joy", "I am not pleased with it.", "anger"),
        ("I'm afraid of dogs", "fear", "I'm not afraid of dogs", "neutral"),
        ("im so angry", "anger", "im not angry", "neutral"),
        ("i felt sad today", "sadness", "i didnt feel sad today", "neutral"),
        ("Ugh, that's disgusting!", "disgust", "That's not disgusting.", "neutral"),
        ("This makes me so sad.", "sadness", "This doesn't make me sad.", "neutral"),
        ("He was shocked", "surprise", "He was not shocked", "neutral"),
    ],
)
def test_negation_changes_the_label(text: str, label: str, expected: str, changed: str) -> None:
    assert negate(Example(text, (label,)), Random(0)) == (expected, (changed,))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I'm happy", "sadness"),  # the label is not what the word says: irony, or noise
        ("I'm not happy", "sadness"),
        ("I'm happy because she isn't sad", "joy"),
        ("I'm happy to help", "joy"),
        ("I'm happy. The cake was great.", "joy"),  # the rest still feels
        ("I'm scared, we all are", "fear"),
        ("I'm worried about him too", "fear"),
        ("I'm excited", "joy"),
        ("happy", "joy"),
        ("", "joy"),
    ],
)
def test_negation_only_where_the_pattern_surely_fits(text: str, label: str) -> None:
    assert negate(Example(text, (label,)), Random(0)) is None


def test_every_change_of_a_label_is_one() -> None:
    assert all({emotion, denied} <= set(EMOTIONS) and emotion != denied for emotion, denied in label_changes().values())


def test_negation_never_brings_a_label_that_the_rows_lack() -> None:
    rows = [Example("I'm afraid of dogs", ("fear",)), Example("I feel happy", ("joy",))]
    assert augment_rows(rows, n=9, methods=["negation"]) == []
    assert [row.label for row in augment_rows([*rows, ROWS[6]], n=9, methods=["negation"])] == ["neutral"]


# --- choosing rows


def test_new_rows_are_new_cleaned_and_say_where_they_come_from() -> None:
    made = augment_rows(ROWS, n=40)
    texts = [row.text for row in made]
    assert len(made) == 40
    assert len({*texts, *(row.text for row in ROWS)}) == 40 + len(ROWS)
    for row in made:
        assert isinstance(row, AugmentedExample)
        assert row.text == clean_text(row.text)
        assert row.method in METHODS
        if METHODS[row.method].keeps_labels:
            assert row.labels == ROWS[row.source].labels
        else:
            assert row.labels == (label_changes()[next(w for w in label_changes() if w in ROWS[row.source].text)][1],)
    assert {row.method for row in made} == set(METHODS)
    assert {row.source for row in made} == set(range(len(ROWS)))


def test_the_seed_decides_and_nothing_else() -> None:
    assert augment_rows(ROWS, n=20) == augment_rows(ROWS, n=20)
    assert augment_rows(ROWS, n=20) != augment_rows(ROWS, n=20, seed=14)
    assert augment_rows(ROWS, n=20)[:8] == augment_rows(ROWS, n=8)


def test_the_same_in_processes_with_other_hashes() -> None:
    code = (
        "from healdag.training.augmentation.augment import augment\n"
        "from healdag.training.datasets import Example\n"
        f"rows = [Example(text, labels) for text, labels in {[(row.text, row.labels) for row in ROWS]!r}]\n"
        "made = augment(rows, target_per_label=6, held_out={'I am so glad today!', 'x', 'y'})\n"
        "print([(row.text, row.labels, row.method, row.source) for row in made.rows])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 500


def test_held_out_texts_never_come_out_in_any_writing() -> None:
    free = augment_rows(ROWS, n=60)
    held_out = {row.text.upper() + "!!" for row in free[::2]}
    forbidden = {letters_of(clean_text(text)) for text in held_out}
    made = augment_rows(ROWS, n=60, held_out=held_out)
    assert made
    assert not forbidden & {letters_of(row.text) for row in made}
    assert not augment_rows(ROWS[:1], n=5, held_out=["im so happy today"]), "a leaked row is not multiplied"


def test_a_text_that_gives_no_more_is_no_endless_loop() -> None:
    assert augment_rows([Example("ok", ("a",)), Example("no", ("b",))], n=100) == []
    assert len(augment_rows(ROWS, n=10_000)) <= ROUNDS * len(ROWS)
    assert augment_rows([], n=5) == []
    assert augment_rows(ROWS, n=0) == []


def test_only_methods_that_fit_the_labels() -> None:
    assert usable_methods(ROWS) == tuple(METHODS)
    assert usable_methods(TOPICS) == ("synonyms", "word_order", "punctuation")
    several = [Example("I'm happy and sad", ("joy", "sadness")), Example("nothing", ())]
    assert usable_methods(several) == ("synonyms", "word_order", "punctuation")
    assert {row.method for row in augment_rows(TOPICS, n=20)} <= {"synonyms", "word_order", "punctuation"}
    with pytest.raises(UsageError, match=r"'emoji' needs one label per row, of: joy.*there are: synonyms"):
        augment_rows(TOPICS, n=1, methods=["emoji"])
    with pytest.raises(UsageError, match=r"\['shuffle'\]: there are: synonyms, word_order"):
        augment_rows(TOPICS, n=1, methods=["shuffle"])
    with pytest.raises(UsageError, match="give one or more"):
        augment_rows(TOPICS, n=1, methods=[])


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.text(max_size=40).map(lambda s: f"I feel very {s} happy, don't you?"), st.sampled_from(EMOTIONS)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 5),
)
def test_any_text_gives_only_other_texts_with_something_in_them(rows: list[tuple[str, str]], seed: int) -> None:
    examples = [Example(clean_text(text), (label,)) for text, label in rows]
    made = augment_rows(examples, n=12, seed=seed)
    texts = [row.text for row in made]
    assert made
    assert all(any(c.isalnum() for c in text) and text == clean_text(text) for text in texts)
    assert len(set(texts) - {row.text for row in examples}) == len(texts)


@given(st.text(max_size=60), st.sampled_from(EMOTIONS))
def test_no_text_breaks_a_method(text: str, label: str) -> None:
    for method in METHODS.values():
        for seed in range(2):
            found = method.rewrite(Example(text, (label,)), Random(seed))
            assert found is None or set(found[1]) <= set(EMOTIONS)


# --- plans


def test_rare_labels_are_filled_and_others_left() -> None:
    made = augment(ROWS, target_per_label=3)
    counts = Counter(row.label for row in [*ROWS, *made.rows])
    assert counts == dict.fromkeys(("joy", "sadness", "anger", "fear", "neutral", "disgust"), 3)
    assert made.missing == {}
    assert sum(sum(labels.values()) for labels in made.counts().values()) == len(made.rows)


def test_a_weaker_method_stands_in_where_the_first_gives_nothing() -> None:
    rows = [Example("ok then, fine.", ("calm",)), Example("You! Now! Here!", ("loud",))]
    made = augment(rows, target_per_label=3, methods=["synonyms", "word_order", "punctuation"])
    assert made.missing == {}
    assert {row.method for row in made.rows} == {"punctuation"}


def test_a_label_that_cannot_be_filled_is_named(caplog: pytest.LogCaptureFixture) -> None:
    made = augment([*TOPICS, Example("ok", ("rest",))], target_per_label=4)
    assert made.missing == {"rest": 3}
    assert "3 rows too few for rest" in caplog.text


def test_labels_of_multi_label_rows_are_filled_together() -> None:
    rows = [Example("What a stupid and rude comment!", ("toxic", "insult")), Example("A quick answer.", ())]
    made = augment(rows, target_per_label=3)
    assert [row.labels for row in made.rows] == [("toxic", "insult")] * 2, "rows for one label count for the other"
    assert augment(rows, factor=2).counts()


def test_a_denied_feeling_fills_another_label() -> None:
    rows = [*(Example(f"I feel happy about {what}", ("joy",)) for what in ("it", "lunch", "rain")), ROWS[3]]
    made = augment(rows, target_per_label=3, methods=["negation", "synonyms"])
    assert Counter((row.method, row.label) for row in made.rows) == {
        ("negation", "sadness"): 1,
        ("synonyms", "sadness"): 1,
    }


def test_a_factor_is_a_share_of_the_rows() -> None:
    assert len(augment(ROWS, factor=0.5).rows) == 4
    assert len(augment(ROWS, factor=2).rows) == 16


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({}, "one of them"),
        ({"factor": 1, "target_per_label": 2}, "one of them"),
        ({"factor": 0}, "factor is 0"),
        ({"factor": float("nan")}, "factor is nan"),
        ({"factor": 99}, "factor is 99"),
        ({"target_per_label": 0}, "target_per_label is 0"),
    ],
)
def test_a_plan_out_of_range(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        augment(ROWS, **plan)


# --- tasks and the command

LINES = {
    "train": [{"text": row.text, "label": row.label} for row in ROWS],
    "validation": [{"text": "Yesterday I felt very good.", "label": "joy"}],
    "test": [{"text": "im so glad today", "label": "joy"}, {"text": "The dog is big.", "label": "neutral"}],
}
TASK = """
name = "moods"
description = "Moods"
labels = ["joy", "sadness", "anger", "fear", "neutral", "disgust"]
licence = "CC0-1.0"
[[train]]
set = "moods"
[[validation]]
set = "moods"
[[test]]
set = "moods"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "data" / "moods").mkdir(parents=True)
    for split, rows in LINES.items():
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data" / "moods" / f"{split}.jsonl").write_text(content, encoding="utf-8")
    return tmp_path / "data"


def task_file(tmp_path: Path, extra: str = "") -> str:
    path = tmp_path / "moods.toml"
    path.write_text(TASK + extra, encoding="utf-8")
    return str(path)


def test_a_task_can_ask_for_augmentation(tmp_path: Path, source: Path) -> None:
    plain = load_task(task_file(tmp_path))
    assert augmented_split(plain, source) == [Example(row.text, row.labels) for row in ROWS]
    rows = augmented_split(load_task(task_file(tmp_path, "[augmentation]\ntarget_per_label = 3\n")), source)
    assert set(Counter(row.label for row in rows).values()) == {3}
    assert rows[: len(ROWS)] == [Example(row.text, row.labels) for row in ROWS]
    assert held_out_texts(plain, source) == {"Yesterday I felt very good.", "im so glad today", "The dog is big."}
    assert not {letters_of(t) for t in held_out_texts(plain, source)} & {letters_of(row.text) for row in rows}


@pytest.mark.parametrize("extra", ["", "factor = 1\ntarget_per_label = 2", "factor = -1", "target = 5"])
def test_a_table_that_is_no_plan(tmp_path: Path, extra: str) -> None:
    with pytest.raises(ConfigError, match="not a valid task"):
        load_task(task_file(tmp_path, f"[augmentation]\n{extra}\n"))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["augment", *arguments])


def test_the_command_writes_the_new_rows(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "new.jsonl"
    asked = [task_file(tmp_path), "--source", str(source), "--out", str(out)]
    result = run(*asked, "--target-per-label", "3", "--preview", "1")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    hashes = {hashlib.sha256(row.text.encode()).hexdigest() for row in ROWS}
    assert len(rows) == 10
    assert all(set(row) == {"text", "label", "method", "source_sha256"} for row in rows)
    assert {row["source_sha256"] for row in rows} <= hashes
    assert "10 new rows from 8" in result.output
    assert "disgust" in result.output
    before = out.read_bytes()
    assert run(*asked, "--target-per-label", "3").exit_code == 0
    assert out.read_bytes() == before


def test_the_command_reads_a_users_file(tmp_path: Path) -> None:
    data = tmp_path / "own.csv"
    texts = [f"The parcel number {i} was quick and my friend liked it" for i in range(30)]
    content = "".join(f"{text},{'good' if i % 2 else 'bad'}\n" for i, text in enumerate(texts))
    data.write_text("body,tag\n" + content, encoding="utf-8")
    out = tmp_path / "new.jsonl"
    columns = ["--text-column", "body", "--label-column", "tag"]
    result = run("--data", str(data), *columns, "--out", str(out), "--factor", "1", "--methods", "synonyms")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["method"] for row in rows} == {"synonyms"}
    assert {row["label"] for row in rows} == {"good", "bad"}
    own = {hashlib.sha256(clean_text(text).encode()).hexdigest() for text in texts}
    assert {row["source_sha256"] for row in rows} < own, "only the train split is rewritten"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["moods.toml", "--factor", "1", "--target-per-label", "3"], "two plans"),
        (["moods.toml", "--methods", "swap"], "there are: synonyms"),
        (["moods.toml", "--factor", "0"], "factor is 0"),
        (["moods.toml", "--text-column", "body"], "give --data FILE"),
        ([], "name a task"),
        (["--data", "new.jsonl"], "is the data itself"),
    ],
)
def test_a_mistake_leaves_the_old_file(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    task_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.jsonl").write_text("old\n", encoding="utf-8")
    result = run(*arguments, "--source", str(source), "--out", "new.jsonl")
    assert result.exit_code == 2
    assert message in result.output
    assert (tmp_path / "new.jsonl").read_text(encoding="utf-8") == "old\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "moods.toml", "new.jsonl"]
