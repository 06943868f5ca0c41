"""Step scores, and the page with pictures and tables: of labelled rows, of a decision log, of both."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from healdag import Classifier, create_classifier
from healdag.artifacts import Budget, Certificate, Rule, covered_files
from healdag.cli import app
from healdag.errors import MissingExtraError, UsageError
from healdag.graph import build_graph
from healdag.graph.classifier import Engine
from healdag.nodes import Backup, Rung
from healdag.predictors.emoji import lexicon_labels
from healdag.predictors.ensemble import Ensemble
from healdag.predictors.fake import FakePredictor
from healdag.report.evidence import gather
from healdag.report.labelled import labelled_sections
from healdag.report.log import log_sections, read_log
from healdag.report.page import Section, Table, render
from healdag.report.pictures import confidence_boxes_svg
from healdag.report.svg import check_matplotlib
from healdag.report.ways import REASONS, reason_stage, ways_svg
from healdag.schema import Reason
from healdag.store import DecisionLog, read_decisions
from healdag.training.datasets import Example
from healdag.trust.observe import answer_columns, observe, observe_rows
from healdag.trust.steps import Change, score_steps

LABELS = ("joy", "anger", "neutral")
OF_ROWS = ("figures", "risk", "reliability", "labels", "ways", "steps", "classes", "wrong", "policy", "provenance")
OF_LOG = ("log-time", "log-labels", "log-ways", "log-tables")
VOID = {"meta", "br", "hr", "img", "input", "link"}


def make(primary: FakePredictor, rungs: list[tuple[FakePredictor, Rule]] | None = None, **options: Any) -> Classifier:
    """A classifier whose backups have the rules that a policy would give them."""
    made = create_classifier(primary=primary, **{"threshold": 0.7, "backups": [], **options})
    if rungs is None:
        return made
    backup = made.nodes.backup
    ladder = tuple(Rung(predictor.name, predictor, rule) for predictor, rule in rungs)
    nodes = made.nodes.__class__(**{**vars(made.nodes), "backup": Backup(ladder, backup.decider, backup.threshold)})
    return Classifier(lambda: Engine(build_graph(nodes).compile(), nodes, "mood"))


def fake(answers: dict[str, Any], name: str = "model", **options: Any) -> FakePredictor:
    return FakePredictor(options.pop("labels", LABELS), answers=answers, name=name, **options)


def row(text: str, *labels: str) -> Example:
    return Example(text, labels, fields={"text": text})


MODEL = {
    "sure right": {"joy": 0.9},
    "sure wrong": {"joy": 0.9},
    "to be fixed": {"joy": 0.5},
    "to be broken": {"anger": 0.5},
    "stays wrong": {"joy": 0.5},
    "stays right": {"neutral": 0.6},
    "no answer": None,
}
SECOND = {
    "to be fixed": {"anger": 0.8},
    "to be broken": {"joy": 0.8},
    "stays wrong": {"anger": 0.8},
    "stays right": {"joy": 0.5},
    "no answer": {"anger": 0.6},
}
ROWS = [
    row("sure right", "joy"),
    row("sure wrong", "anger"),
    row("to be fixed", "anger"),
    row("to be broken", "anger"),
    row("stays wrong", "neutral"),
    row("stays right", "neutral"),
    row("no answer", "anger"),
]


class Page(HTMLParser):
    """What a page holds; an assertion fails where its tags do not close in order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]

    @property
    def sections(self) -> list[str]:
        return [value for tag, key, value in self.attributes if (tag, key) == ("section", "id")]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def checked(content: str) -> Page:
    """The page, which needs nothing but itself."""
    page = Page(content)
    assert content.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(page.tags)
    assert re.findall(r"(?:https?:)?//[\w.]", re.sub(r">[^<]*<", "><", content)) == []  # in tags, not in words
    assert "@import" not in content
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    local = [value.removeprefix("#") for value in page.values("href")]
    local += re.findall(r"url\(#([^)]+)\)", content)
    assert set(local) <= set(ids)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    return page


def page_of(sections: list[Section]) -> Page:
    return checked(render("a page", ["about"], sections))


def run(*arguments: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "100"})
    assert result.exit_code == code, (result.output, result.exception)
    return result


# steps


def test_what_a_step_fixed_broke_and_left() -> None:
    seen = observe_rows(make(fake(MODEL), [(fake(SECOND, "second"), "surer")]), ROWS)
    model, second, whole = score_steps(seen, [Rung("second", fake({}, "second"))])
    assert (model.name, model.asked, model.failed, model.right, model.change) == ("model", 7, 1, 3, None)
    assert (second.asked, second.failed, second.took, second.right) == (5, 0, 4, 3)
    change = second.change
    assert change is not None
    assert (change.fixed, change.broke, change.left, change.net) == (2, 1, 2, 1)
    assert second.alone is not None
    assert (second.alone.fixed, second.alone.broke) == (2, 2)  # it would have broken 'stays right', too
    assert (whole.asked, whole.right, whole.took, whole.change) == (
        7,
        4,
        4,
        Change.between(seen.primary_right, seen.right),
    )
    assert second.ms is not None
    assert list(seen.node_ms)[-1] == "finalize"


def test_a_step_is_held_against_what_it_found() -> None:
    """The first backup breaks an answer, the second puts it right again: one broken, one fixed, nothing in all."""
    first, second = fake({"hm": {"joy": 0.6}}, "first"), fake({"hm": {"anger": 0.9}}, "second")
    classifier = make(fake({"hm": {"anger": 0.5}}), [(first, "surer"), (second, "always")])
    steps = score_steps(observe_rows(classifier, [row("hm", "anger")]), classifier.nodes.backup.ladder)
    counts = [(step.change.fixed, step.change.broke) for step in steps if step.change is not None]
    assert counts == [(0, 1), (1, 0), (0, 0)]
    assert [step.name for step in steps] == ["model", "first", "second", "whole graph"]


def test_a_backup_that_never_replaces_is_scored_for_itself() -> None:
    classifier = make(fake(MODEL), [(fake(SECOND, "second"), "never")])
    ensemble = Ensemble.__new__(Ensemble)
    ensemble.needs = ("model", "second")
    ladder = [*classifier.nodes.backup.ladder, Rung("both", ensemble)]
    _, second, both, _ = score_steps(observe_rows(classifier, ROWS), ladder)
    assert (second.rule, second.through) == ("never", ("both",))
    assert second.change is not None
    assert (second.change.fixed, second.change.broke) == (1, 0)  # where nothing stands, any answer is taken
    assert second.alone is not None
    assert (second.alone.fixed, second.alone.broke) == (2, 2)
    assert (both.asked, both.change, both.ms) == (0, Change(0, 0, 0, 0, (0.0, 0.0), 1.0), None)


def test_emoji_are_a_step_of_their_own() -> None:
    classifier = make(fake({"hello": {"joy": 0.9}}, labels=lexicon_labels()), [])
    seen = observe_rows(classifier, [row("😀", "joy"), row("😡", "joy"), row("hello", "joy")])
    emoji, model, whole = score_steps(seen, ())
    assert (emoji.name, emoji.asked, emoji.right, emoji.ms) == ("emoji lexicon", 2, 1, None)
    assert (model.asked, whole.asked, whole.right) == (1, 3, 2)


def test_the_course_of_an_answer_ends_where_the_graph_does() -> None:
    generator = np.random.default_rng(5)
    texts = [f"text {i}" for i in range(200)]

    def random(name: str) -> FakePredictor:
        rows = generator.dirichlet(np.full(len(LABELS), 0.7), len(texts))
        answers: dict[str, Any] = {
            text: None if generator.random() < 0.1 else dict(zip(LABELS, values / values.sum(), strict=True))
            for text, values in zip(texts, rows, strict=True)
        }
        return fake(answers, name)

    irony = {text: {"sarcastic": float(generator.random())} for text in texts}
    detector = FakePredictor(("sarcastic", "not_sarcastic"), answers=irony, name="irony")
    rungs: list[tuple[FakePredictor, Rule]] = [(random("a"), "surer"), (random("b"), "never"), (random("c"), "always")]
    classifier = make(random("model"), rungs, sarcasm=detector)
    truth = generator.choice(LABELS, len(texts)).tolist()
    seen = observe(classifier, texts, truth)
    asked = [i for i, tried in enumerate(seen.tried) if tried]
    assert len(asked) > 100
    assert [seen.tried[i][-1].stands for i in asked] == seen.right[asked].tolist()
    steps = score_steps(seen, classifier.nodes.backup.ladder)
    assert sum(step.change.net for step in steps[1:-1] if step.change) == steps[-1].change.net  # type: ignore[union-attr]


def test_a_change_has_an_exact_interval() -> None:
    after = np.array([True] * 8 + [False] * 1 + [True] * 11)
    before = np.array([False] * 8 + [True] * 12)
    change = Change.between(before, after)
    assert (change.fixed, change.broke, change.left, change.net) == (8, 1, 11, 7)
    assert change.net_interval == (0.3, 8.9)  # shares 0.5175 to 0.9972 of 9
    assert change.p == 0.0391
    assert Change.between(before, before).net_interval == (0.0, 0.0)


def test_a_text_that_cannot_be_classified_gets_no_answer() -> None:
    classifier = make(fake({"fine": "joy"}))
    long = "x" * (classifier.nodes.preprocess.max_chars + 1)
    seen = observe(classifier, ["", "fine", long], ["joy", "joy", "joy"])
    assert seen.answers == [None, "joy", None]
    assert seen.right.tolist() == [False, True, False]
    assert seen.sources == ["abstain", "model", "abstain"]
    assert score_steps(seen, ())[-1].failed == 2


def test_answers_as_columns() -> None:
    assert answer_columns(["anger", None], LABELS, multi_label=False).tolist() == [1, -1]
    assert answer_columns([["joy", "neutral"], [], None], LABELS, multi_label=True).tolist() == [
        [1, 0, 1],
        [0, 0, 0],
        [0, 0, 0],
    ]


# a page of labelled rows


def test_the_page_of_labelled_rows() -> None:
    page = page_of(labelled_sections(gather(make(fake(MODEL), [(fake(SECOND, "second"), "surer")]), ROWS, "by hand")))
    assert tuple(page.sections) == OF_ROWS
    assert page.tags["svg"] == 5
    assert page.tags["figcaption"] == page.tags["figure"] == 5
    assert all(page.values("aria-label"))
    for said in ("whole graph", "n = 7", "7 rows", "coverage at 5 % risk", "sure wrong", "SHA-256", "by hand"):
        assert said in page.text, said


def test_texts_of_others_are_words_and_nothing_else() -> None:
    bad = '<script>alert("1")</script><img src=x onerror=alert(1)> {{ 7 * 7 }}'
    labels = ("<b>joy</b>", "$anger$", "_none & co")
    model = fake({bad: {labels[0]: 0.9}, "b": {labels[1]: 0.8}, "c": {labels[2]: 0.8}}, labels=labels)
    rows = [row(bad, labels[1]), row("b", labels[1]), row("c", labels[0])]
    page = page_of(labelled_sections(gather(make(model), rows, bad)))
    assert bad in page.text
    assert all(label in page.text for label in labels)
    assert "b" not in page.tags


def test_long_texts_are_cut_and_can_be_left_out() -> None:
    text = "wrong " * 60
    found = gather(make(fake({text.strip(): {"joy": 0.9}})), [row(text.strip(), "anger")], "one")
    shown = page_of(labelled_sections(found))
    assert ("wrong " * 60)[:199] + "…" in shown.text
    assert "1 of 1 wrong answers" in shown.text
    hidden = page_of(labelled_sections(found, wrong=0))
    assert "wrong wrong" not in hidden.text
    assert "wrong" not in hidden.sections


def test_one_row_that_is_right() -> None:
    page = page_of(labelled_sections(gather(make(fake({"a": {"joy": 0.9}})), [row("a", "joy")], "one")))
    assert "No answer is wrong." in page.text


def test_nothing_is_answered() -> None:
    page = page_of(labelled_sections(gather(make(fake({}, default=None)), [row("a", "joy"), row("b", "anger")], "two")))
    assert "Nothing was answered." in page.text
    assert "no answer: 2 (100.0 %)" in page.text


def test_a_multi_label_task() -> None:
    answers = {"both": {"joy": 0.9, "anger": 0.8}, "none": {"joy": 0.1}, "one": {"joy": 0.6, "neutral": 0.45}}
    classifier = make(
        fake(answers, multi_label=True), [(fake({"one": {"joy": 0.9}}, "second", multi_label=True), "surer")]
    )
    rows = [row("both", "joy", "anger"), row("none"), row("one", "anger", "neutral")]
    page = page_of(labelled_sections(gather(classifier, rows, "three")))
    for said in ("(none)", "anger, neutral", "its whole list of labels", "several labels per text"):
        assert said in page.text, said


def test_a_label_that_the_model_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"labels that the model does not know.*rage"):
        gather(make(fake(MODEL)), [row("a", "rage")], "one")


# the artefact: certificate, policy, command line


@pytest.fixture
def artefact(tmp_path: Path, make_tfidf: Any) -> Path:
    texts = {"glad happy": "joy", "happy day": "joy", "angry shouting": "anger", "angry man": "anger"}
    return Path(make_tfidf(tmp_path / "models" / "mood" / "1.0.0", texts))


@pytest.fixture
def moods(tmp_path: Path) -> Path:
    path = tmp_path / "moods.csv"
    rows = [("happy glad", "joy"), ("angry", "anger"), ("a happy man", "anger"), ("shouting", "anger")]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "decisions.jsonl"
    model = fake({"b": {"joy": 0.4}, "c": None}, default={"anger": 0.9})
    classifier = create_classifier(
        primary=model, threshold=0.7, backups=[fake({"b": {"neutral": 0.6}}, "second", default=None)], log=path
    )
    classifier.classify_many(["a", "b", "c", "d"])
    return path


def certify(folder: Path, **fields: Any) -> None:
    budgets = [
        Budget(max_error=0.5, certainty=0.95, threshold=0.6, accepted=40, errors=3, bound=0.18, coverage=0.4),
        Budget(max_error=0.01, certainty=0.95, threshold=None, accepted=0, errors=0, bound=1.0, coverage=0.0),
        Budget(
            max_error=0.5, certainty=0.95, label="joy", threshold=0.7, accepted=9, errors=1, bound=0.4, coverage=0.09
        ),
        *(
            Budget(
                max_error=0.1, certainty=0.95, label=label, threshold=None, accepted=0, errors=0, bound=1, coverage=0
            )
            for label in ("joy", "anger")
        ),
    ]
    content = {
        "task": "mood",
        "version": "1.0.0",
        "date": "2026-01-02",
        "method": "exact",
        "n": 100,
        "data": "other.csv",
        "data_sha256": "ab" * 32,
        "covers": covered_files(folder, None),
        "budgets": tuple(budgets),
    }
    made = Certificate.model_validate({**content, **fields})
    (folder / "certificate.json").write_text(made.model_dump_json(), encoding="utf-8")


def test_a_certified_budget_is_marked(artefact: Path, moods: Path, tmp_path: Path) -> None:
    certify(artefact)
    out = tmp_path / "page.html"
    assert f"written: {out}" in run("report", artefact, "--data", moods, "--out", out).stdout
    content = out.read_text(encoding="utf-8")
    page = checked(content)
    assert tuple(page.sections) == OF_ROWS
    assert "1 certified budgets marked" in " ".join(page.values("aria-label"))
    for said in ("Certificate of 2026-01-02, from 100 rows (other.csv", "none holds", "3 of 40", "all of moods.csv"):
        assert said in page.text, said
    assert page.text.count("none holds") == 2  # of all answers; and one line for the labels with the same budget
    assert "joy, anger" in page.text


def test_a_certificate_that_does_not_hold_is_not_drawn(artefact: Path, moods: Path, tmp_path: Path) -> None:
    certify(artefact, covers={"manifest.json": "0" * 64})
    run("report", artefact, "--data", moods, "-o", tmp_path / "page.html")
    page = checked((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "The certificate does not hold, and is not drawn" in page.text
    assert "0 certified budgets marked" in " ".join(page.values("aria-label"))


def test_rows_and_a_log_on_one_page(artefact: Path, moods: Path, log: Path) -> None:
    content = run("report", artefact, "--data", moods, "--log", log, "-o", "-").stdout
    page = checked(content)
    assert (*page.sections,) == (*OF_ROWS, *OF_LOG)
    assert "Report on mood/1.0.0 and decisions.jsonl" in page.text


def test_the_page_replaces_another_as_a_whole(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("healdag-report.html").write_text("old", encoding="utf-8")
    run("report", "--log", log)
    checked(Path("healdag-report.html").read_text(encoding="utf-8"))
    before = sorted(tmp_path.iterdir())
    run("report", "--log", log, "-o", "missing/page.html", code=2)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--log", "LOG", "-o", "answers.jsonl"], "the report is an HTML page"),
        (["--log", "nowhere.jsonl"], "no decision log at"),
        (["--log", "LOG", "--since", "2999-01-01"], "no decisions in"),
        (["nothing-like-it"], "nothing-like-it"),
    ],
)
def test_what_cannot_be_reported_is_one_line(
    arguments: list[str], said: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = run("report", *(str(log) if argument == "LOG" else argument for argument in arguments), code=2)
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_without_matplotlib_the_extra_is_named_at_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'healdag\[train\]'"):
        check_matplotlib()
    assert "healdag[train]" in run("report", "--log", log, code=1).stderr


def test_without_jinja2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match="'jinja2' is not installed"):
        render("a page", [], [])


def test_evaluate_scores_the_steps(artefact: Path, moods: Path) -> None:
    figures = json.loads(run("evaluate", artefact, "--graph", "--data", moods, "--json").stdout)
    assert [step["name"] for step in figures["steps"]] == ["model", "whole graph"]
    assert figures["steps"][-1]["change"] == {
        "fixed": 0,
        "broke": 0,
        "left": 4,
        "net": 0,
        "net_interval": [0.0, 0.0],
        "p": 1.0,
    }
    assert set(figures["node_ms"]) >= {"preprocess", "classify", "check", "trust", "finalize"}
    assert "steps" not in json.loads(run("evaluate", artefact, "--data", moods, "--json").stdout)
    shown = run("evaluate", artefact, "--graph", "--data", moods).stdout
    assert re.search(r"whole graph +4 +3 +0 +0 +4 +0", shown)


# a page of a log


def entry(time: datetime, **fields: Any) -> dict[str, Any]:
    content = {
        "id": f"r-{time.timestamp()}",
        "time": time.isoformat(),
        "label": "joy",
        "confidence": 0.8,
        "source": "model",
        "reasons": [],
        "sarcasm": None,
        "asked": ["model"],
        "ms": [1.0],
        "failed": [],
        "accepted": "model",
        "model_version": "mood/1",
        "chars": 5,
    }
    return {**content, **fields}


def write_log(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in entries), encoding="utf-8")
    return path


START = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)


def sections_of(path: Path, **options: Any) -> list[Section]:
    return log_sections(read_log(read_decisions(path)), **options)


@pytest.mark.parametrize("name", ["log.jsonl", "log.db"])
def test_one_decision_is_enough(name: str, tmp_path: Path) -> None:
    create_classifier(primary=fake({}, default={"joy": 0.9}), log=tmp_path / name).classify("hello")
    page = page_of(sections_of(tmp_path / name))
    assert tuple(page.sections) == OF_LOG
    assert page.tags["svg"] == 4
    assert "Decisions: 1, from" in page.text


def test_what_was_not_answered_and_what_is_not_known_yet(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "log.jsonl",
        entry(START),
        entry(
            START, label=None, confidence=None, source="abstain", reasons=["low_confidence", "budget"], accepted=None
        ),
        entry(START, label=None, confidence=None, source="pending", reasons=["budget"], accepted=None),
        entry(START, source="oracle", reasons=["of_a_later_version"]),
        entry(START, label="😀", source="emoji"),
    )
    page = page_of(sections_of(path))
    for said in ("abstain: 1 (20.0 %)", "pending: 1", "oracle: 1", "of a later version: 1", "several reasons: 1"):
        assert said in page.text, said


def test_nothing_in_the_log_was_answered(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", entry(START, label=None, confidence=None, source="abstain"))
    page = page_of(sections_of(path))
    assert "Nothing was answered." in page.text
    assert tuple(page.sections) == OF_LOG


def test_lists_of_labels_in_a_log(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", entry(START, label=["joy", "anger"]), entry(START, label=[]))
    page = page_of(sections_of(path))
    assert "in all: (none) 1, anger 1, joy 1." in " ".join(page.values("aria-label"))


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    DecisionLog(tmp_path / "log.jsonl")
    with pytest.raises(UsageError, match=r"no decisions in .*log\.jsonl'; give a log with some"):
        sections_of(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_text("{broken\n", encoding="utf-8")
    with pytest.raises(UsageError, match="broken lines: 1"):
        sections_of(tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    ("hours", "by", "periods", "name"),
    [(3, None, 4, "hour"), (3, "day", 2, "day"), (100, None, 6, "day"), (100, "hour", 101, "hour")],
)
def test_periods_without_a_decision_are_there_too(hours: int, by: Any, periods: int, name: str, tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", entry(START + timedelta(hours=hours), confidence=0.3), entry(START))
    found = sections_of(path, by=by)
    assert (
        f"Confidence over {periods} periods from 2026-03-01: the median is from 0.30 to 0.80."
        in found[0].pictures[0].svg
    )
    assert found[0].pictures[0].caption.startswith(f"Per {name}:")


def test_many_labels_are_joined(tmp_path: Path) -> None:
    entries = [entry(START, label=f"label {i % 30:02}") for i in range(61)]
    found = sections_of(write_log(tmp_path / "log.jsonl", *entries))
    assert "22 others 44" in found[1].pictures[0].svg
    assert "the 20 commonest of 30 labels" in found[1].pictures[1].caption


# pictures


def test_ways_are_in_order_and_add_up() -> None:
    ways = {("texts", "not doubted", "right"): 900, ("texts", "sarcasm", "wrong"): 99, ("texts", "sarcasm", "right"): 1}
    svg = ways_svg(ways, ("texts", "not doubted", "sarcasm", "right", "wrong"), {"right": "#0072B2"})
    places = [svg.index(words) for words in ("not doubted: 900 (90.0 %)", "sarcasm: 100 (10.0 %)", "wrong: 99 (9.9 %)")]
    assert places == sorted(places)
    assert "1,000 texts" in svg


def test_the_same_figures_give_the_same_picture() -> None:
    boxes = {"joy": {"wrong": np.array([0.2, 0.4])}, "anger": {"right": np.array([0.9])}}
    svg = confidence_boxes_svg(boxes)
    assert svg == confidence_boxes_svg(boxes)
    assert "joy wrong 0.30, anger right 0.90" in svg
    assert svg.startswith('<svg role="img"')
    # Text is text.
    assert re.search(r"<text[^>]*>joy</text>", svg)


def test_reasons_as_stages() -> None:
    assert reason_stage([]) == "not doubted"
    assert reason_stage(["low_confidence"]) == "low confidence"
    assert reason_stage(["budget"]) == "over the error budget"
    assert reason_stage(["sarcasm", "unreadable"]) == "several reasons"
    assert {reason_stage([reason]) for reason in get_args(Reason)} < set(REASONS)


def test_a_stage_that_nobody_named_comes_last() -> None:
    svg = ways_svg({("texts", "new"): 1, ("texts", "known"): 2}, ("texts", "known"), {})
    assert svg.index("known: 2") < svg.index("new: 1")


def test_a_table_is_escaped() -> None:
    table = Table("<caption>", ("a<b", "n"), [("<i>x</i>", "1 & 2")])
    content = render("<title>", ["<p>"], [Section("one", "<h2>", ("<em>",), tables=(table,))])
    page = checked(content)
    assert "i" not in page.tags
    assert {"a<b", "<i>x</i>", "1 & 2", "<caption>", "<em>"} <= set(page.words)
