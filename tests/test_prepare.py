"""Preparation: what is dropped and why, what stays, and that the result can be trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from healdag.cli import app
from healdag.errors import UsageError
from healdag.training.data import data_hash, load_split
from healdag.training.data import prepare as preparation
from healdag.training.data.edge_cases import edges_of
from healdag.training.data.prepare import prepare
from healdag.training.data.sources import task_from_file
from healdag.training.datasets import SPLITS, Example
from healdag.training.tasks import Balance, DataReference, Task

LONG = "the committee will meet again on thursday morning to talk about the new harbour wall and its rather high price"


def write(folder: Path, **splits: list[tuple[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        lines = [
            json.dumps({"text": text, ("labels" if isinstance(label, list) else "label"): label})
            for text, label in rows
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder.parent


def make_task(**fields: Any) -> Task:
    data = (DataReference(set="moods", licence="CC0-1.0"),)
    return Task.model_validate(
        {
            "name": "mood",
            "description": "Moods",
            "labels": ("joy", "anger"),
            "licence": "CC0",
            **dict.fromkeys(SPLITS, data),
            **fields,
        }
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    train = [
        ("Good <b>day</b> &amp; sooooooo nice https://example.org/x", "joy"),
        ("only once", "anger"),
        ("only once", "anger"),
        ("Only once!", "anger"),
        ("In Test too", "joy"),
        (LONG, "anger"),
        ("split vote", "joy"),
        ("split vote", "anger"),
        ("most say joy", "joy"),
        ("most say joy", "anger"),
        ("most say joy", "joy"),
        ("", "joy"),
    ]
    validation = [(LONG.replace("thursday", "Thursday") + "!", "anger"), ("in test too", "joy"), ("kept here", "joy")]
    return write(
        tmp_path / "data" / "moods", train=train, validation=validation, test=[("in test too!", "joy"), ("u", "anger")]
    )


def kept(folder: Path, split: str) -> list[dict[str, Any]]:
    import datasets

    return list(datasets.load_from_disk(str(folder))[split])


def test_what_is_dropped_and_what_stays(source: Path, tmp_path: Path) -> None:
    report = prepare(make_task(), source, tmp_path / "out")
    assert [(row["text"], row["label"]) for row in kept(tmp_path / "out", "train")] == [
        ("Good day & sooo nice http", "joy"),
        ("only once", "anger"),
        ("most say joy", "joy"),
    ]
    # A held-out row wins, test before validation.
    assert [row["text"] for row in kept(tmp_path / "out", "validation")] == [
        LONG.replace("thursday", "Thursday") + "!",
        "kept here",
    ]
    assert [row["text"] for row in kept(tmp_path / "out", "test")] == ["in test too!", "u"]
    assert +report.dropped["train"] == {
        "empty text": 1,
        "duplicate": 2,
        "near-duplicate": 1,
        "near-duplicate in test": 1,
        "near-duplicate in validation": 1,
        "contradictory labels": 3,
    }
    assert +report.dropped["validation"] == {"near-duplicate in test": 1}
    for split in SPLITS:
        assert report.read[split] == report.rows[split] + report.dropped[split].total()
    assert {conflict["text"] for conflict in report.conflicts} == {"split vote", "most say joy"}


def test_the_report_the_card_and_the_hashes(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = prepare(make_task(), source, out)
    content = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(report.as_json()))
    assert content["kept"]["train"] == {"joy": 2, "anger": 1}
    card = (out / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["task_categories"] == ["text-classification"]
    assert front["size_categories"] == ["n<1K"]
    assert "| moods | CC0-1.0 | 3 | 2 | 2 |" in card
    assert "| joy | 2 | 1 | 1 |" in card
    assert "| contradictory labels | 3 | 0 | 0 |" in card
    assert all(f"`{digest}`" in card for digest in content["sha256"].values())
    # What is read back to train on is what was written and hashed.
    task = task_from_file(out, name="mood")
    for split in SPLITS:
        assert data_hash(load_split(task, split, None)) == content["sha256"][split]


def test_the_same_seed_gives_the_same_rows_of_a_single_file(tmp_path: Path) -> None:
    rows = [(f"{'abcdefghij'[i % 10] * 3} word{i} {i * i}", ["x", "y"] if i % 3 else []) for i in range(90)]
    write(tmp_path / "own", rows=rows)
    task = task_from_file(tmp_path / "own" / "rows.jsonl")
    first = prepare(task, None, tmp_path / "a", seed=5)
    assert first.sha256 == prepare(task, None, tmp_path / "b", seed=5).sha256
    assert first.sha256 != prepare(task, None, tmp_path / "c", seed=6).sha256
    assert first.rows == {"train": 72, "validation": 9, "test": 9}
    assert first.kept["train"][""] + first.kept["train"]["x"] == 72
    again = task_from_file(tmp_path / "a")
    assert again.multi_label
    assert data_hash(load_split(again, "test", None)) == first.sha256["test"]


def distinct(n: int, word: str, label: str) -> list[tuple[str, str]]:
    return [(f"{word} {i} {i * i} {'qwertzuiop'[i % 10] * 4}", label) for i in range(n)]


def test_a_balanced_set_is_filled_up_and_never_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joy = [*distinct(60, "plain", "joy"), *distinct(6, "not", "joy")]
    write(
        tmp_path / "data" / "moods",
        train=[*joy, *distinct(5, "few", "anger")],
        validation=[*distinct(8, "v", "joy"), *distinct(2, "w", "anger")],
        test=[*distinct(8, "t", "joy"), *distinct(9, "s", "anger")],
    )
    write(tmp_path / "data" / "more", train=[*distinct(3, "extra", "anger"), *distinct(5, "few", "anger")])
    balance = Balance(train=20, validation=6, test=4, fill=(DataReference(set="more"),))
    task = make_task(balance=balance)
    augmentation = "healdag.training.augmentation.augment.augment_rows"
    monkeypatch.setattr(augmentation, lambda *_rows, **_options: [])
    report = prepare(task, tmp_path / "data", tmp_path / "out")
    assert report.kept["train"] == {"joy": 20, "anger": 8}
    assert report.kept["test"] == {"joy": 4, "anger": 4}
    assert report.short == {"train": {"anger": 8}, "validation": {"anger": 2}, "test": {}}
    assert report.origins["train"] == {"moods": 25, "more": 3}
    assert report.edges["train"]["negation"] == 6  # drawn before the plain ones
    texts = [row["text"] for split in SPLITS for row in kept(tmp_path / "out", split)]
    assert len(texts) == len(set(texts))

    # Where rows can be made from others, they fill up what is left; a made row that is there already does not count.
    def augment_rows(rows: list[Example], *, n: int, seed: int, held_out: list[str]) -> list[Example]:
        return [
            rows[0],
            Example("turned round", ("joy",)),
            Example(held_out[0], rows[0].labels),
            *(Example(f"made up {i} {'abc'[i % 3] * 5}", rows[0].labels) for i in range(n)),
        ]

    monkeypatch.setattr(augmentation, augment_rows)
    report = prepare(task, tmp_path / "data", tmp_path / "out")
    assert report.kept["train"] == {"joy": 20, "anger": 20}
    assert report.origins["train"]["augmented"] == 12
    assert report.kept["validation"]["anger"] == 2  # held out: texts of people only


def test_no_text_of_a_model_is_held_out_of_a_balanced_set(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "data" / "authored_moods",
        **{split: [*distinct(4, f"{split}a", "joy"), *distinct(4, f"{split}b", "anger")] for split in SPLITS},
    )
    data = (DataReference(set="authored_moods"),)
    task = make_task(**dict.fromkeys(SPLITS, data), balance=Balance(train=2, validation=2, test=2))
    with pytest.raises(UsageError, match="no validation row is left"):
        prepare(task, folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "fields", "edges"),
    [
        ("so nice 🙂", {}, ("emoji",)),
        ("so nice :)", {}, ("emoji",)),
        ("great, rain again /s", {}, ("sarcasm",)),
        ("i liked the film but the end was weak", {}, ("mixed",)),
        ("but why", {}, ()),
        ("a present", {"second": "love"}, ("mixed",)),
        ("I can't go", {}, ("negation",)),
        ("a knot in the notebook", {}, ()),  # fault 5: words, not substrings
        ("what a day!", {"label": "neutral"}, ("neutral",)),
    ],
)
def test_edge_cases(text: str, fields: dict[str, Any], edges: tuple[str, ...]) -> None:
    assert edges_of(Example(text, (fields.get("label", "joy"),), fields={"text": text, **fields})) == edges
    assert edges_of(Example("fine", ("joy",), sarcastic=True)) == ("sarcasm",)


def test_nothing_that_is_not_a_prepared_set_is_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="holds something else"):
        prepare(make_task(), source, out)
    with pytest.raises(UsageError, match="is a file"):
        prepare(make_task(), source, out / "thesis.txt")
    (out / "thesis.txt").unlink()
    prepare(make_task(), source, out)
    prepare(make_task(), source, out)  # a prepared set is


def test_a_failure_leaves_the_old_set(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    prepare(make_task(), source, out)
    before = (out / "report.json").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "data_card", full)
    with pytest.raises(OSError, match="No space"):
        prepare(make_task(), source, out, seed=99)
    assert (out / "report.json").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_the_command(tmp_path: Path) -> None:
    rows = "\n".join(f"{'abcdefghij'[i % 10] * 3} {i * i} word,{'ab'[i % 2]}" for i in range(60))
    data = tmp_path / "tickets.csv"
    data.write_text(f"body,tag\n{rows}\n{rows.splitlines()[0]}\n", encoding="utf-8")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["prepare", "--data", str(data), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "duplicate" in done.output
    assert str(out) in done.output.replace("\n", "")
    assert (out / "dataset_dict.json").is_file()
    wrong = CliRunner().invoke(app, ["prepare", "--data", str(data), "--label-column", "tga", "--out", str(out)])
    assert wrong.exit_code == 2
    assert "did you mean 'tag'" in wrong.output
    assert CliRunner().invoke(app, ["prepare"]).exit_code == 2
