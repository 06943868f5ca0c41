"""Review: what waits, in which order it is asked, who answers it, and that it outlives the process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from typer.testing import CliRunner

import healdag.graph
from healdag import Classifier, Question, create_classifier
from healdag.cli import app
from healdag.cli.review import Key, parse
from healdag.errors import ConfigError, MissingExtraError, StoreError, UsageError
from healdag.graph.gain import arrange, cost, density
from healdag.graph.savers import MemoryQueue, open_saver
from healdag.graph.sqlite_saver import SqliteQueue
from healdag.nodes.review import uncertainty
from healdag.predictors.fake import FakePredictor
from healdag.store import read_decisions

LABELS = ("joy", "anger", "fear")
UNSURE = {"joy": 0.4, "anger": 0.35, "fear": 0.25}
ANSWERS: dict[str, Any] = {"sure": {"joy": 0.95}, "sure too": {"anger": 0.95}, "odd": None}
REAL_FACTORY = create_classifier


def primary(**options: Any) -> FakePredictor:
    return FakePredictor(LABELS, **{"answers": ANSWERS, "default": UNSURE, "name": "model", **options})


def make(**options: Any) -> Classifier:
    return create_classifier(**{"primary": primary(), "human_review": True, "threshold": 0.5, **options})


def several(**options: Any) -> Classifier:
    model = FakePredictor(("toxic", "insult", "threat"), default={"toxic": 0.6}, multi_label=True)
    return make(**{"primary": model, "threshold": 0.9, **options})


def kept(place: Any) -> int:
    """Runs in a queue."""
    saver = open_saver(place) if isinstance(place, str | Path) else place
    return len({found.config["configurable"]["thread_id"] for found in saver.list(None)})


def texts(questions: list[Question]) -> list[str]:
    return [question.text for question in questions]


@pytest.fixture
def queue(tmp_path: Path) -> str:
    return str(tmp_path / "review.db")


class TestPending:
    def test_a_question(self) -> None:
        classifier = make()
        sure, unsure = classifier.classify_many(["sure", "is it?"])
        assert (sure.source, unsure.source) == ("model", "pending")
        (question,) = classifier.pending()
        assert question.decision_id == unsure.decision_id
        assert (question.text, question.labels, question.multi_label) == ("is it?", LABELS, False)
        assert [(c.label, round(c.probability, 2)) for c in question.top] == [
            ("joy", 0.4),
            ("anger", 0.35),
            ("fear", 0.25),
        ]
        assert (question.reasons, question.model_version) == (("low_confidence",), "fake/1")
        assert timedelta() <= question.waiting < timedelta(minutes=5)
        assert question.asked <= datetime.now(UTC)
        assert 0.9 < question.uncertainty < 1
        assert Question.model_validate_json(question.model_dump_json()) == question

    def test_what_nothing_could_answer(self) -> None:
        classifier = make()
        classifier.classify("odd")
        (question,) = classifier.pending()
        assert (question.top, question.uncertainty, question.reasons) == ((), 1.0, ("model_error",))

    def test_of_every_run_and_classifier_of_the_task(self) -> None:
        saver = InMemorySaver()
        first, second = make(checkpointer=saver), make(checkpointer=saver)
        other = make(checkpointer=saver, task="mood")
        first.classify_many(["one", "sure", "two"])
        second.classify("three")
        other.classify("of another task")
        assert sorted(texts(first.pending())) == sorted(texts(second.pending())) == ["one", "three", "two"]
        assert texts(other.pending()) == ["of another task"]

    def test_of_a_thread_of_ones_own(self, tmp_path: Path) -> None:
        classifier = make(log=tmp_path / "log.jsonl")
        run = {"configurable": {"thread_id": "mine"}}
        classifier.graph.invoke({"texts": ["one", "sure", "two"]}, run)
        ids = {question.text: question.decision_id for question in classifier.pending()}
        assert classifier.answer(ids["two"], "fear").final_label == "fear"
        assert texts(classifier.pending()) == ["one"]
        classifier.answer(ids["one"], "joy")
        assert classifier.pending() == []
        state = classifier.graph.get_state(run).values  # it is the caller's, and stays
        assert [row["final_label"] for row in state["results"]] == ["joy", "joy", "fear"]
        assert [row.source for row in read_decisions(tmp_path / "log.jsonl")] == ["human", "model", "human"]

    def test_nothing_can_wait_without_review(self) -> None:
        with pytest.raises(UsageError, match=r"nothing can wait .*human_review=True"):
            make(human_review=False).pending()

    def test_bad_arguments(self) -> None:
        with pytest.raises(UsageError, match="order must be one of gain, uncertainty, oldest, random; got 'best'"):
            make().pending("best")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="limit must be 0 or more, got -1"):
            make().pending(limit=-1)

    def test_a_limit(self) -> None:
        classifier = make()
        classifier.classify_many(["one", "two", "three"])
        assert classifier.pending("oldest", limit=2) == classifier.pending("oldest")[:2]
        assert classifier.pending(limit=0) == []

    def test_while_others_come_and_go(self) -> None:
        classifier = make()
        stop = threading.Event()

        def work(name: str) -> None:
            for number in count():
                if stop.is_set():
                    return
                classifier.classify("sure")
                classifier.answer(classifier.classify(f"text {name}{number}").decision_id, "joy")

        waits = classifier.classify("waits").decision_id
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(work, name) for name in "abcd"]
            try:
                for _ in range(30):
                    assert waits in {question.decision_id for question in classifier.pending()}
            finally:
                stop.set()
            for future in running:
                future.result(60)
        assert texts(classifier.pending()) == ["waits"]


class TestOrder:
    def question(self, text: str, *, unsure: float = 0.5, age: int = 0, name: str = "") -> Question:
        asked = datetime(2025, 1, 1, tzinfo=UTC) - timedelta(hours=age)
        return Question(
            decision_id=name or text,
            text=text,
            top=(),
            reasons=(),
            labels=LABELS,
            multi_label=False,
            model_version="m/1",
            asked=asked,
            uncertainty=unsure,
        )

    def test_the_gain(self) -> None:
        found = arrange([self.question("refund please", unsure=0.5), self.question("good morning", unsure=0.5)])
        # Two texts without a common word: each is like itself alone, and so like half of all.
        assert [question.gain for question in found] == pytest.approx([0.5 * 0.5 / 2.5] * 2)

    @pytest.mark.parametrize(
        ("first", "then"),
        [
            ({"text": "a b", "unsure": 0.9}, {"text": "c d", "unsure": 0.8}),
            ({"text": "refund now", "name": "1"}, {"text": "good morning", "name": "2"}),
            ({"text": "short"}, {"text": " ".join(f"word{i}" for i in range(40))}),
        ],
        ids=["uncertainty", "density", "cost"],
    )
    def test_what_raises_the_gain(self, first: dict[str, Any], then: dict[str, Any]) -> None:
        more = [self.question(f"refund now {i}", unsure=0.0) for i in range(3)]
        found = arrange([self.question(**then), self.question(**first), *more])
        assert texts(found)[:2] == [first["text"], then["text"]]

    def test_other_orders(self) -> None:
        given = [
            self.question("b", unsure=0.1, age=1),
            self.question("a", unsure=0.9, age=2),
            self.question("c", unsure=0.5, age=3),
        ]
        assert texts(arrange(given, "uncertainty")) == ["a", "c", "b"]
        assert texts(arrange(given, "oldest")) == ["c", "a", "b"]
        many = [self.question(str(i), age=i) for i in range(20)]
        shuffled = texts(arrange(many, "random"))
        assert shuffled == texts(arrange(many[::-1], "random"))
        assert shuffled not in (texts(many), texts(many[::-1]))
        assert arrange([], "gain") == []

    def test_equals_by_age(self) -> None:
        given = [self.question("same", age=age, name=str(age)) for age in (1, 3, 2)]
        assert [question.decision_id for question in arrange(given)] == ["3", "2", "1"]

    @pytest.mark.parametrize("text", ["😀", "?", "今天", "a"])
    def test_any_text_has_a_density(self, text: str) -> None:
        assert density([text, "something else"])[0] == pytest.approx(0.5)

    def test_the_cost_is_seconds(self) -> None:
        assert cost("two words") == 2.5
        assert cost(" ".join(["word"] * 238)) == pytest.approx(61.5)

    def test_uncertainty(self) -> None:
        assert uncertainty([0.25] * 4, multi_label=False) == pytest.approx(1)
        assert uncertainty([1.0, 0.0], multi_label=False) == 0
        assert uncertainty([0.5, 0.5, 1.0, 0.0], multi_label=True) == pytest.approx(0.5)
        assert uncertainty(None, multi_label=True) == 1


class TestAnswers:
    def test_in_any_order_the_rest_waits(self) -> None:
        classifier = make()
        found = classifier.classify_many(["one", "sure", "two", "three"])
        for index, label in [(3, "fear"), (0, "anger"), (2, "joy")]:
            before = {question.decision_id for question in classifier.pending()}
            result = classifier.answer(found[index].decision_id, label)
            assert (result.text, result.final_label, result.source) == (found[index].text, label, "human")
            assert {question.decision_id for question in classifier.pending()} == before - {result.decision_id}

    def test_a_label_that_is_none(self) -> None:
        classifier = make()
        pending = classifier.classify("one")
        with pytest.raises(UsageError, match="no label 'rage'; there are: joy, anger, fear"):
            classifier.answer(pending.decision_id, "rage")
        assert texts(classifier.pending()) == ["one"]

    def test_two_answers_for_one_case(self) -> None:
        classifier = make()
        one, two = classifier.classify_many(["one", "two"])
        classifier.answer(one.decision_id, "joy")
        with pytest.raises(UsageError, match=r"no pending decision '.*it is answered already; undo"):
            classifier.answer(one.decision_id, "fear")
        classifier.answer(two.decision_id, "joy")
        with pytest.raises(UsageError, match=r"no pending decision '.*never waited here, or its answer is final"):
            classifier.answer(one.decision_id, "fear")

    def test_two_at_once(self) -> None:
        saver = InMemorySaver()
        first, second = make(checkpointer=saver), make(checkpointer=saver)
        found = first.classify_many([f"text {i}" for i in range(12)])
        together = threading.Barrier(2)

        def answer(classifier: Classifier) -> list[str]:
            taken = []
            for result in found:
                together.wait(60)
                try:
                    classifier.answer(result.decision_id, "joy")
                    taken.append(result.decision_id)
                except UsageError as error:
                    assert "no pending decision" in str(error)  # noqa: PT017 - of each decision one of the two fails
            return taken

        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(answer, (first, second))
        assert sorted([*one, *other]) == sorted(result.decision_id for result in found)

    def test_it_is_a_correction_too(self) -> None:
        classifier = make()
        classifier.answer(classifier.classify("One more time").decision_id, "fear", by="ann")
        again = classifier.classify("one more time")
        assert (again.final_label, again.source) == ("fear", "memory")

    def test_resumed_by_a_command(self) -> None:
        classifier = make()
        one, two = classifier.classify_many(["one", "two"])
        run = {"configurable": {"thread_id": one.decision_id.rpartition(".")[0]}}
        classifier.graph.invoke(Command(resume={two.decision_id: "joy"}), run)
        assert texts(classifier.pending()) == ["one"]
        classifier.graph.invoke(Command(resume={two.decision_id: None}), run)
        assert sorted(texts(classifier.pending())) == ["one", "two"]
        both = {one.decision_id: "fear", two.decision_id: "anger"}
        output = classifier.graph.invoke(Command(resume=both), run)
        assert [row["final_label"] for row in output["results"]] == ["fear", "anger"]

    def test_from_within_another_graph(self) -> None:
        from langchain_core.runnables import RunnableLambda

        classifier = make()
        pending = classifier.classify("one")
        agent = RunnableLambda(lambda _: classifier.answer(classifier.pending()[0].decision_id, "anger"))
        assert agent.invoke({}).decision_id == pending.decision_id

    def test_several_labels(self) -> None:
        classifier = several()
        one, two = classifier.classify_many(["you fool", "hm"])
        assert classifier.answer(one.decision_id, ["insult", "toxic"]).final_label == ["toxic", "insult"]
        with pytest.raises(UsageError, match="a list of labels"):
            classifier.answer(two.decision_id, "toxic")
        assert classifier.answer(two.decision_id, []).final_label == []


class TestUndo:
    def test_it_is_asked_again(self, tmp_path: Path) -> None:
        classifier = make(log=tmp_path / "log.jsonl")
        one, two = classifier.classify_many(["one", "two"])
        classifier.answer(one.decision_id, "fear")
        question = classifier.undo(one.decision_id)
        assert (question.decision_id, question.text) == (one.decision_id, "one")
        assert sorted(texts(classifier.pending())) == ["one", "two"]
        assert classifier.classify("one").source == "pending"  # the answer is no correction any more
        assert classifier.answer(one.decision_id, "joy").final_label == "joy"
        classifier.answer(two.decision_id, "joy")
        assert [row.label for row in read_decisions(tmp_path / "log.jsonl")] == ["fear", "joy", "joy"]

    def test_what_cannot_be_taken_back(self) -> None:
        classifier = make()
        one, two = classifier.classify_many(["one", "two"])
        with pytest.raises(UsageError, match="was not answered yet"):
            classifier.undo(one.decision_id)
        classifier.answer(one.decision_id, "joy")
        classifier.answer(two.decision_id, "joy")
        with pytest.raises(UsageError, match="its answer is final"):
            classifier.undo(two.decision_id)
        with pytest.raises(UsageError, match="no pending decision 'nonsense'"):
            classifier.undo("nonsense")


class TestAnotherModelSince:
    """The run goes on by what it holds: labels, thresholds and name of the model that had asked."""

    def two(self, **later: Any) -> tuple[Classifier, Classifier]:
        saver = InMemorySaver()
        other = FakePredictor(("fear", "relief"), default={"relief": 0.9}, version="new/2", **later)
        return make(checkpointer=saver), make(checkpointer=saver, primary=other, threshold=0.99)

    def test_the_answer_is_taken(self) -> None:
        old, new = self.two()
        pending, _ = old.classify_many(["one", "sure"])
        (question,) = new.pending()  # the sure row is not asked about, though the new threshold is higher
        assert (question.model_version, question.labels) == ("fake/1", LABELS)
        assert [candidate.label for candidate in question.top] == ["joy", "anger", "fear"]
        result = new.answer(pending.decision_id, "joy")
        assert (result.final_label, result.source, result.model_version) == ("joy", "human", "fake/1")
        assert result.probabilities == {"joy": 1.0, "anger": 0.0, "fear": 0.0}
        assert [(a.by, a.label) for a in result.attempts] == [("model", "joy"), ("human", "joy")]
        assert new.classify("one").source != "memory"  # a label that the new model does not have

    def test_of_its_labels_alone(self) -> None:
        old, new = self.two()
        pending = old.classify("one")
        with pytest.raises(UsageError, match="no label 'relief'; there are: joy, anger, fear"):
            new.answer(pending.decision_id, "relief")
        assert new.answer(pending.decision_id, "fear").final_label == "fear"
        assert new.classify("one").source == "memory"

    def test_the_correction_has_the_labels_that_were_asked_for(self) -> None:
        old, new = self.two()
        one, two = old.classify_many(["one", "two"])
        new.answer(one.decision_id, "joy", by="ann")
        new.correct("three", "relief")
        new.answer(two.decision_id, "fear")
        asked, corrected, both = new.feedback.events()
        assert (asked.label, asked.labels, asked.model_version) == ("joy", LABELS, "fake/1")
        assert (corrected.label, corrected.labels) == ("relief", ("fear", "relief"))
        assert (both.label, both.labels) == ("fear", LABELS)

    def test_a_label_that_there_was_not_is_not_denied(self) -> None:
        saver = InMemorySaver()
        old = several(checkpointer=saver)
        more = FakePredictor(("toxic", "insult", "spam"), default={"spam": 0.95}, multi_label=True, version="new/2")
        new = several(checkpointer=saver, primary=more, threshold=0.1)
        pending = old.classify("buy now")
        assert new.answer(pending.decision_id, []).final_label == []
        assert next(new.feedback.events()).labels == ("toxic", "insult", "threat")
        again = new.classify("buy now")  # of spam nobody was asked
        assert (again.final_label, again.source) == (["spam"], "model")

    def test_of_the_other_form(self) -> None:
        saver = InMemorySaver()
        one, lists = make(checkpointer=saver), several(checkpointer=saver)
        pending = one.classify("one")
        assert lists.answer(pending.decision_id, "anger").final_label == "anger"
        assert lists.classify("one").source == "pending"  # it is no answer of this model
        assert next(lists.feedback.events()).label == "anger"
        other = lists.classify("two")
        assert one.answer(other.decision_id, ["insult"]).final_label == ["insult"]
        assert one.classify("two").source == "pending"

    def test_through_the_graph(self) -> None:
        old, new = self.two()
        run: Any = {"configurable": {"thread_id": "mine"}}
        output = old.graph.invoke({"texts": ["sure", "one", "sure too"]}, run)
        (question,) = output["__interrupt__"][0].value
        output = new.graph.invoke(Command(resume={question["decision_id"]: "anger"}), run)
        assert [row["final_label"] for row in output["results"]] == ["joy", "anger", "anger"]
        assert {row["model_version"] for row in output["results"]} == {"fake/1"}
        assert new.graph.invoke({"text": "one"}, run)["__interrupt__"][0].value[0]["model_version"] == "new/2"


class TestRoom:
    """Runs that have ended are not kept."""

    @pytest.mark.parametrize("saver", [InMemorySaver, MemoryQueue])
    def test_in_memory(self, saver: Callable[[], Any]) -> None:
        memory = saver()
        classifier = make(checkpointer=memory)
        classifier.classify_many(["sure", "sure too"])
        asyncio.run(classifier.aclassify("sure"))
        assert len(list(classifier.stream("sure"))) > 3
        assert kept(memory) == 0
        one, two = classifier.classify_many(["one", "two"])
        asked = next(update["__interrupt__"] for update in classifier.stream("three") if "__interrupt__" in update)
        assert kept(memory) == 2
        for decision_id in (one.decision_id, asked[0].value[0]["decision_id"], two.decision_id):
            classifier.answer(decision_id, "joy")
        assert (kept(memory), len(memory.blobs), len(memory.writes)) == (0, 0, 0)

    def test_one_checkpoint_for_each_run_that_waits(self, queue: str) -> None:
        make(checkpointer=queue).classify_many(["sure", "one", "two"])
        assert len(list(open_saver(queue).list(None))) == 1

    def test_what_others_have_ended(self) -> None:
        saver = InMemorySaver()
        classifier = make(checkpointer=saver)
        pending = classifier.classify("one")
        run = {"configurable": {"thread_id": pending.decision_id.rpartition(".")[0]}}
        classifier.graph.invoke(Command(resume={pending.decision_id: "joy"}), run)
        assert kept(saver) == 1
        assert classifier.pending() == []
        assert kept(saver) == 0

    def test_a_failing_deletion_costs_no_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        class Keeps(InMemorySaver):
            def delete_thread(self, thread_id: str) -> None:
                raise OSError("no")

        classifier = make(checkpointer=Keeps())
        assert classifier.classify("sure").final_label == "joy"
        assert asyncio.run(classifier.aclassify("sure")).final_label == "joy"
        assert [record.getMessage().endswith(": no") for record in caplog.records] == [True, True]

    def test_the_list_in_memory(self) -> None:
        saver = MemoryQueue()
        classifier = make(checkpointer=saver)
        for text in ("one", "two"):
            classifier.classify(text)
        (first, second) = saver.list(None)
        assert list(saver.list(None, limit=1)) == [first]
        assert list(saver.list(second.config)) == [second]


KILLED = """
import sys
from healdag import create_classifier
from healdag.predictors.fake import FakePredictor
model = FakePredictor(("joy", "anger", "fear"), default={"joy": 0.4})
classifier = create_classifier(primary=model, human_review=True, threshold=0.5, checkpointer=sys.argv[1])
found = classifier.classify_many([f"text {i}" for i in range(60)])
for result in found:
    print(result.decision_id, flush=True)
for result in found:
    classifier.answer(result.decision_id, "fear")
    print("answered", result.decision_id, flush=True)
"""


class TestSqlite:
    @pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
    def test_a_process_that_is_killed(self, queue: str) -> None:
        command = [sys.executable, "-c", KILLED, queue]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.strip())
                if len(lines) == 65:  # in the middle of its answers
                    process.send_signal(signal.SIGKILL)
                    break
            lines += process.stdout.read().splitlines()
        assert process.returncode == -signal.SIGKILL
        asked = {line for line in lines if not line.startswith("answered")}
        answered = {line.removeprefix("answered ") for line in lines if line.startswith("answered")}
        assert len(asked) == 60
        classifier = make(checkpointer=queue)
        waiting = {question.decision_id: question for question in classifier.pending()}
        # The answer that was under way is either taken or not.
        assert set(waiting) | answered >= asked - {max(asked - answered - set(waiting), default="")}
        assert not set(waiting) & answered
        assert len(asked - answered - set(waiting)) <= 1
        for decision_id, question in waiting.items():
            result = classifier.answer(decision_id, "joy")
            assert (result.text, result.final_label) == (question.text, "joy")
        assert (classifier.pending(), kept(queue)) == ([], 0)

    @pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
    def test_by_name(self, form: str, queue: str) -> None:
        pending = make(checkpointer=form.format(queue)).classify("one")
        again = make(checkpointer=Path(queue))
        assert texts(again.pending()) == ["one"]
        assert again.answer(pending.decision_id, "joy").source == "human"

    def test_relative(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        classifier = make(checkpointer="sqlite:///review.db")
        monkeypatch.chdir("/")
        classifier.classify("one")
        assert kept(tmp_path / "review.db") == 1

    def test_in_the_configuration(self, tmp_path: Path) -> None:
        config = tmp_path / "config.yaml"
        config.write_text("dag: {human_review: true, checkpointer: queue.db, threshold: 0.5}", encoding="utf-8")
        create_classifier(primary=primary(), config_path=config).classify("one")
        assert kept(tmp_path / "queue.db") == 1

    def test_async(self, queue: str) -> None:
        classifier = make(checkpointer=queue)

        async def work() -> Any:
            first, rest = await asyncio.gather(classifier.aclassify("one"), classifier.aclassify_many(["sure", "two"]))
            output = await classifier.graph.ainvoke({"text": "three"}, {"configurable": {"thread_id": "mine"}})
            saver: Any = classifier.graph.checkpointer
            return first, rest, output, [found async for found in saver.alist(None)]

        first, rest, output, listed = asyncio.run(work())
        assert (first.source, [result.source for result in rest]) == ("pending", ["model", "pending"])
        assert len({found.config["configurable"]["thread_id"] for found in listed}) == 3
        assert sorted(texts(classifier.pending())) == ["one", "three", "two"]
        assert output["__interrupt__"]

    def test_async_with_langgraphs_own(self, tmp_path: Path) -> None:
        with SqliteSaver.from_conn_string(str(tmp_path / "plain.db")) as saver:
            classifier = make(checkpointer=saver)
            sure, unsure = asyncio.run(classifier.aclassify_many(["sure", "one"]))
            assert (sure.source, unsure.source) == ("model", "pending")
            assert classifier.answer(unsure.decision_id, "fear").final_label == "fear"
            assert kept(saver) == 0

    def test_two_processes_answer_one_run(self, queue: str) -> None:
        found = make(checkpointer=queue).classify_many([f"text {i}" for i in range(10)])
        first, second = make(checkpointer=queue), make(checkpointer=queue)  # savers that know nothing of each other
        with ThreadPoolExecutor(2) as pool:
            halves = [(first, found[::2]), (second, found[1::2])]
            list(pool.map(lambda half: [half[0].answer(one.decision_id, "joy") for one in half[1]], halves))
        assert (first.pending(), kept(queue)) == ([], 0)

    def test_a_locked_database(self, queue: str) -> None:
        classifier = make(checkpointer=SqliteQueue(Path(queue), busy=0.05))
        pending = classifier.classify("one")
        with closing(sqlite3.connect(queue, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert texts(classifier.pending()) == ["one"]
            locked = r"cannot use the queue '.*review\.db': database is locked, for more than 0.05 seconds; end the"
            with pytest.raises(StoreError, match=locked):
                classifier.answer(pending.decision_id, "joy")
            other.execute("ROLLBACK")
        assert texts(classifier.pending()) == ["one"]
        assert classifier.answer(pending.decision_id, "joy").final_label == "joy"

    @pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_a_locked_database_costs_questions_and_no_answers(
        self, lock: str, asynchronous: bool, queue: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = tmp_path / "log.jsonl"
        classifier = make(checkpointer=SqliteQueue(Path(queue), busy=0.05), log=log)

        def ask(*given: str) -> Any:
            call = classifier.aclassify_many(given) if asynchronous else classifier.classify_many(given)
            return asyncio.run(call) if asynchronous else call

        with closing(sqlite3.connect(queue, isolation_level=None)) as other:
            other.execute(f"BEGIN {lock}")
            sure, unsure, odd = ask("sure", "one", "odd")
            (alone,) = ask("sure too")
            other.execute("ROLLBACK")
        assert (sure.final_label, sure.source, sure.confidence) == ("joy", "model", 0.95)
        assert (alone.final_label, alone.source) == ("anger", "model")
        for result in (unsure, odd):  # not pending: nobody could answer them
            assert (result.final_label, result.confidence, result.source) == (None, None, "abstain")
            assert result.attempts[-1].by == "review"
            assert "database is locked" in str(result.attempts[-1].error)
        assert (unsure.reasons, unsure.probabilities) == (("low_confidence",), pytest.approx(UNSURE))
        assert ["doubtful texts come back without an answer" in message for message in caplog.messages] == [True]
        assert classifier.pending() == []
        assert [row.id for row in read_decisions(log)] == [
            result.decision_id for result in (sure, unsure, odd, alone)
        ]  # each once
        assert classifier.correct(unsure.decision_id, "fear").text_sha256
        assert ask("odd")[0].source == "pending"
        assert len(classifier.pending()) == 1

    def test_somebody_answers_for_long(self, queue: str) -> None:
        classifier = make(checkpointer=SqliteQueue(Path(queue), busy=0.05))
        pending = classifier.classify("one")
        with SqliteQueue(Path(queue)).exclusive("any"), pytest.raises(StoreError, match="another process has been"):
            classifier.answer(pending.decision_id, "joy")
        assert classifier.answer(pending.decision_id, "joy").final_label == "joy"
        assert not Path(f"{queue}.lock").exists()

    def test_a_full_disk(self, queue: str) -> None:
        saver = SqliteQueue(Path(queue))
        classifier = make(checkpointer=saver)
        pages = saver.conn.execute("PRAGMA page_count").fetchone()[0]
        saver.conn.execute(f"PRAGMA max_page_count = {pages}")
        *long, sure = classifier.classify_many([*(f"{i} " * 500 for i in range(50)), "sure"])
        assert (sure.final_label, {result.source for result in long}) == ("joy", {"abstain"})
        full = "database or disk is full; make room on the disk, then try again"
        assert all(full in str(result.attempts[-1].error) for result in long)
        saver.conn.execute("PRAGMA max_page_count = 1073741823")
        classifier.classify("one")
        assert texts(classifier.pending()) == ["one"]

    def test_a_file_that_vanishes(self, queue: str) -> None:
        classifier = make(checkpointer=queue)
        classifier.classify("gone")
        for suffix in ("", "-wal", "-shm"):
            Path(f"{queue}{suffix}").unlink(missing_ok=True)
        classifier.classify("one")
        assert texts(classifier.pending()) == ["one"]
        assert kept(queue) == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_after_a_fork(self, queue: str) -> None:
        classifier = make(checkpointer=queue)
        classifier.classify("of the parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                classifier.classify("of the child")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sorted(texts(classifier.pending())) == ["of the child", "of the parent"]

    def test_what_cannot_be_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "text.db").write_text("no database, but quite a long text", encoding="utf-8")
        for place, match in [
            (str(tmp_path / "text.db"), r"cannot open the queue '.*text\.db': file is not a database"),
            (str(tmp_path / "none" / "review.db"), r"no folder '.*none' for the queue 'review\.db'; make it first"),
            (str(tmp_path), "needs the name of a file"),
            ("sqlite://", "needs the name of a file"),
            ("mysql://host/name", r"'postgresql://USER@HOST/DATABASE', got 'mysql://\.\.\.'"),
        ]:
            with pytest.raises(ConfigError, match=match):
                make(checkpointer=place)
        (tmp_path / "other.db").touch()
        with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
            connection.execute("CREATE TABLE checkpoints (id INTEGER)")
        with pytest.raises(ConfigError, match="no such column"):
            make(checkpointer=tmp_path / "other.db")

    @pytest.mark.parametrize(
        ("module", "own", "place", "extra"),
        [
            ("langgraph.checkpoint.sqlite", "healdag.graph.sqlite_saver", "review.db", "review"),
            ("langgraph.checkpoint.postgres", "healdag.graph.postgres_saver", "postgresql://host/name", "postgres"),
        ],
    )
    def test_without_the_extra(
        self, module: str, own: str, place: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, own, raising=False)
        with pytest.raises(MissingExtraError, match=re.escape(f"pip install 'healdag[{extra}]'")):
            open_saver(place)


class TestPostgres:
    def test_out_of_reach(self) -> None:
        with pytest.raises(ConfigError, match=r"cannot open the queue in PostgreSQL at localhost/name: ") as found:
            open_saver("postgresql://user:secret@localhost:1/name")
        assert "secret" not in str(found.value)

    @pytest.mark.skipif("HEALDAG_TEST_POSTGRES" not in os.environ, reason="HEALDAG_TEST_POSTGRES names no database")
    def test_a_queue(self) -> None:
        url = os.environ["HEALDAG_TEST_POSTGRES"]
        first, second = make(checkpointer=url, task="review-test"), make(checkpointer=url, task="review-test")
        for question in first.pending():
            first.answer(question.decision_id, "joy")
        found = first.classify_many(["sure", *(f"text {i}" for i in range(10))])
        assert (found[0].source, asyncio.run(first.aclassify("one")).source) == ("model", "pending")
        assert len(second.pending()) == 11
        with ThreadPoolExecutor(2) as pool:
            halves = [(first, found[1::2]), (second, found[2::2])]
            list(pool.map(lambda half: [half[0].answer(one.decision_id, "joy") for one in half[1]], halves))
        assert texts(second.pending()) == ["one"]
        second.answer(second.pending()[0].decision_id, "fear")
        assert (first.pending(), kept(first.graph.checkpointer)) == ([], 0)

    @pytest.mark.skipif("HEALDAG_TEST_POSTGRES" not in os.environ, reason="HEALDAG_TEST_POSTGRES names no database")
    def test_connections_that_the_server_has_closed(self) -> None:
        import psycopg

        url = os.environ["HEALDAG_TEST_POSTGRES"]
        classifier = make(checkpointer=url, task="review-test")

        def close() -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                    " AND datname = current_database()"
                )

        classifier.classify("one")
        close()
        assert [result.source for result in classifier.classify_many(["sure", "two"])] == ["model", "pending"]
        close()
        assert sorted(texts(classifier.pending())) == ["one", "two"]
        for question in classifier.pending():
            close()
            assert classifier.answer(question.decision_id, "joy").source == "human"
        assert classifier.pending() == []


# the command


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Classifiers with a fake model; ``made`` holds the last one."""
    found = SimpleNamespace(made=None, model=primary(), threshold=0.5)

    def create(task: str | None = None, **options: Any) -> Classifier:
        wanted = ("config_path", "human_review", "checkpointer", "log")
        given = {key: options[key] for key in wanted if key in options}
        found.made = REAL_FACTORY(task, primary=found.model, threshold=found.threshold, **given)
        return found.made

    monkeypatch.setattr(healdag.graph, "create_classifier", create)
    monkeypatch.setenv("COLUMNS", "100")
    return found


def run(*args: str | Path, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)


def fill(queue: str, *given: str, fake: SimpleNamespace) -> None:
    make(primary=fake.model, threshold=fake.threshold, checkpointer=queue).classify_many(list(given))


def waiting(queue: str) -> list[str]:
    return sorted(texts(make(checkpointer=queue).pending()))


class TestClassifyCommand:
    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_doubtful_rows_wait_the_others_come_back(
        self, form: str, fake: SimpleNamespace, queue: str, tmp_path: Path
    ) -> None:
        (tmp_path / "in.csv").write_text("id,text\n1,sure\n2,one\n3,two\n", encoding="utf-8")
        done = run("classify", "--file", tmp_path / "in.csv", "--format", form, "--queue", queue)
        assert done.exit_code == 0
        assert done.stderr == f"2 of 3 rows wait: healdag review --queue {queue}\n"
        ids = {question.text: question.decision_id for question in make(checkpointer=queue).pending()}
        if form == "jsonl":
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            assert [(row["source"], row["decision_id"]) for row in rows[1:]] == [
                ("pending", ids["one"]),
                ("pending", ids["two"]),
            ]
        else:
            lines = done.stdout.splitlines()
            assert lines[0] == "id,text,final_label,confidence,source,reasons,error,decision_id"
            assert lines[1].startswith("1,sure,joy,0.95,model,,,run-")
            assert lines[2] == f"2,one,,,pending,low_confidence,,{ids['one']}"

    def test_without_a_queue_nothing_changes(self, fake: SimpleNamespace) -> None:
        done = run("classify", "one", "--format", "jsonl")
        assert "decision_id" not in json.loads(done.stdout)
        assert done.stderr == ""


class TestReviewCommand:
    def test_keys(self, fake: SimpleNamespace, queue: str, tmp_path: Path) -> None:
        fill(queue, "one", "two", "three", "four", fake=fake)
        log = tmp_path / "log.jsonl"
        done = run(
            "review", "--queue", queue, "--order", "oldest", "--by", "ann", "--log", log, stdin="2\ns\nfear\nq\n"
        )
        assert done.exit_code == 0
        assert re.search(r"^1 of 4; waits for \d+ seconds; fake/1; low_confidence$", done.stdout, re.MULTILINE)
        assert re.search(r"1 +joy +0\.400 *\n +2 +anger +0\.350 *\n +3 +fear +0\.250", done.stdout)
        assert done.stdout.rstrip().endswith("2 answered, 2 of those shown wait on.")
        assert [(row.label, row.source) for row in read_decisions(log)] == [("anger", "human"), ("fear", "human")]
        assert waiting(queue) == ["four", "two"]

    def test_the_end_of_stdin_leaves(self, fake: SimpleNamespace, queue: str) -> None:
        fill(queue, "one", "two", fake=fake)
        done = run("review", "--queue", queue, "--order", "oldest", stdin="1\n")
        assert (done.exit_code, waiting(queue)) == (0, ["two"])

    def test_undo(self, fake: SimpleNamespace, queue: str) -> None:
        fill(queue, "one", "two", fake=fake)
        done = run("review", "--queue", queue, "--order", "oldest", stdin="u\n1\nu\n3\nq\n")
        assert "nothing to take back" in done.stderr
        assert [line for line in done.stdout.splitlines() if line.startswith("->")] == ["-> joy", "-> fear"]
        assert waiting(queue) == ["two"]

    def test_undo_of_the_last(self, fake: SimpleNamespace, queue: str) -> None:
        fill(queue, "one", fake=fake)
        done = run("review", "--queue", queue, stdin="q\n")
        assert waiting(queue) == ["one"]
        fill(queue, "other", fake=fake)  # so that there is something left to be asked after it
        done = run("review", "--queue", queue, "--order", "oldest", stdin="1\nu\n2\n")
        assert "that answer is final; a new one is kept as a correction" in done.stderr
        assert fake.made.classify("one").final_label == "anger"
        assert waiting(queue) == ["other"]

    def test_several_labels(self, fake: SimpleNamespace, queue: str) -> None:
        fake.model = FakePredictor(("toxic", "insult", "threat"), default={"toxic": 0.6}, multi_label=True)
        fake.threshold = 0.9
        fill(queue, "one", "two", "three", fake=fake)
        done = run("review", "--queue", queue, "--order", "oldest", stdin="31\n0\n4\ninsult, threat\n")
        shown = [line for line in done.stdout.splitlines() if line.startswith("->")]
        assert shown == ["-> toxic, threat", "-> (none)", "-> insult, threat"]
        assert "'4' names no labels from 1 to 3" in done.stderr
        assert several(checkpointer=queue).pending() == []

    def test_what_is_no_answer_is_asked_again(self, fake: SimpleNamespace, queue: str) -> None:
        fill(queue, "one", fake=fake)
        done = run("review", "--queue", queue, stdin="7\n\njoy\n")
        assert done.stderr.count("is not one of 1-3; type the number or the name of a label; s skip") == 2
        assert waiting(queue) == []

    def test_somebody_else_was_quicker(
        self, fake: SimpleNamespace, queue: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(queue, "one", "two", fake=fake)
        other = make(checkpointer=queue)
        first = other.pending("oldest")[0]
        answer = Classifier.answer

        def late(self: Classifier, decision_id: str, label: Any, *, by: str | None = None) -> Any:
            if decision_id == first.decision_id and self is not other:
                answer(other, decision_id, "fear")
            return answer(self, decision_id, label, by=by)

        monkeypatch.setattr(Classifier, "answer", late)
        done = run("review", "--queue", queue, "--order", "oldest", stdin="1\n1\n")
        assert "it is answered already" in done.stderr
        assert (done.exit_code, waiting(queue)) == (0, [])

    def test_a_limit(self, fake: SimpleNamespace, queue: str) -> None:
        fill(queue, "one", "two", "three", fake=fake)
        run("review", "--queue", queue, "--limit", "2", "--order", "oldest", stdin="1\n1\n1\n")
        assert waiting(queue) == ["three"]

    def test_one_key_in_a_terminal(self, fake: SimpleNamespace, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
        review: Any = sys.modules["healdag.cli.review"]
        keys = iter(["1", "\x04"])
        fill(queue, "one", "two", fake=fake)
        (question, _) = make(checkpointer=queue).pending("oldest")
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
        monkeypatch.setattr(review.typer, "getchar", lambda: next(keys))
        assert review.read(question) == "1"
        with pytest.raises(EOFError):
            review.read(question)

    def test_nothing_waits(self, fake: SimpleNamespace, queue: str) -> None:
        fill(queue, "sure", fake=fake)
        done = run("review", "--queue", queue)
        assert (done.exit_code, done.stdout) == (0, "Nothing waits for an answer of fake.\n")

    def test_the_queue_of_the_configuration(self, fake: SimpleNamespace, queue: str, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("dag: {checkpointer: review.db}", encoding="utf-8")
        fill(queue, "one", fake=fake)
        assert run("review", "--config", tmp_path / "c.yaml", stdin="1\n").exit_code == 0
        assert waiting(queue) == []

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ([], "no queue; give --queue FILE"),
            (["--queue", "none.db"], "no queue at 'none.db'; 'healdag classify --queue none.db' makes one"),
            (["--queue", "redis://host"], "a checkpointer is a file for SQLite"),
        ],
    )
    def test_no_queue(
        self, args: list[str], message: str, fake: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("HEALDAG_CONFIG", raising=False)
        done = run("review", *args, stdin="1\n")
        assert (done.exit_code, done.stdout) == (2, "")
        assert message in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_control_characters_are_not_shown(self, fake: SimpleNamespace, queue: str) -> None:
        fill(queue, "red \x1b[31m alert", fake=fake)
        assert "\x1b" not in run("review", "--queue", queue, stdin="q\n").stdout


class TestParse:
    def question(self, labels: tuple[str, ...], *, multi_label: bool = False) -> Question:
        return Question(
            decision_id="d",
            text="t",
            top=(),
            reasons=(),
            labels=labels,
            multi_label=multi_label,
            model_version="m/1",
            asked=datetime.now(UTC),
            uncertainty=1,
        )

    @pytest.mark.parametrize(
        ("typed", "expected"),
        [("1", "joy"), (" 3 ", "fear"), ("Anger", "anger"), ("s", Key.SKIP), ("UNDO", Key.UNDO), ("q", Key.QUIT)],
    )
    def test_one_label(self, typed: str, expected: object) -> None:
        assert parse(typed, self.question(LABELS)) == expected

    @pytest.mark.parametrize("typed", ["", "0", "4", "12", "jo", "sk", "1 2"])
    def test_no_label(self, typed: str) -> None:
        with pytest.raises(UsageError, match="is not one of 1-3"):
            parse(typed, self.question(LABELS))

    def test_more_than_nine(self) -> None:
        labels = tuple(f"label {i}" for i in range(1, 13))
        assert parse("12", self.question(labels)) == "label 12"
        assert parse("12 1,3", self.question(labels, multi_label=True)) == ["label 1", "label 3", "label 12"]

    def test_the_order_is_the_tasks(self) -> None:
        assert parse("31", self.question(LABELS, multi_label=True)) == ["joy", "fear"]
        assert parse("0", self.question(LABELS, multi_label=True)) == []
        with pytest.raises(UsageError, match="names no labels"):
            parse("", self.question(LABELS, multi_label=True))
