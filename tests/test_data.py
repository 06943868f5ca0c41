"""Rows from files of every kind: columns, labels, splits, and a clear error for each kind of bad input."""

from __future__ import annotations

import gzip
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healdag.errors import UsageError
from healdag.training import datasets as sets
from healdag.training.data import data_hash, files, load_split, prior_of, read_references, targets
from healdag.training.data.near_duplicates import near_duplicate_groups
from healdag.training.data.sources import task_from_file
from healdag.training.data.splits import cut
from healdag.training.datasets import Example, read_examples
from healdag.training.tasks import DataReference, Task

WORDS = ("harbour", "kettle", "violin", "marble", "orchard", "pigeon", "lantern", "saddle", "thimble", "walnut")


def texts(n: int, word: str = "about") -> list[str]:
    """Distinct texts, no two of them near-duplicates."""
    return [f"{WORDS[i % 10]} {word} {WORDS[i // 10 % 10]} {WORDS[(i * 7 + i // 100) % 10]} {i}" for i in range(n)]


def write_csv(path: Path, rows: Sequence[Sequence[str]], delimiter: str = ",") -> Path:
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n", encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(n: int, labels: Sequence[str] = ("good", "bad")) -> list[dict[str, Any]]:
    return [{"text": text, "label": labels[i % len(labels)]} for i, text in enumerate(texts(n))]


def read(path: Path, **columns: Any) -> list[Example]:
    return read_examples(str(path), "train", None, among=("train",), **columns)


def make_task(*sets_: str, labels: tuple[str, ...] = ("good", "bad"), **fields: Any) -> Task:
    references = tuple(DataReference(set=name) for name in sets_)
    data = {"train": references, "validation": references, "test": references}
    return Task.model_validate({"name": "t", "description": "t", "labels": labels, "licence": "-", **data, **fields})


# Formats


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_every_delimiter_quotes_line_breaks_and_byte_order_mark(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    content = f'tag{delimiter}body\nx{delimiter}"one, two; ""three""\nfour"\n\ny{delimiter}five\n'
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    rows = read(path, text_column="body", label_column="tag")
    assert [(row.text, row.label) for row in rows] == [('one, two; "three" four', "x"), ("five", "y")]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    import datasets

    rows = labelled(6)
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(tmp_path / "a.parquet")
    table.save_to_disk(str(tmp_path / "saved"))
    write_jsonl(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "lines.json").write_bytes((tmp_path / "a.jsonl").read_bytes())
    write_csv(tmp_path / "a.csv", [["text", "label"], *([row["text"], row["label"]] for row in rows)])
    write_csv(tmp_path / "a.tsv", [["text", "label"], *([row["text"], row["label"]] for row in rows)], "\t")
    names = ("a.parquet", "saved", "a.jsonl", "a.jsonl.gz", "a.json", "lines.json", "a.csv", "a.tsv")
    assert {data_hash(read(tmp_path / name)) for name in names} == {data_hash(read(tmp_path / "a.jsonl"))}
    assert [row.label for row in read(tmp_path / "saved")] == ["good", "bad"] * 3


def test_class_numbers_of_datasets_become_names(tmp_path: Path) -> None:
    import datasets

    names = datasets.ClassLabel(names=["neg", "pos"])
    one = datasets.Dataset.from_dict(
        {"text": ["a b", "c d", "e f"], "label": [1, 0, -1], "labels": [[0, 1], [], [1]]},
        features=datasets.Features({"text": datasets.Value("string"), "label": names, "labels": datasets.List(names)}),
    )
    one.to_parquet(tmp_path / "a.parquet")
    datasets.DatasetDict({"train": one}).save_to_disk(str(tmp_path / "saved"))
    for path in (tmp_path / "a.parquet", tmp_path / "saved"):
        assert [row.labels for row in read(path)] == [("pos",), ("neg",)]
        assert [row.labels for row in read(path, label_column="labels")] == [("neg", "pos"), (), ("pos",)]


def test_numbers_are_labels_as_they_are_written(tmp_path: Path) -> None:
    rows = [{"text": f"text {value}", "label": value} for value in (0, 1, 1.0, 2.5, "3", True)]
    assert [row.label for row in read(write_jsonl(tmp_path / "a.jsonl", rows))] == ["0", "1", "1", "2.5", "3", "true"]
    task = task_from_file(write_jsonl(tmp_path / "b.jsonl", labelled(40, ["10", "9", "2"])))
    assert task.labels == ("2", "9", "10")


def test_several_labels_by_list_separator_or_columns(tmp_path: Path) -> None:
    lists = write_jsonl(tmp_path / "a.jsonl", [{"text": "p q", "labels": ["x", "y", "x"]}, {"text": "r", "labels": []}])
    assert [row.labels for row in read(lists, label_column="labels")] == [("x", "y"), ()]
    joined = write_csv(tmp_path / "b.csv", [["text", "tags"], ["p q", "x | y"], ["r", ""]])
    assert [row.labels for row in read(joined, label_column="tags", separator="|")] == [("x", "y"), ()]
    columns = write_csv(tmp_path / "c.csv", [["text", "x", "y"], ["p q", "1", "1"], ["r", "0", "0"]])
    assert [row.labels for row in read(columns, label_column="x,y")] == [("x", "y"), ()]
    write_csv(tmp_path / "c.csv", [["text", "x", "y"], ["p q", "1", "0.7"]])
    with pytest.raises(UsageError, match=r"line 2: 'y' is '0\.7'.*0 or 1"):
        read(tmp_path / "c.csv", label_column="x,y")


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", labelled(40))
    task = make_task(str(path))
    load_split(task, "train", None)
    monkeypatch.setattr(files, "_text_of", lambda _: pytest.fail("read again"))
    assert load_split(task, "test", None)
    monkeypatch.undo()
    write_jsonl(path, labelled(41))
    assert sum(len(load_split(task, split, None)) for split in sets.SPLITS) == 41


def test_a_folder_below_the_source_can_hold_any_format(tmp_path: Path) -> None:
    (tmp_path / "moods").mkdir()
    for split in sets.SPLITS:
        write_csv(tmp_path / "moods" / f"{split}.csv", [["text", "label"], [f"{split} a", "good"], [split, "bad"]])
    assert [row.text for row in read_examples("moods", "validation", tmp_path)] == ["validation a", "validation"]


# Cutting


def test_a_single_file_is_cut_stratified_and_the_same_every_time() -> None:
    labels = [("rare",) if i % 20 == 0 else ("common",) for i in range(400)]
    places = cut(texts(400), labels, sets.SPLITS, 13)
    assert places == cut(texts(400), labels, sets.SPLITS, 13)
    assert places != cut(texts(400), labels, sets.SPLITS, 14)
    counts = Counter(zip(places, labels, strict=True))
    assert counts["train", ("common",)] == 304
    assert [counts[split, ("rare",)] for split in sets.SPLITS] == [16, 2, 2]


def test_near_duplicates_are_never_on_both_sides() -> None:
    some = texts(150)
    places = cut([*some, *(f"{text.upper()}!!" for text in some)], [("a",), ("b",)] * 150, sets.SPLITS, 3)
    assert places[:150] == places[150:]
    assert Counter(places)["test"] > 20


def test_the_smallest_data_that_can_be_cut() -> None:
    assert sorted(cut(texts(4), [("a",), ("a",), ("b",), ("b",)], sets.SPLITS, 0)) == [
        "test",
        *["train"] * 2,
        "validation",
    ]
    assert Counter(cut(texts(3), [(), (), ()], sets.SPLITS, 0)) == {"train": 1, "validation": 1, "test": 1}
    with pytest.raises(UsageError, match=r"2 distinct texts; at least 3 .* and 2 for each label"):
        cut(texts(2), [("a",), ("b",)], sets.SPLITS, 0)
    with pytest.raises(UsageError, match=r"1 of 2 labels have fewer than 2 distinct texts: 'b'"):
        cut(["same text here", "Same text here!", *texts(3)], [("b",), ("b",), *[("a",)] * 3], sets.SPLITS, 0)


def test_a_file_named_for_one_split_is_whole_and_missing_splits_are_cut_from_train(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", labelled(60))
    other = write_jsonl(
        tmp_path / "b.jsonl", [{"text": "Harbour about harbour harbour 0!", "label": "good"}, *labelled(9)[5:]]
    )
    task = task_from_file(path, test_path=other)
    split = {name: load_split(task, name, None) for name in sets.SPLITS}
    assert len(split["test"]) == 5
    # Five texts of the other file stand in this one, one of them nearly: they are tested on, not trained on.
    left = {row.text for row in split["train"]}
    assert not left & {row["text"] for row in labelled(9)[5:]}
    assert "harbour about harbour harbour 0" not in left
    folder = tmp_path / "parts"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", labelled(50))
    write_jsonl(folder / "test.jsonl", [{"text": "held out", "label": "good"}])
    task = task_from_file(folder)
    assert [row.text for row in load_split(task, "test", None)] == ["held out"]
    assert len(load_split(task, "validation", None)) == 6
    assert len(load_split(task, "train", None)) == 44


def test_near_duplicates_are_found_exactly() -> None:
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list("abcdefgh"), 6)) for _ in range(60)]
    long = [" ".join(generator.choice(words, 40)) for _ in range(30)]
    changed = [
        text + (" zz" if i % 2 else " completely other words at the end of it all now") for i, text in enumerate(long)
    ]
    groups = near_duplicate_groups([*long, *changed])

    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(len(text) - 4)}

    for i, (one, other) in enumerate(zip(long, changed, strict=True)):
        near = len(grams(one) & grams(other)) / len(grams(one) | grams(other)) >= 0.9
        assert (groups[i] == groups[30 + i]) == near == bool(i % 2)
    assert near_duplicate_groups(["Thanks!", "thanks", "", "?", "no"]).tolist() == [0, 0, 2, 3, 4]
    assert len(near_duplicate_groups([])) == 0


# Tasks of a user's data


def test_columns_are_guessed_said_and_the_task_is_named_after_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [["id", "Body", "Tag"], *([str(i), text, "ab"[i % 2]] for i, text in enumerate(texts(30)))]
    with caplog.at_level(logging.INFO, "healdag"):
        task = task_from_file(write_csv(tmp_path / "My Tickets 2.csv", rows))
    assert "text from column 'Body', labels from column 'Tag'" in caplog.text
    assert (task.name, task.labels, task.multi_label) == ("my_tickets_2", ("a", "b"), False)
    assert len(load_split(task, "train", None)) == 22  # of 15 rows of a label, 2 and 2 are held out
    rows[0] = ["id", "what", "Tag"]
    with pytest.raises(
        UsageError, match=r"which column .* holds the text; there are: 'id', 'what', 'Tag'.*--text-column"
    ):
        task_from_file(write_csv(tmp_path / "b.csv", rows))
    rows[0] = ["body", "content", "Tag"]
    with pytest.raises(UsageError, match=r"'body', 'content'.*--text-column"):
        task_from_file(write_csv(tmp_path / "c.csv", rows))
    two = write_csv(tmp_path / "d.csv", [["what", "label"], *(row[1:] for row in rows[1:])])
    assert task_from_file(two).train[0].text_column == "what"


def test_multi_label_is_seen_and_can_be_asked_for(tmp_path: Path) -> None:
    rows = [["text", "tags"], *([text, ("x;y", "y", "")[i % 3]] for i, text in enumerate(texts(30)))]
    path = write_csv(tmp_path / "a.csv", rows, "\t")
    task = task_from_file(path, multi_label=True)
    assert (task.labels, task.train[0].separator) == (("x", "y"), ";")
    train = load_split(task, "train", None)
    assert {row.labels for row in train} == {("x", "y"), ("y",), ()}
    assert targets(train, task.labels, multi_label=True).shape == (len(train), 2)
    with pytest.raises(UsageError, match="several labels a text, and one was asked for"):
        task_from_file(path, separator=";", multi_label=False)
    plain = write_jsonl(tmp_path / "b.jsonl", labelled(10))
    with pytest.raises(UsageError, match="give the separator"):
        task_from_file(plain, multi_label=True)


def test_the_name_of_a_shipped_task_takes_its_settings_but_a_file_never_takes_its_name(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "emotion.jsonl", labelled(20, ["joy", "fear"]))
    assert task_from_file(path).name == "my_emotion"
    named = task_from_file(path, name="emotion")
    assert (len(named.labels), named.sarcasm, named.auxiliary) == (8, True, None)
    other = write_jsonl(tmp_path / "b.jsonl", labelled(20))
    assert task_from_file(other, name="emotion").labels == ("bad", "good")


# Truth and priors


def test_truth_and_prior_of_one_and_of_several_labels() -> None:
    rows = [Example("p", ("b",)), Example("q", ("a",)), Example("r", ("b",))]
    assert targets(rows, ["a", "b"]).tolist() == [1, 0, 1]
    assert prior_of(targets(rows, ["a", "b"]), 2) == (0.4, 0.6)
    several = [Example("p", ("b", "a")), Example("q", ()), Example("r", ("b",))]
    truth = targets(several, ["a", "b"], multi_label=True)
    assert truth.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert prior_of(truth, 2) == (0.4, 0.6)
    with pytest.raises(UsageError, match=r"'c' \(1\) are none of"):
        targets([Example("p", ("c",))], ["a", "b"])


def test_labels_that_the_task_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "s").mkdir()
    rows = [{"text": f"{i}", "label": label} for i, label in enumerate(["good", "bad", "other", "bad", "odd"])]
    write_jsonl(tmp_path / "s" / "train.jsonl", rows)
    task = make_task("s", name="leaves_out")
    with caplog.at_level(logging.INFO, "healdag"):
        assert len(read_references(task, task.train, "train", tmp_path)) == 3
    assert "s: 2 of 5 rows have no label of task 'leaves_out'" in caplog.text
    path = write_jsonl(tmp_path / "own.jsonl", [*labelled(20), *labelled(3, ["Good"])])
    with pytest.raises(UsageError, match=r"does not know: 'Good' \(3\); it knows .*'Good' is perhaps 'good'"):
        load_split(make_task(str(path)), "train", None)
    renamed = DataReference(set=str(path), rename={"Good": ""})
    own = make_task("s").model_copy(update={"train": (renamed,), "validation": (), "test": ()})
    assert len(read_references(own, own.train, "train", None)) == 20


def test_a_multi_label_task_keeps_rows_without_a_label(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    contents = [["good"], [], ["good", "other"], ["other"], ["bad"]]
    rows = [{"text": text, "label": names} for text, names in zip(texts(5), contents, strict=True)]
    for split in sets.SPLITS:
        write_jsonl(tmp_path / "s" / f"{split}.jsonl", rows)
    task = make_task("s", multi_label=True)
    assert [row.labels for row in load_split(task, "test", tmp_path)] == [("good",), (), ("good",), ("bad",)]


# Errors


def test_a_missing_file_or_folder(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "reviews.jsonl", labelled(5))
    with pytest.raises(UsageError, match=r"no file or folder .*review\.jsonl.*did you mean 'reviews\.jsonl'"):
        task_from_file(tmp_path / "review.jsonl")
    with pytest.raises(UsageError, match="there is no folder"):
        task_from_file(tmp_path / "nowhere" / "a.csv")
    with pytest.raises(UsageError, match=r"no train\.jsonl or the like .*there is: reviews\.jsonl"):
        task_from_file(tmp_path)
    with pytest.raises(UsageError, match=r"suffix is none of .*\.csv"):
        read(write_csv(tmp_path / "a.xlsx", [["text"]]))
    (tmp_path / "moods").mkdir()
    with pytest.raises(UsageError, match="did you mean 'moods'"):
        read_examples("mods", "train", tmp_path)


def test_a_missing_column(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [["text", "tags"], ["p", "x"]])
    with pytest.raises(
        UsageError, match=r"no column 'tag'; there are: 'text', 'tags'; did you mean 'tags'.*--label-column"
    ):
        read(path, label_column="tag")
    with pytest.raises(UsageError, match=r"no column 'body'.*--text-column"):
        task_from_file(path, text_column="body", label_column="tags")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text": \n', r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", b'\n["text"]\n', r"line 2: not a JSON object"),
        (
            "a.jsonl",
            b'{"text": "a", "label": "b"}\n{"text": 5, "label": "b"}\n',
            r"line 2: 'text' is int, not text: '5'",
        ),
        ("a.jsonl", b'{"text": "a", "label": {"b": 1}}\n', r"line 1: a label is dict"),
        ("a.json", b'{"a": 1}', r"needed: a list of objects"),
        ("a.json", b"[1, 2", r"is not JSON"),
        ("a.csv", b"text,label\na,b\nc,d,e\n", r"a\.csv, line 3: 3 cells, the header has 2"),
        ("a.csv", b'text,label\na,b\n"c" x,d\n', r"line 3: .*the quote doubled"),
        ("a.csv", b"text,text\na,b\n", r"holds 'text' twice"),
        ("a.csv", b"", r"is empty; needed: a header"),
        ("a.csv", b"text,label\na,b\ncaf\xe9,d\n", r"line 3: not UTF-8 \(byte 0xe9\).*save it as UTF-8"),
        ("a.csv", "text,label\na,b\n".encode("utf-16"), r"line 1: not UTF-8 .*UTF-16"),
        ("a.jsonl.gz", b"not gzip", r"cannot read .*a\.jsonl\.gz"),
        ("a.parquet", b"not parquet", r"cannot read .* as Parquet"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read(tmp_path / name)


def test_too_little_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no rows"):
        task_from_file(write_csv(tmp_path / "a.csv", [["text", "label"]]))
    with pytest.raises(UsageError, match=r"only the label 'good' in 9 rows .* 2 different"):
        task_from_file(write_jsonl(tmp_path / "b.jsonl", labelled(9, ["good"])))
    three = task_from_file(write_jsonl(tmp_path / "c.jsonl", labelled(3)))
    with pytest.raises(UsageError, match="fewer than 2 distinct texts: 'bad'"):
        load_split(three, "train", None)
    (tmp_path / "s").mkdir()
    for split in sets.SPLITS:
        write_jsonl(tmp_path / "s" / f"{split}.jsonl", labelled(4, ["good"]))
    with pytest.raises(UsageError, match="all 4 train rows of task 't' have the same label: 'good'"):
        load_split(make_task("s"), "train", tmp_path)
    with pytest.raises(UsageError, match=r"no test rows with one of the labels \['x', 'y'\]"):
        load_split(make_task("s", labels=("x", "y")), "test", tmp_path)


def test_rows_without_text_or_label_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [["text", "label"], ["fine", "x"], ["", "x"], ["<br>", "y"], ["?", "y"], ["no label", ""], ["  ", "x"]]
    assert [row.text for row in read(write_csv(tmp_path / "a.csv", rows))] == ["fine", "?"]
    assert "3 of 6 rows left out: empty text" in caplog.text
    assert "1 of 6 rows left out: no label" in caplog.text


def test_the_hub_is_asked_without_a_source_and_says_how_to_go_on_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(name: str, configuration: str | None) -> Any:
        asked.append((name, configuration))
        if "down" in name:
            raise ConnectionError("no route to host")
        return datasets.DatasetDict(
            {"train": datasets.Dataset.from_list(labelled(30)), "dev": datasets.Dataset.from_list(labelled(2))}
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(files, "_hub", {})
    assert len(read_examples("far", "validation", None, hub="own/far:small")) == 2
    assert len(read_examples("far", "test", None, hub="own/far:small")) == 4  # what it lacks is cut from train
    assert asked == [("own/far", "small")]
    with pytest.raises(UsageError, match=r"cannot load 'own/down' .*no route to host.*--source DIR"):
        read_examples("far", "train", None, hub="own/down")


def test_every_shipped_task_file_is_valid_and_says_whether_it_may_be_shipped() -> None:
    from healdag.training.tasks import load_task, tasks_folder

    tasks = {path.stem: load_task(path.stem) for path in tasks_folder().glob("*.toml")}
    wanted = {"emotion", "goemotions", "journal", "hate", "hate_binary", "toxicity", "sentiment", "topic", "sarcasm"}
    assert wanted <= tasks.keys()
    assert {name for name, task in tasks.items() if task.multi_label} == {"goemotions", "toxicity"}
    assert len(tasks["goemotions"].labels) == len(set(tasks["goemotions"].labels)) == 28
    for name in ("journal", "sentiment", "topic", "emotion_dair", "emotion_tweets"):
        assert tasks[name].research_only
    assert not any(tasks[name].research_only for name in ("emotion", "sarcasm", "hate", "toxicity"))
