"""What people have corrected: the same text, near twins, several people, other processes, other models."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langgraph.store.memory import InMemoryStore
from typer.testing import CliRunner

from healdag import create_classifier
from healdag.cli import app
from healdag.errors import ConfigError, InputError, StoreError, UsageError
from healdag.graph import Classifier
from healdag.graph.learning import Recent
from healdag.nodes import Corrections
from healdag.nodes import corrections as module
from healdag.nodes.memory import LEAST_SIMILARITY, confidence_of
from healdag.nodes.twin_index import TwinIndex, unit
from healdag.predictors import Familiarity, Observed
from healdag.predictors.fake import FakePredictor
from healdag.store import FeedbackStore
from healdag.training.datasets import Example
from healdag.trust.observe import observe_rows
from healdag.trust.steps import score_memory, score_steps

LABELS = ("joy", "anger", "neutral")
DIMENSIONS = 64
LONG = "the train to the coast was late again and nobody told us why"
TWIN = "the train to the coast was late again and nobody told us why!!"
FAR = "a cup of tea and a good book by the window"


class Reader:
    """A predictor whose vectors are counts of a text's letter triples, thrown into 64 buckets."""

    def __init__(
        self, default: dict[str, float] | None = None, *, version: str = "reader/1", labels: Any = LABELS
    ) -> None:
        self.name, self.version, self.labels = "model", version, tuple(labels)
        self.familiarity = Familiarity(1, np.zeros(DIMENSIONS), np.eye(DIMENSIONS), 1.0, 0.0, -np.inf)
        self.multi_label = False
        self.with_vectors: list[list[str]] = []
        self._fake = FakePredictor(labels, default=default or {"joy": 0.8})

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        return self._fake.predict_proba(texts)

    def observe(self, texts: Sequence[str], *, vectors: bool = False) -> Observed:
        if not vectors:
            return Observed(self.predict_proba(texts))
        self.with_vectors.append(list(texts))
        return Observed(self.predict_proba(texts), vectors=np.array([self._vector(text) for text in texts]))

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        return [float("zzz" in text) for text in texts]

    def _vector(self, text: str) -> np.ndarray:
        found = np.zeros(DIMENSIONS)
        for i in range(len(text) - 2):
            found[sum(ord(c) * 31**k for k, c in enumerate(text[i : i + 3].lower())) % DIMENSIONS] += 1
        return found - found.mean()


def make(**more: Any) -> Classifier:
    return create_classifier(**{"primary": Reader(), "task": "mood", "backups": [], **more})


def store_of(place: Path) -> FeedbackStore:
    return FeedbackStore.open(place, text="store")


class TestIndex:
    @pytest.mark.parametrize("n", [3, 200, 1500])
    def test_it_finds_what_a_full_comparison_finds(self, n: int) -> None:
        generator = np.random.default_rng(n)
        centres = generator.normal(size=(n, 384))
        rows = unit(centres)
        asked = unit(
            np.concatenate(
                [centres[:50] + 0.5 * generator.normal(size=(min(n, 50), 384)), generator.normal(size=(20, 384))]
            )
        )
        index = TwinIndex(384)
        index.put((str(i), row) for i, row in enumerate(rows))
        found = index.search(asked, 0.75)
        for one, similar in zip(found, asked @ rows.T, strict=True):
            expected = [str(i) for i in np.argsort(-similar) if similar[i] >= 0.75]
            assert [key for key, _ in one] == expected
        assert sum(map(len, found)) >= min(n, 50)

    def test_many_alike(self) -> None:
        rows = unit(
            np.random.default_rng(0).normal(size=(1, 32)) + 0.01 * np.random.default_rng(1).normal(size=(500, 32))
        )
        index = TwinIndex(32)
        index.put((str(i), row) for i, row in enumerate(rows))
        assert [len(found) for found in index.search(rows[:3], 0.9)] == [500] * 3

    def test_replaced_and_removed(self) -> None:
        rows = unit(np.eye(8))
        index = TwinIndex(8)
        index.put((str(i), row) for i, row in enumerate(rows))
        index.remove("2")
        index.remove("unknown")
        index.put([("0", rows[2])])
        assert len(index) == 7
        assert index.search(rows, 0.9) == [
            *([], [("1", 1.0)], [("0", 1.0)]),
            *([(str(i), 1.0)] for i in range(3, 8)),
        ]

    def test_without_a_direction(self) -> None:
        index = TwinIndex(4)
        index.put([("a", unit(np.ones((1, 4)))[0])])
        assert index.search(unit(np.array([[0.0] * 4, [np.nan] * 4])), 0.1) == [[], []]


class TestTwins:
    def test_a_near_twin_is_answered_by_the_correction(self) -> None:
        model, irony, second = Reader(), FakePredictor(("literal", "sarcastic")), FakePredictor(LABELS, name="second")
        classifier = make(primary=model, sarcasm=irony, backups=[second], threshold=0.99)
        event = classifier.correct(LONG, "anger", by="ann")
        irony.calls.clear()
        result = classifier.classify(TWIN)
        assert (result.final_label, result.source) == ("anger", "memory")
        first, memory = result.attempts
        assert (first.by, first.label, first.accepted) == ("model", "joy", False)
        assert (memory.by, memory.label, memory.accepted, memory.event) == ("memory", "anger", True, event.id)
        assert memory.similarity is not None
        assert LEAST_SIMILARITY <= memory.similarity < 1
        assert result.confidence == memory.confidence == pytest.approx(confidence_of(memory.similarity))
        assert result.probabilities["anger"] == pytest.approx(result.confidence)
        assert sum(result.probabilities.values()) == pytest.approx(1)
        assert result.probabilities["joy"] > result.probabilities["neutral"]
        assert irony.calls == second.calls == []
        assert result.reasons == ()

    def test_other_texts_are_as_they_were(self) -> None:
        classifier, alone = make(), make()
        classifier.correct(LONG, "anger")
        ours, theirs = (c.classify(FAR).model_dump(exclude={"decision_id", "attempts"}) for c in (classifier, alone))
        assert ours == theirs

    def test_one_pass_makes_answers_and_vectors(self) -> None:
        model = Reader()
        classifier = make(primary=model)
        classifier.classify_many([FAR, TWIN])
        assert model.with_vectors == []  # as long as there is nothing to compare with
        classifier.correct(LONG, "anger")
        calls = len(model._fake.calls)
        assert [r.source for r in classifier.classify_many([FAR, TWIN, LONG])] == ["model", "memory", "memory"]
        assert model.with_vectors == [[LONG], [FAR, TWIN]]
        assert len(model._fake.calls) == calls + 1

    def test_single_many_async_and_stream_agree(self) -> None:
        classifier = make()
        classifier.correct(LONG, "anger")
        one = classifier.classify(TWIN)
        (many, _), other = classifier.classify_many([TWIN, FAR]), asyncio.run(classifier.aclassify(TWIN))
        (last,) = [update["finalize"] for update in classifier.stream(TWIN) if "finalize" in update]
        assert one.final_label == many.final_label == other.final_label == last["final_label"] == "anger"
        assert one.confidence == pytest.approx(many.confidence) == pytest.approx(last["confidence"])

    def test_the_state_is_plain(self) -> None:
        classifier = make()
        classifier.correct(LONG, "anger")
        state: dict[str, Any] = {}
        for update in classifier.stream(TWIN):
            for written in update.values():
                state |= written
        assert len(json.dumps(state)) < 4000
        assert state["recalled"][0]["label"] == "anger"

    def test_twins_that_disagree_leave_it_to_the_model(self) -> None:
        classifier = make()
        classifier.correct(LONG, "anger")
        classifier.correct(LONG + "?", "neutral")
        assert classifier.classify(TWIN).source == "model"
        alone = make()
        alone.correct(LONG, "anger")
        agreed = alone.classify(TWIN).confidence
        classifier.correct(LONG + "??", "anger")
        classifier.correct(LONG + "...", "anger")
        result = classifier.classify(TWIN)
        assert result.final_label == "anger"
        assert result.confidence < 0.9 * agreed

    def test_what_the_model_can_hardly_read_has_no_twins(self) -> None:
        classifier = make()
        classifier.correct(f"{LONG} zzz", "anger")
        classifier.correct("поезд опять опоздал и никто не сказал почему", "anger")
        assert classifier.classify(f"{TWIN} zzz").source == "model"
        assert classifier.classify("поезд опять опоздал и никто не сказал почему!").source == "model"
        classifier.correct(LONG, "anger")
        assert classifier.classify(f"{TWIN} zzz").source == "model"
        assert classifier.classify(TWIN).source == "memory"

    def test_they_can_be_turned_off(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("feedback: {near_twins: false}", encoding="utf-8")
        classifier = make(config_path=tmp_path / "config.yaml")
        classifier.correct(LONG, "anger")
        assert classifier.classify(TWIN).source == "model"
        assert classifier.classify(LONG).source == "memory"

    def test_a_model_without_vectors_knows_the_same_text_alone(self) -> None:
        classifier = make(primary=FakePredictor(LABELS, default={"joy": 0.8}))
        assert classifier.correct(LONG, "anger").embedding is None
        assert classifier.classify(TWIN).source == "model"
        assert classifier.classify(LONG.upper()).source == "memory"

    def test_some_of_the_labels(self) -> None:
        classifier = make(labels=["joy", "anger"])
        classifier.correct(LONG, "anger")
        result = classifier.classify(TWIN)
        assert (result.final_label, result.source) == ("anger", "memory")
        assert set(result.probabilities) == {"joy", "anger"}

    def test_a_reused_thread_forgets_what_was_recalled(self) -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        classifier = make(checkpointer=InMemorySaver())
        classifier.correct(LONG, "anger")
        config = {"configurable": {"thread_id": "mine"}}
        assert classifier.graph.invoke({"text": TWIN}, config)["source"] == "memory"
        assert classifier.graph.invoke({"text": FAR}, config)["source"] == "model"
        assert classifier.graph.invoke({"text": "😀"}, config)["source"] == "model"


class TestPeople:
    def test_several_people_are_counted_and_one_person_once(self) -> None:
        classifier = make()
        for by, label in (("ann", "neutral"), ("ann", "anger"), ("bob", "anger"), ("cem", "neutral")):
            event = classifier.correct(LONG, label, by=by)
        result = classifier.classify(LONG)
        assert result.final_label == "anger"
        assert result.confidence == pytest.approx(2 / 3)
        assert result.probabilities == pytest.approx({"joy": 0, "anger": 2 / 3, "neutral": 1 / 3})
        classifier.revoke(event.id)
        assert classifier.classify(LONG).confidence == 1

    def test_of_two_the_later_word_counts_but_less(self) -> None:
        classifier = make()
        classifier.correct(LONG, "neutral", by="ann")
        classifier.correct(LONG, "anger", by="bob")
        result = classifier.classify(LONG)
        assert (result.final_label, result.confidence) == ("anger", 0.5)
        classifier.correct(LONG, "neutral", by="ann")
        assert classifier.classify(LONG).final_label == "neutral"

    def test_revoking_brings_back_what_was_said_before(self) -> None:
        classifier = make()
        classifier.correct(LONG, "neutral")
        second = classifier.correct(LONG, "anger")
        revocation = classifier.revoke(second.id, by="ann")
        assert (revocation.kind, revocation.by) == ("revocation", "ann")
        assert classifier.classify(LONG).final_label == "neutral"

    def test_revoking_the_last_one_leaves_nothing(self) -> None:
        classifier = make()
        event = classifier.correct(LONG, "anger")
        classifier.revoke(event.id)
        assert [classifier.classify(text).source for text in (LONG, TWIN)] == ["model", "model"]
        assert len(classifier.nodes.memory.corrections) == 0
        with pytest.raises(UsageError, match="revoked already"):
            classifier.revoke(event.id)
        with pytest.raises(UsageError, match="is not there"):
            classifier.revoke("f-unknown")

    def test_a_correction_of_another_task_is_not_ours_to_revoke(self, tmp_path: Path) -> None:
        place = tmp_path / "feedback.db"
        event = make(task="other", feedback=place).correct(LONG, "anger")
        with pytest.raises(UsageError, match="of the task 'other'"):
            make(feedback=place).revoke(event.id)

    def test_labels_outside_the_set(self) -> None:
        classifier = make()
        with pytest.raises(UsageError, match="no label 'rage'"):
            classifier.correct(LONG, "rage")
        with pytest.raises(UsageError, match="must be one label"):
            classifier.correct(LONG, ["anger"])
        assert classifier.feedback.last_seq() == 0

    def test_what_was_put_into_the_store_by_hand(self) -> None:
        store = InMemoryStore()
        store.put(module.namespace("mood"), module.memory_key(LONG), {"label": "anger", "by": "ann"})
        classifier = make(store=store)
        result = classifier.classify(LONG)
        assert (result.final_label, result.confidence, result.attempts[0].event) == ("anger", 1, None)
        classifier.correct(LONG, "neutral", by="bob")
        assert classifier.classify(LONG).confidence == 0.5


class TestCases:
    def test_a_decision_by_its_id(self) -> None:
        classifier = make()
        decision = classifier.classify(LONG)
        event = classifier.correct(decision.decision_id, "anger", by="ann")
        assert (event.decision_id, event.previous_label, event.by) == (decision.decision_id, "joy", "ann")
        assert event.confidence == decision.confidence
        assert event.model_version == decision.model_version
        assert classifier.classify(LONG).final_label == "anger"

    @pytest.mark.parametrize("way", ["many", "graph", "node", "async", "stream"])
    def test_however_it_was_decided(self, way: str) -> None:
        classifier = make()
        if way == "many":
            key = classifier.classify_many([FAR, LONG])[1].decision_id
        elif way == "graph":
            key = classifier.graph.invoke({"texts": [LONG]})["results"][0]["decision_id"]
        elif way == "node":
            key = classifier.as_node().invoke({"text": LONG})["decision_id"]
        elif way == "async":
            key = asyncio.run(classifier.aclassify(LONG)).decision_id
        else:
            key = next(u["finalize"] for u in classifier.stream(LONG) if "finalize" in u)["results"][0]["decision_id"]
        classifier.correct(key, "anger")
        assert classifier.classify(LONG).final_label == "anger"

    @pytest.mark.parametrize("key", ["run-0123456789abcdef0123.0", "run-mine.12"])
    def test_one_that_nobody_knows(self, key: str, tmp_path: Path) -> None:
        for classifier in (make(), make(log=tmp_path / "log.jsonl")):
            with pytest.raises(UsageError, match=rf"no decision '{key}'.*Give the text"):
                classifier.correct(key, "anger")
            assert classifier.feedback.last_seq() == 0

    @pytest.mark.parametrize("text", ["run-away is no solution", "we had a run-in. 3 of us", "run.0"])
    def test_texts_that_look_a_little_like_ids(self, text: str) -> None:
        classifier = make()
        classifier.correct(text, "anger")
        assert classifier.classify(text).final_label == "anger"

    @pytest.mark.parametrize("name", ["log.jsonl", "log.db"])
    def test_a_decision_of_an_earlier_process(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text(f"log: {{path: {name}, text: store}}", encoding="utf-8")
        decision = make(config_path=tmp_path / "config.yaml").classify(LONG)
        classifier = make(config_path=tmp_path / "config.yaml")
        event = classifier.correct(decision.decision_id, "anger")
        assert (event.previous_label, event.decision_id) == ("joy", decision.decision_id)
        assert classifier.classify(TWIN).source == "memory"

    def test_a_log_without_texts(self, tmp_path: Path) -> None:
        decision = make(log=tmp_path / "log.jsonl").classify(LONG)
        with pytest.raises(UsageError, match=r"not its text.*log: \{text: store\}"):
            make(log=tmp_path / "log.jsonl").correct(decision.decision_id, "anger")

    def test_no_text(self) -> None:
        for given in ("", "  ", None, 3):
            with pytest.raises(InputError):
                make().correct(given, "anger")  # type: ignore[arg-type]

    def test_the_last_decisions_are_bounded(self) -> None:
        def result(i: int, size: int = 10) -> dict[str, Any]:
            return {
                "text": "x" * size,
                "decision_id": str(i),
                "final_label": "joy",
                "confidence": 1,
                "model_version": "1",
            }

        recent = Recent(most=3, chars=100)
        recent.add([result(i) for i in range(5)])
        assert [recent.get(str(i)) is not None for i in range(5)] == [False, False, True, True, True]
        recent.add([result(4), result(5, 85)])
        assert [recent.get(str(i)) is not None for i in range(6)] == [False, False, False, False, True, True]
        recent.add([result(6, 1000)])
        assert recent.get("6") is None
        recent.add([result(7)])
        assert recent.get("7") is not None


class TestPlaces:
    def test_corrections_outlive_the_process(self, tmp_path: Path) -> None:
        place = tmp_path / "feedback.db"
        first = make(feedback=place)
        first.correct(LONG, "neutral")
        first.correct(LONG, "anger")
        first.revoke(first.correct(FAR, "anger").id)
        again = make(feedback=place)
        assert [again.classify(text).source for text in (LONG, TWIN, FAR)] == ["memory", "memory", "model"]
        assert again.classify(LONG).final_label == "anger"
        assert make().classify(LONG).source == "model"

    def test_a_store_of_ones_own_and_a_key_of_the_configuration(self, tmp_path: Path) -> None:
        place = tmp_path / "feedback.db"
        make(feedback=store_of(place)).correct(LONG, "anger")
        assert [event.text for event in store_of(place).events()] == [LONG]
        (tmp_path / "config.yaml").write_text("feedback: {path: feedback.db, text: hash}", encoding="utf-8")
        classifier = make(config_path=tmp_path / "config.yaml")
        assert classifier.classify(LONG).source == "memory"
        classifier.correct(FAR, "anger")
        assert [event.text for event in store_of(place).events()] == [LONG, None]

    def test_what_is_no_place(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="a path, a URL or a FeedbackStore; got int"):
            make(feedback=3)
        with pytest.raises(ConfigError, match="cannot open the feedback store"):
            make(feedback=tmp_path / "none" / "feedback.db")

    def test_corrections_of_another_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one, other = make(feedback=tmp_path / "f.db"), make(feedback=tmp_path / "f.db")
        monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
        event = one.correct(LONG, "anger")
        assert [other.classify(text).source for text in (LONG, TWIN)] == ["memory", "memory"]
        other.revoke(event.id)
        assert [one.classify(text).source for text in (LONG, TWIN)] == ["model", "model"]

    def test_it_is_looked_at_once_a_second(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        classifier = make(feedback=tmp_path / "f.db")
        looks: list[int] = []
        last = classifier.feedback.last_seq
        monkeypatch.setattr(classifier.feedback, "last_seq", lambda: looks.append(1) or last())
        now = [0.0]
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0] + 1e6)
        for moment in (0.0, 0.5, 0.9, 1.1, 1.2, 2.5):
            now[0] = moment
            classifier.classify(FAR)
        assert len(looks) == 3

    def test_reload_takes_them_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "POLL_SECONDS", 1e9)
        one, other = make(feedback=tmp_path / "f.db"), make(feedback=tmp_path / "f.db")
        other.classify(FAR)
        one.correct(LONG, "anger")
        assert other.classify(LONG).source == "model"
        other.reload()
        assert [other.classify(text).source for text in (LONG, TWIN)] == ["memory", "memory"]

    def test_a_store_out_of_reach_costs_no_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        classifier = make(feedback=tmp_path / "f.db")
        classifier.correct(LONG, "anger")
        monkeypatch.setattr(module, "POLL_SECONDS", 0.0)

        def gone() -> int:
            raise StoreError("out of reach")

        monkeypatch.setattr(classifier.feedback, "last_seq", gone)
        with caplog.at_level(logging.WARNING, "healdag"):
            assert [classifier.classify(text).source for text in (LONG, TWIN, FAR)] == ["memory", "memory", "model"]
        assert sum("not taken up" in record.message for record in caplog.records) == 1

    def test_a_look_that_takes_long_and_fails_is_not_repeated_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classifier = make(feedback=tmp_path / "f.db")
        looks: list[float] = []
        now = [1e6]

        def locked() -> int:
            looks.append(now[0] - 1e6)
            now[0] += 4.0  # so long it waits
            raise StoreError("database is locked")

        monkeypatch.setattr(classifier.feedback, "last_seq", locked)
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
        for moment in (2.0, 7.0, 15.0, 25.0, 27.0, 40.0):
            now[0] = max(now[0], 1e6 + moment)
            classifier.classify(FAR)
        assert looks == [2.0, 27.0]  # most answers wait for nobody

    def test_a_correction_that_cannot_be_written_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classifier = make(feedback=tmp_path / "f.db")

        def full(**_: Any) -> None:
            raise StoreError("disk full")

        monkeypatch.setattr(classifier.feedback, "add", full)
        with pytest.raises(StoreError):
            classifier.correct(LONG, "anger")
        assert classifier.classify(LONG).source == "model"

    def test_only_so_many_are_remembered_the_oldest_go(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("feedback: {memory_size: 3, path: f.db}", encoding="utf-8")
        store = InMemoryStore()
        classifier = make(config_path=tmp_path / "config.yaml", store=store)
        texts = [LONG, FAR, "third of all the texts", "fourth and quite another one"]
        for text in texts:
            classifier.correct(text, "anger")
        expected = ["model", "memory", "memory", "memory"]
        assert [classifier.classify(text).source for text in texts] == expected
        assert classifier.classify(TWIN).source == "model"
        assert len(store.search(module.namespace("mood"), limit=10)) == 3
        again = make(config_path=tmp_path / "config.yaml")
        assert [again.classify(text).source for text in texts] == expected
        classifier.correct(LONG, "anger")
        assert [classifier.classify(text).source for text in texts[:2]] == ["memory", "model"]

    def test_in_parts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_AT_ONCE", 2)
        store, first = InMemoryStore(), make(feedback=tmp_path / "f.db")
        texts = [f"text number {i}" for i in range(5)]
        for text in texts:
            first.correct(text, "anger")
        again = make(feedback=tmp_path / "f.db", store=store)
        assert {again.classify(text).source for text in texts} == {"memory"}
        # From the LangGraph store alone.
        assert len(make(store=store).nodes.memory.corrections) == 5
        assert make(store=store).classify(texts[0] + "!").source == "memory"


class TestOtherModels:
    def test_vectors_of_another_model_are_not_compared(self, tmp_path: Path) -> None:
        make(feedback=tmp_path / "f.db").correct(LONG, "anger")
        newer = make(primary=Reader(version="reader/2"), feedback=tmp_path / "f.db")
        assert [newer.classify(text).source for text in (LONG, TWIN)] == ["memory", "model"]

    def test_where_the_texts_are_known_they_are_made_anew(self, tmp_path: Path) -> None:
        make(feedback=store_of(tmp_path / "f.db")).correct(LONG, "anger")
        model = Reader(version="reader/2")
        newer = make(primary=model, feedback=tmp_path / "f.db")
        assert model.with_vectors == [[LONG]]
        assert newer.classify(TWIN).source == "memory"

    def test_a_decision_of_another_model(self) -> None:
        classifier = make()
        decision = classifier.classify(LONG).decision_id
        case = classifier._learned.recent.get(decision)
        assert case is not None
        result = {"text": case.text, "decision_id": decision, "final_label": "joy", "confidence": 0.8}
        classifier._learned.recent.add([{**result, "model_version": "reader/0"}])
        event = classifier.correct(decision, "anger")
        assert (event.model_version, event.embedding) == ("reader/0", None)
        assert classifier.classify(TWIN).source == "memory"


class TestFigures:
    def test_fixed_and_broke(self) -> None:
        classifier = make()
        rows = [
            Example(LONG, ("anger",)),
            Example(TWIN, ("joy",)),
            Example(FAR, ("joy",)),
            Example("hm, well", ("joy",)),
        ]
        classifier.correct(LONG, "anger")
        seen = observe_rows(classifier, rows)
        assert seen.right.tolist() == [False, True, True, True]  # by the models: a correction is no evidence for them
        assert set(seen.sources) == {"model"}
        step = score_memory(classifier, rows, seen)
        assert (step.name, step.asked, step.right) == ("memory", 2, 1)
        assert step.change is not None
        assert (step.change.fixed, step.change.broke, step.change.left) == (1, 1, 0)
        assert [s.name for s in score_steps(seen, classifier.nodes.backup.ladder)] == ["model", "whole graph"]
        assert classifier.classify(LONG).source == "memory"

    def test_corrections_by_themselves(self) -> None:
        corrections = Corrections(InMemoryStore(), "mood")
        assert (len(corrections), corrections.has_vectors) == (0, False)
        assert corrections.find([LONG]) == [[]]
        assert corrections.twins(unit(np.ones((2, 4))), 0.5, 3) == [[], []]


class TestCommand:
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        classifier = make(feedback=store_of(tmp_path / "f.db"))
        classifier.correct(LONG, "anger", by="ann")
        classifier.correct(FAR, "neutral")
        return str(tmp_path / "f.db")

    def run(self, *words: str) -> Any:
        return CliRunner().invoke(app, ["feedback", *words])

    def test_list_and_revoke(self, place: str) -> None:
        first = next(store_of(Path(place)).events())
        shown = self.run("list", "--feedback", place)
        assert shown.exit_code == 0
        assert first.id in shown.stdout
        revoked = self.run("revoke", first.id, "--feedback", place, "--by", "bob")
        assert revoked.exit_code == 0
        assert [e.by for e in store_of(Path(place)).events()] == ["ann", None, "bob"]
        left = self.run("list", "--feedback", place, "--format", "jsonl")
        assert [json.loads(line)["label"] for line in left.stdout.splitlines()] == ["neutral"]
        every = self.run("list", "--feedback", place, "--format", "jsonl", "--all", "--limit", "2")
        assert [json.loads(line)["kind"] for line in every.stdout.splitlines()] == ["correction", "revocation"]
        again = self.run("revoke", first.id, "--feedback", place)
        assert (again.exit_code, "revoked already by 'bob'" in again.stderr) == (2, True)

    def test_export_and_import(self, place: str, tmp_path: Path) -> None:
        events, other = str(tmp_path / "events.jsonl"), str(tmp_path / "other.db")
        assert self.run("export", events, "--feedback", place).exit_code == 0
        assert "2 new events" in self.run("import", events, "--feedback", other).stderr
        assert "0 new events" in self.run("import", events, "--feedback", other).stderr
        assert make(feedback=other).classify(TWIN).source == "memory"

    def test_no_store(self, tmp_path: Path) -> None:
        missing = self.run("list", "--feedback", str(tmp_path / "none.db"))
        assert (missing.exit_code, "no feedback store at" in missing.stderr) == (2, True)
        assert not (tmp_path / "none.db").exists()
        unset = self.run("list")
        assert (unset.exit_code, "give --feedback FILE" in unset.stderr) == (2, True)

    def test_by_the_configuration(self, place: str) -> None:
        config = Path(place).with_name("config.yaml")
        config.write_text("feedback: {path: f.db}", encoding="utf-8")
        shown = self.run("list", "--config", str(config), "--task", "mood", "--format", "jsonl")
        assert len(shown.stdout.splitlines()) == 2
