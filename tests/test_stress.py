"""The stress suite: its cases, what is right, the command, and that nothing trains with it."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import healdag.graph
from healdag import create_classifier
from healdag.cli import app
from healdag.errors import UsageError
from healdag.predictors.emoji import lexicon_labels
from healdag.predictors.fake import FakePredictor
from healdag.schema import Classification
from healdag.stress import (
    EMOTIONS,
    GROUPS,
    Answer,
    Case,
    agreement,
    agreement_table,
    answered,
    is_right,
    load_cases,
    read_cases,
    summary,
)
from healdag.stress.cases import FOLDER
from healdag.text import clean_text
from healdag.training.data.near_duplicates import near_duplicate_groups, words_of

ROOT = Path(__file__).parent.parent
REAL_FACTORY = create_classifier
CASES = (
    {"text": "hello", "label": "joy"},
    {"text": "meh", "label": "sadness", "group": "doubtful"},
    {"text": "bah", "label": "anger", "group": "doubtful"},
    {"text": "lost", "label": None, "expects": "doubt", "group": "unknown", "second_reader": "none"},
    {"text": "well well", "label": "fear", "accept": ["joy"], "second_reader": "joy"},
    {"text": "zzz", "expects": "doubt", "group": "unknown", "second_reader": "joy"},
)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return load_cases()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEALDAG_CONFIG", "HEALDAG_MODELS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def case(**fields: Any) -> Case:
    return Case(**{"id": "a-1", "group": "a", "text": "hm", **fields})


# the cases


def test_there_are_cases_of_every_group(cases: list[Case]) -> None:
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == set(GROUPS)
    assert tuple(dict.fromkeys(case.group for case in cases)) == GROUPS
    assert len(cases) >= 300
    assert min(Counter(case.group for case in cases).values()) >= 34
    assert len({case.id for case in cases}) == len(cases)
    assert {case.source for case in cases} == {"authored"}
    assert set(EMOTIONS) == set(lexicon_labels())


def test_groups_hold_what_they_say(cases: list[Case]) -> None:
    def labels(group: str) -> set[str | None]:
        return {case.label for case in cases if case.group == group}

    assert labels("plain") == labels("long") == labels("other_scripts") == set(EMOTIONS)
    assert labels("neutral") == {"neutral"}
    assert {case.group for case in cases if case.expects == "doubt"} == {"gibberish", "other_scripts"}
    assert {case.group for case in cases if case.label is None} == {"gibberish"}
    assert all(150 <= len(case.text.split()) <= 400 for case in cases if case.group == "long")


def test_no_case_stands_twice(cases: list[Case]) -> None:
    assert len({case.text for case in cases}) == len(cases)
    assert len(set(near_duplicate_groups([case.text for case in cases]).tolist())) == len(cases)


def test_the_readme_has_the_groups_and_the_agreement(cases: list[Case]) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{group}` |" in text for group in GROUPS)
    found = re.search(r"<!-- agreement -->\n(.*?)\n<!-- /agreement -->", text, re.DOTALL)
    assert found is not None
    assert found[1] == agreement_table(cases), "put agreement_table(load_cases()) there"


# nothing trains with them


def training_texts() -> Iterator[str]:
    for path in sorted((ROOT / "data").rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            row = json.loads(line) if line else {}
            if "text" in row:
                yield row["text"]


def test_no_training_text_of_ours_is_a_case(cases: list[Case]) -> None:
    rows = list(training_texts())
    if not rows:
        pytest.skip("the authored texts come with the checkout")
    known = {words_of(clean_text(text)) for text in rows}
    assert [case.id for case in cases if words_of(clean_text(case.text)) in known] == []
    groups = near_duplicate_groups([*rows, *(case.text for case in cases)])[len(rows) :].tolist()
    assert [case.id for case, group in zip(cases, groups, strict=True) if group < len(rows)] == []


def test_nothing_that_trains_reads_the_cases() -> None:
    readers = [*(ROOT / "tasks").glob("*.toml"), *(ROOT / "src" / "training").rglob("*.py")]
    assert readers
    assert [path.name for path in readers if re.search(r"\bstress\b", path.read_text(encoding="utf-8"))] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    (training,) = (place for place, layer in enumerate(layers) if "src.training" in layer.split(" | "))
    (stress,) = (place for place, layer in enumerate(layers) if "src.stress" in layer.split(" | "))
    assert stress < training  # a lower layer never imports a higher one: test_layers_hold


def test_no_case_is_written_in_a_test_or_an_example(cases: list[Case]) -> None:
    files = [*(ROOT / "tests").glob("*.py"), *(ROOT / "examples").iterdir(), ROOT / "README.md"]
    written = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    # Of two words and less: "❤️" and "😭" stand wherever emoji are tested.
    assert [case.id for case in cases if len(case.text.split()) > 2 and case.text in written] == []


# what is right


@pytest.mark.parametrize(
    ("wanted", "answer", "right", "strictly"),
    [
        ({"label": "joy"}, Answer("joy", 0.9, doubted=False), True, True),
        ({"label": "joy"}, Answer("joy", 0.3, doubted=True), True, True),
        ({"label": "joy"}, Answer("love", 0.9, doubted=False), False, False),
        ({"label": "joy"}, Answer(None, None, doubted=True), False, False),
        ({"label": "joy", "accept": ["love"]}, Answer("love", 0.9, doubted=False), True, False),
        ({"label": "joy", "expects": "doubt"}, Answer("joy", 0.9, doubted=False), True, True),
        ({"label": "joy", "expects": "doubt"}, Answer("fear", 0.2, doubted=True), True, True),
        ({"label": "joy", "expects": "doubt"}, Answer("fear", 0.9, doubted=False), False, False),
        ({"expects": "doubt"}, Answer("fear", 0.2, doubted=True), True, True),
        ({"expects": "doubt"}, Answer("fear", 0.9, doubted=False), False, False),
        ({"expects": "doubt"}, Answer(None, None, doubted=False), False, False),
    ],
)
def test_what_is_right(wanted: dict[str, Any], answer: Answer, right: bool, strictly: bool) -> None:
    assert is_right(case(**wanted), answer) is right
    assert is_right(case(**wanted), answer, strict=True) is strictly


@pytest.mark.parametrize(
    ("fields", "doubted"),
    [
        ({}, False),
        ({"reasons": ("sarcasm",)}, False),
        ({"reasons": ("low_confidence",)}, True),
        ({"reasons": ("sarcasm", "unreadable")}, True),
        ({"source": "abstain", "final_label": None, "confidence": None}, True),
        ({"source": "pending", "final_label": None, "confidence": None}, True),
    ],
)
def test_which_answers_are_doubtful(fields: dict[str, Any], doubted: bool) -> None:
    given = {"text": "hm", "final_label": "joy", "confidence": 0.9, "source": "model", "probabilities": {}}
    result = Classification(**{**given, "decision_id": "a.0", "model_version": "fake/1", **fields})
    assert Answer.of(result).doubted is doubted


def test_agreement_counts_what_was_read() -> None:
    read = (("joy", "joy"), ("joy", "love"), ("fear", "fear"), ("fear", "joy"), ("fear", "fear"), (None, "none"))
    seen = [
        case(label=label, accept=["love"] if label == "joy" else [], expects="doubt", second_reader=second)
        for label, second in read
    ]
    # Observed 4/6; by chance (2*2 + 3*2 + 1*1) / 36: (24 - 11) / (36 - 11).
    assert agreement([*seen, case(label="joy")]) == {"read": 6, "share": pytest.approx(5 / 6, abs=1e-4), "kappa": 0.52}
    assert agreement([case(label="joy", second_reader="fear")]) == {"read": 1, "share": 0.0, "kappa": None}
    assert agreement([case(label="joy")]) == {"read": 0, "share": None, "kappa": None}
    assert agreement_table(seen).splitlines()[2] == "| a | 6 | 6 | 0.83 | 0.52 |"


# a user's own cases


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object: '[1]'"),
        ('{"label": "joy"}', "line 2: no field 'text'"),
        ('{"text": " ", "label": "joy"}', "line 2: text is ' ': the text is empty"),
        ('{"text": "a", "label": "happy"}', "line 2: label is 'happy': Input should be 'joy', 'sadness'"),
        ('{"text": "a", "label": "joy", "accept": "love"}', "line 2: accept is 'love'"),
        ('{"text": "a", "label": "joy", "accept": ["joy"]}', "line 2: accept repeats the label 'joy'"),
        ('{"text": "a", "label": "joy", "expects": "fear"}', "line 2: expects is 'fear': Input should be 'doubt'"),
        ('{"text": "a"}', "line 2: label is null: give one of joy, sadness"),
        ('{"text": "a", "expects": "doubt", "accept": ["joy"]}', "line 2: label is null"),
        ('{"text": "a", "lable": "joy"}', "line 2: unknown field 'lable'; there are: id, group, text, label"),
    ],
)
def test_a_line_that_is_no_case_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"text": "a", "label": "joy"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(words)):
        read_cases(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    with pytest.raises(UsageError, match="No such file"):
        read_cases(path)
    path.write_bytes(b'{"text": "\xff"}')
    with pytest.raises(UsageError, match="not UTF-8 at byte 10"):
        read_cases(path)
    path.write_bytes(b"\n \n")
    with pytest.raises(UsageError, match="no case in"):
        read_cases(path)


def test_own_cases_are_named_by_group_and_line(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    lines = ('{"text": "a", "label": "joy"}', "", '{"text": "b\u2028c", "label": "joy", "group": "odd", "note": "why"}')
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert [(case.id, case.group, case.text) for case in read_cases(path)] == [
        ("own-1", "own", "a"),
        ("odd-3", "odd", "b\u2028c"),
    ]


# the command


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A classifier with a fake model, and a fake backup that turns what is doubtful into sadness."""
    answers = {"meh": {"anger": 0.3}, "bah": {"anger": 0.3}, "lost": None}
    made = SimpleNamespace(asked={}, labels=EMOTIONS)

    def create(task: str | None = None, **options: Any) -> Any:
        made.asked = {"task": task, **options}
        model = FakePredictor(made.labels, answers=answers, default={"joy": 0.9}, name="model")
        backup = FakePredictor(made.labels, default={"sadness": 0.6}, name="tfidf")
        return REAL_FACTORY(primary=model, backups=[backup], config_path=options["config_path"])

    monkeypatch.setattr(healdag.graph, "create_classifier", create)
    return made


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in CASES), encoding="utf-8")
    return path


def run(*args: str | Path) -> Any:
    return CliRunner().invoke(app, ["stress", *map(str, args)])


def ok(*args: str | Path) -> str:
    result = run(*args)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return str(result.stdout)


def refused(*args: str | Path) -> str:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


def test_the_table_has_a_line_per_group(fake: SimpleNamespace, own: Path) -> None:
    title, header, *lines = ok("--data", own).splitlines()
    assert title.split() == ["fake/1:", "6", "cases"]
    assert header.split() == ["group", "n", "before", "after", "strict", "fixed", "broke", "doubt", "sure", "readers"]
    assert [line.split() for line in lines[:4]] == [
        ["own", "2", "1.00", "1.00", "0.50", "0", "0", "0.00", "0.90", "1.00"],
        ["doubtful", "2", "0.50", "0.50", "0.50", "1", "1", "1.00", "0.60", "-"],
        ["unknown", "2", "0.50", "0.50", "0.50", "0", "0", "0.50", "0.75", "0.50"],
        ["all", "6", "0.67", "0.67", "0.50", "1", "1", "0.50", "0.75", "0.67"],
    ]
    assert "(the primary alone)" in " ".join(lines)
    assert max(map(len, (header, *lines))) <= 80


def test_failures_are_listed(fake: SimpleNamespace, own: Path) -> None:
    output = ok("--data", own, "--failures")
    assert output.split("\n\n", 1)[1] == (
        "doubtful-3: right is anger; before anger 0.30, after sadness 0.60 (low_confidence)\nbah\n\n"
        "unknown-6: right is a doubt; before joy 0.90, after joy 0.90\nzzz\n"
    )


def test_figures_and_answers_as_json(fake: SimpleNamespace, own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert ok("--data", own, "--output", out).endswith(f"written: {out}\n")
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found == json.loads(ok("--data", own, "--output", "-"))
    assert found["model"] == "fake/1"
    assert list(found["groups"]) == ["own", "doubtful", "unknown"]
    assert found["all"]["right"] == found["all"]["right_strict"] | {"before": 0.6667, "after": 0.6667}
    assert found["answers"][1] == {
        "id": "doubtful-2",
        "label": "sadness",
        "accept": [],
        "expects": None,
        "before": {"label": "anger", "confidence": 0.3, "doubted": True, "right": False},
        "after": {
            "label": "sadness",
            "confidence": 0.6,
            "doubted": True,
            "right": True,
            "reasons": ["low_confidence"],
        },
    }
    lost = found["answers"][3]
    assert lost["before"] == {"label": None, "confidence": None, "doubted": True, "right": True}
    own.rename(tmp_path / "own2.jsonl")
    assert json.loads(ok("--data", tmp_path / "own2.jsonl", "--output", "-"))["cases"] == found["cases"]


def test_some_groups(fake: SimpleNamespace, own: Path) -> None:
    found = json.loads(ok("--data", own, "--group", "unknown", "--group", "own", "-o", "-"))
    assert {group: figures["n"] for group, figures in found["groups"].items()} == {"own": 2, "unknown": 2}
    found = json.loads(ok("--group", "emoji", "-o", "-"))
    assert list(found["groups"]) == ["emoji"]
    assert "no group 'odd'; there are: own, doubtful, unknown" in refused("--data", own, "--group", "odd")
    assert "no group 'odd'; there are: plain, emoji" in refused("--group", "odd")


def test_options_reach_the_classifier(fake: SimpleNamespace, own: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("dag: {max_chars: 5}\n", encoding="utf-8")
    options = ("--task", "mine", "--version", "1.2.3", "--device", "cpu", "--config", config)
    answers = json.loads(ok("--data", own, "-o", "-", *options))["answers"]
    assert (fake.asked["task"], fake.asked["version"], fake.asked["device"]) == ("mine", "1.2.3", "cpu")
    assert not fake.asked["human_review"]
    # Too long for this graph: no answer, which is no right one.
    assert answers[4]["after"] == {"label": None, "confidence": None, "doubted": True, "right": False, "reasons": []}


def test_other_labels_are_refused(fake: SimpleNamespace, own: Path) -> None:
    fake.labels = ("joy", "sadness", "anger")
    assert "'fake/1' answers joy, sadness, anger. Choose a model of these eight emotions" in refused("--data", own)
    multi = create_classifier(primary=FakePredictor(EMOTIONS, default="joy", multi_label=True))
    with pytest.raises(UsageError, match=r"\(several\)"):
        answered(multi, [case(label="joy")])


def test_a_mistake_is_said_before_models_are_loaded(fake: SimpleNamespace, own: Path, tmp_path: Path) -> None:
    assert "cannot read 'none.jsonl'" in refused("--data", "none.jsonl")
    assert "cannot write" in refused("--data", own, "--output", tmp_path / "none" / "out.json")
    assert fake.asked == {}
    assert [path.name for path in tmp_path.iterdir()] == ["own.jsonl"]


def test_a_model_in_a_folder(tmp_path: Path, make_tfidf: Callable[..., Path]) -> None:
    folder = make_tfidf(tmp_path / "1.0.0", {f"a word of {emotion}": emotion for emotion in EMOTIONS})
    found = json.loads(ok("--task", folder, "--group", "plain", "-o", "-"))
    assert found["model"] == "mood/1.0.0"
    assert found["all"]["n"] == len(found["answers"]) == len(load_cases(["plain"]))


def test_the_shipped_model_answers_every_kind(classifier: Any, cases: list[Case]) -> None:
    some = [next(case for case in cases if case.group == group) for group in GROUPS]
    found = summary(classifier, answered(classifier, some))
    assert list(found["groups"]) == list(GROUPS)
    assert all(one["before"]["label"] in EMOTIONS for one in found["answers"])
    assert all(one["after"]["label"] in EMOTIONS and 0 <= one["after"]["confidence"] <= 1 for one in found["answers"])
