"""The graph: its way through the nodes, who gives the answer, and everything that a caller can hold it by."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import ValidationError

from healdag import Classification, Classifier, create_classifier
from healdag.errors import ArtifactError, ConfigError, InputError, UsageError
from healdag.graph import State, build_graph
from healdag.predictors.emoji import lexicon_labels
from healdag.predictors.fake import FakePredictor
from healdag.schema import Source

LABELS = lexicon_labels()
ANSWERS: dict[str, Any] = {
    "sure": {"joy": 0.95},
    "sure too": {"anger": 0.9},
    "unsure": {"sadness": 0.4, "joy": 0.3},
    "unsure too": {"fear": 0.45},
    "odd": None,
}


def primary(**options: Any) -> FakePredictor:
    return FakePredictor(LABELS, **{"answers": ANSWERS, "default": {"neutral": 0.8}, "name": "model", **options})


def backup(**options: Any) -> FakePredictor:
    return FakePredictor(LABELS, **{"default": {"disgust": 0.9}, "name": "second", **options})


def detector(**answers: float) -> FakePredictor:
    rows = {text.replace("_", " "): {"sarcastic": p} for text, p in answers.items()}
    return FakePredictor(("sarcastic", "not_sarcastic"), answers=rows, default={"sarcastic": 0.1}, name="irony")


def make(**options: Any) -> Classifier:
    return create_classifier(**{"primary": primary(), **options})


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


class Says:
    """A backup that returns, or raises, what it is given."""

    name, labels, version = "says", LABELS, "says/1"

    def __init__(self, value: Any) -> None:
        self.value = value

    def predict_proba(self, texts: Sequence[str]) -> Any:
        value = self.value(texts) if callable(self.value) else self.value
        if isinstance(value, Exception):
            raise value
        return value


class TestTopology:
    def test_nodes_and_edges(self) -> None:
        drawn = make().graph.get_graph()
        assert set(drawn.nodes) == {
            *("__start__", "preprocess", "memory", "classify", "sarcasm"),
            *("check", "backup", "trust", "review", "finalize", "__end__"),
        }
        assert {(edge.source, edge.target) for edge in drawn.edges} == {
            ("__start__", "preprocess"),
            ("preprocess", "memory"),
            ("memory", "classify"),
            ("memory", "trust"),
            ("classify", "sarcasm"),
            ("sarcasm", "check"),
            ("check", "backup"),
            ("check", "trust"),
            ("backup", "trust"),
            ("trust", "review"),
            ("trust", "finalize"),
            ("review", "finalize"),
            ("finalize", "__end__"),
        }

    @pytest.mark.parametrize(
        ("text", "way"),
        [
            ("sure", ["preprocess", "memory", "classify", "sarcasm", "check", "trust", "finalize"]),
            ("unsure", ["preprocess", "memory", "classify", "sarcasm", "check", "backup", "trust", "finalize"]),
            ("😀", ["preprocess", "memory", "trust", "finalize"]),
            ("known", ["preprocess", "memory", "trust", "finalize"]),
        ],
    )
    def test_the_way_of_a_text(self, text: str, way: list[str]) -> None:
        classifier = make(backups=[backup()])
        classifier.correct("known", "joy")
        assert [name for update in classifier.stream(text) for name in update] == way

    def test_every_key_that_a_node_writes_is_declared(self) -> None:
        classifier = make(backups=[backup(default={"joy": 0.45})], sarcasm=detector(), human_review=True)
        declared = get_type_hints(State).keys()
        given = {"texts": ["unsure", "😀", "sure"]}
        written: dict[str, set[str]] = {}
        for _ in range(2):  # the second run on a thread is given what the first one left
            question: Any = None
            while question is None or question:
                source = Command(resume={question[0]["decision_id"]: "joy"}) if question else given
                question = []
                for update in classifier.graph.stream(source, thread(), stream_mode="updates"):
                    for name, values in update.items():
                        if name == "__interrupt__":
                            question = values[0].value
                        else:
                            written.setdefault(name, set()).update(values)
        assert set(written) == {n for n in classifier.graph.get_graph().nodes if not n.startswith("__")}
        assert {key for keys in written.values() for key in keys} <= set(declared)

    def test_input_and_output(self) -> None:
        assert set(make().graph.get_input_jsonschema()["properties"]) == {"text", "texts"}
        assert set(make().graph.get_output_jsonschema()["properties"]) == {
            *("results", "final_label", "confidence", "source")
        }

    def test_a_topology_of_ones_own(self) -> None:
        seen: list[Any] = []
        graph = build_graph(make().nodes)
        graph.add_node("log", lambda state: seen.append(state["results"][0]["final_label"]))
        graph.add_edge("finalize", "log")
        assert graph.compile().invoke({"text": "sure"})["final_label"] == "joy"
        assert seen == ["joy"]


class TestContract:
    def test_the_graph_takes_a_text(self) -> None:
        output = make().graph.invoke({"text": "sure"})
        assert output.keys() == {"results", "final_label", "confidence", "source"}
        assert (output["final_label"], output["confidence"], output["source"]) == ("joy", pytest.approx(0.95), "model")

    def test_the_graph_takes_texts(self) -> None:
        output = make().graph.invoke({"texts": ["sure", "sure too"]})
        assert output.keys() == {"results"}
        assert [result["final_label"] for result in output["results"]] == ["joy", "anger"]

    @pytest.mark.parametrize("given", [{}, {"message": "sure"}])
    def test_the_graph_needs_a_text(self, given: Any) -> None:
        with pytest.raises((InputError, ValueError)):
            make().graph.invoke(given)

    def test_fields(self) -> None:
        result = make(sarcasm=detector(sure=0.3)).classify("sure")
        assert list(result.keys()) == [
            *("text", "final_label", "confidence", "source", "probabilities", "reasons"),
            *("sarcasm", "attempts", "decision_id", "model_version", "label_set", "unfamiliar"),
        ]
        assert result.text == "sure"
        assert sum(result.probabilities.values()) == pytest.approx(1)
        assert tuple(result.probabilities) == LABELS
        assert result.sarcasm == pytest.approx(0.3)
        assert result.model_version == "fake/1"
        (attempt,) = result.attempts
        assert (attempt.by, attempt.label, attempt.accepted, attempt.error) == ("model", "joy", True, None)
        assert attempt.ms >= 0

    def test_reads_like_a_mapping(self) -> None:
        result = make().classify("sure")
        assert result["final_label"] == result.final_label == result.get("final_label") == "joy"
        assert dict(**result)["confidence"] == result.confidence  # type: ignore[arg-type]
        assert "source" in result
        assert "nonsense" not in result
        assert result.get("nonsense", 3) == 3
        assert len(result) == len(list(result.keys()))
        with pytest.raises(KeyError, match="nonsense"):
            result["nonsense"]

    def test_is_frozen_and_goes_through_json(self) -> None:
        result = make().classify("sure")
        with pytest.raises(ValidationError):
            result.final_label = "anger"  # type: ignore[misc]
        assert Classification.model_validate_json(result.model_dump_json()) == result

    def test_the_text_comes_back_as_given(self) -> None:
        assert make().classify("  sure<br> 😀 ").text == "  sure<br> 😀 "

    def test_names(self) -> None:
        classifier = make()
        assert classifier.labels == LABELS
        assert classifier.model_version == "fake/1"

    def test_decision_ids_are_no_interrupt_ids(self) -> None:
        ids = [result.decision_id for result in make().classify_many(["sure"] * 20)]
        assert len(set(ids)) == 20
        # LangGraph takes 32 hexadecimal digits for an interrupt's id.
        assert not any(re.fullmatch("[0-9a-f]{32}", decision_id) for decision_id in ids)

    def test_signature(self) -> None:
        parameters = inspect.signature(create_classifier).parameters
        assert next(iter(parameters)) == "task"
        assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "task")
        assert {name: p.default for name, p in parameters.items() if p.default is not None} == {"certainty": 0.95}


class TestSources:
    """Each way to an answer, and that the confidence belongs to it."""

    def check(self, result: Classification, source: Source, label: str | None, confidence: float | None) -> None:
        assert (result.source, result.final_label) == (source, label)
        assert result.confidence == (None if confidence is None else pytest.approx(confidence))
        if label is not None:
            assert result.confidence == result.probabilities[label] == max(result.probabilities.values())
            (accepted,) = [attempt for attempt in result.attempts if attempt.accepted]
            assert (accepted.label, accepted.confidence) == (label, result.confidence)
        else:
            assert not any(attempt.accepted for attempt in result.attempts)

    def test_model(self) -> None:
        self.check(make(backups=[backup()]).classify("sure"), "model", "joy", 0.95)

    def test_model_although_doubted(self) -> None:
        result = make(backups=[backup(default={"joy": 0.35})]).classify("unsure")
        self.check(result, "model", "sadness", 0.4)
        assert result.reasons == ("low_confidence",)
        assert [(a.by, a.label) for a in result.attempts] == [("model", "sadness"), ("second", "joy")]

    def test_model_confirmed_by_a_backup(self) -> None:
        self.check(make(backups=[backup(default={"sadness": 0.8})]).classify("unsure"), "model", "sadness", 0.8)

    def test_emoji(self) -> None:
        model, irony = primary(), detector()
        result = make(primary=model, sarcasm=irony).classify("😭 :-(")
        assert result.final_label == "sadness"
        self.check(result, "emoji", "sadness", result.confidence)
        assert (result.reasons, result.sarcasm) == ((), None)
        assert model.calls == irony.calls == []

    def test_emoji_are_words_to_other_labels(self) -> None:
        fake = FakePredictor(("spam", "ham"), answers={"grinning face": "ham"})
        assert make(primary=fake).classify("😀").source == "model"

    def test_backup(self) -> None:
        result = make(backups=[backup()]).classify("unsure")
        self.check(result, "backup", "disgust", 0.9)
        assert [(a.by, a.accepted) for a in result.attempts] == [("model", False), ("second", True)]

    def test_memory(self) -> None:
        model = primary()
        classifier = make(primary=model)
        classifier.correct("sure", "surprise")
        result = classifier.classify("sure")
        self.check(result, "memory", "surprise", 1)
        assert model.calls == []

    def test_human_and_pending(self) -> None:
        classifier = make(human_review=True)
        pending = classifier.classify("unsure")
        self.check(pending, "pending", None, None)
        assert max(pending.probabilities, key=pending.probabilities.__getitem__) == "sadness"
        result = classifier.answer(pending.decision_id, "love")
        self.check(result, "human", "love", 1)
        assert result.decision_id == pending.decision_id

    def test_abstain(self) -> None:
        result = make(backups=[backup(default=None)]).classify("odd")
        self.check(result, "abstain", None, None)
        assert result.reasons == ("model_error",)
        assert [(a.by, a.error) for a in result.attempts] == [
            ("model", "could not answer"),
            ("second", "could not answer"),
        ]


class TestCheck:
    @pytest.mark.parametrize(("threshold", "doubted"), [(0.3, False), (0.4, False), (0.41, True), (1.0, True)])
    def test_threshold(self, threshold: float, doubted: bool) -> None:
        result = make(threshold=threshold).classify("unsure")
        assert result.reasons == (("low_confidence",) if doubted else ())

    def test_sarcasm_is_looked_for_however_sure_the_primary_is(self) -> None:
        irony, second = detector(sure=0.9), backup()
        classifier = make(sarcasm=irony, backups=[second])
        results = classifier.classify_many(["sure", "😀", "sure too", "unsure"])
        assert irony.calls == [["sure", "sure too", "unsure"]]
        assert [r.sarcasm for r in results] == [pytest.approx(0.9), None, pytest.approx(0.1), pytest.approx(0.1)]
        assert [r.reasons for r in results] == [("sarcasm",), (), (), ("low_confidence",)]
        assert second.calls == [["sure", "unsure"]]

    def test_sarcasm_threshold(self) -> None:
        assert make(sarcasm=detector(sure=0.9), sarcasm_threshold=0.95).classify("sure").reasons == ()

    @pytest.mark.parametrize("broken", [Says(OSError("down")), Says([[np.nan, np.nan]])])
    def test_a_failing_detector_leaves_the_answer(self, broken: Any) -> None:
        broken.labels = ("sarcastic", "not_sarcastic")
        result = make(sarcasm=broken).classify("sure")
        assert (result.final_label, result.sarcasm, result.reasons) == ("joy", None, ())

    def test_unreadable(self) -> None:
        model = primary(default={"joy": 0.98})
        result = make(primary=model, sarcasm=detector()).classify("今天真的很难过😀")
        assert "unreadable" in result.reasons
        assert result.sarcasm is None
        assert result.confidence == pytest.approx(1 / len(LABELS))  # all that is left is the prior

    def test_half_readable(self) -> None:
        result = make(primary=primary(default={"joy": 0.98})).classify("abc где")
        assert "unreadable" in result.reasons
        assert result.confidence == pytest.approx((0.98 + 1 / len(LABELS)) / 2)

    @pytest.mark.parametrize(
        ("failing", "error"),
        [
            (primary(fail="out of memory"), "PredictorError: out of memory"),
            (primary(default=None), "could not answer"),
            (Says(np.zeros((1, 3))), r"answered shape (1, 3), expected (1, 8)"),
        ],
    )
    def test_model_error(self, failing: Any, error: str) -> None:
        result = make(primary=failing, backups=[backup(default={"disgust": 0.2})]).classify("anything")
        assert result.reasons == ("model_error",)
        assert result.attempts[0].error == error
        assert (result.final_label, result.source) == ("disgust", "backup")

    def test_a_failing_row_does_not_spoil_the_others(self) -> None:
        sure, odd = make().classify_many(["sure", "odd"])
        assert (sure.final_label, odd.final_label, odd.source) == ("joy", None, "abstain")


def rows(*values: float) -> Callable[[Sequence[str]], Any]:
    return lambda texts: [list(values) for _ in texts]


class TestBackups:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (OSError("refused"), "OSError: refused"),
            (rows(*[np.nan] * 8), "could not answer"),
            (rows(*[np.inf] * 8), "could not answer"),
            (rows(0.5, 0.5), "answered shape (1, 2), expected (1, 8)"),
            (np.zeros((2, 8)), "answered shape (2, 8), expected (1, 8)"),
            (rows(2, -1, 0, 0, 0, 0, 0, 0), "not a probability distribution"),
            (rows(*[0.5] * 8), "not a probability distribution"),
            (None, "answered shape (), expected (1, 8)"),
            ([["a"] * 8], "answered no numbers: could not convert string to float: 'a'"),
        ],
    )
    def test_a_broken_one_leaves_the_primarys_answer(self, answer: Any, error: str) -> None:
        result = make(backups=[Says(answer)]).classify("unsure")
        assert (result.final_label, result.confidence, result.source) == ("sadness", pytest.approx(0.4), "model")
        assert [(a.by, a.error) for a in result.attempts] == [("model", None), ("says", error)]
        assert [a.accepted for a in result.attempts] == [True, False]

    def test_the_next_one_is_asked_after_a_broken_one(self) -> None:
        result = make(backups=[Says(OSError("refused")), backup()]).classify("unsure")
        assert (result.final_label, result.source) == ("disgust", "backup")
        assert [a.by for a in result.attempts] == ["model", "says", "second"]

    def test_a_hanging_one_is_left_behind(self, tmp_path: Path) -> None:
        config = tmp_path / "config.yaml"
        config.write_text("dag: {backup_timeout: 0.1}", encoding="utf-8")
        release = threading.Event()
        hanging = Says(lambda texts: release.wait(30))
        start = time.monotonic()
        result = make(backups=[hanging], config_path=config).classify("unsure")
        release.set()
        assert time.monotonic() - start < 10
        assert (result.final_label, result.source) == ("sadness", "model")
        assert result.attempts[1].error == "TimeoutError: no answer within 0.1 s"

    def test_only_doubted_rows_are_asked_about(self) -> None:
        second, third = backup(answers={"unsure": {"fear": 0.8}}, default={"joy": 0.48}), backup(name="third")
        results = make(backups=[second, third]).classify_many(["sure", "unsure", "😀", "unsure too", "sure too"])
        assert second.calls == [["unsure", "unsure too"]]
        assert third.calls == [["unsure too"]]  # the other one is settled
        assert [r.final_label for r in results] == ["joy", "fear", "joy", "disgust", "anger"]
        assert [r.source for r in results] == ["model", "backup", "emoji", "backup", "model"]

    def test_none_is_asked_where_nothing_is_doubted(self) -> None:
        second = backup()
        make(backups=[second]).classify_many(["sure", "😀"])
        assert second.calls == []

    def test_switched_off(self) -> None:
        second = backup()
        result = make(backups=[second], enable_backup=False).classify("unsure")
        assert (result.final_label, result.reasons, second.calls) == ("sadness", ("low_confidence",), [])

    def test_a_less_sure_one_does_not_override(self) -> None:
        assert make(backups=[backup(default={"disgust": 0.39})]).classify("unsure").final_label == "sadness"

    def test_same_names_are_told_apart(self) -> None:
        unsure = {"default": {"joy": 0.2}}
        result = make(backups=[backup(name="model", **unsure), backup(**unsure), backup(**unsure)]).classify("unsure")
        assert [a.by for a in result.attempts] == ["model", "model-2", "second", "second-2"]
        assert [a.accepted for a in result.attempts] == [True, False, False, False]

    def test_those_of_the_artefact_are_not_asked_what_the_primary_cannot_read(
        self, tmp_path: Path, make_tfidf: Any
    ) -> None:
        folder = make_tfidf(tmp_path / "1", {"red": "warm", "blue": "cold", "so so": "warm"})
        make_tfidf(folder / "backups" / "second", {"red": "warm", "blue": "cold"})
        readers = FakePredictor(("warm", "cold"), default="cold", name="reader")
        classifier = create_classifier(str(folder), backups=["second"], threshold=1)
        russian, english = classifier.classify_many(["красный", "red"])
        assert ([a.by for a in russian.attempts], [a.by for a in english.attempts]) == (["model"], ["model", "second"])
        assert russian.confidence == pytest.approx(0.5)
        # One of your own may read more languages.
        result = create_classifier(str(folder), backups=["second", readers], threshold=1).classify("красный")
        assert (result.final_label, result.source) == ("cold", "backup")

    def test_by_kind(self) -> None:
        spec = {"kind": "fake", "default": {"love": 0.9}, "name": "lover"}
        assert make(backups=[spec]).classify("unsure").attempts[1].by == "lover"

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("tfidf", "no backup 'tfidf' in this model; there are: none"),
            ({"model": "x"}, "a backup needs a 'kind'"),
            ({"kind": "gpt"}, "no predictor of kind 'gpt'"),
            (3, "a backup is a name, a dict with 'kind', or a predictor; got int"),
            (FakePredictor(("a", "b")), r"backup 'fake' answers \['a', 'b'\], the task has"),
        ],
    )
    def test_what_is_no_backup(self, spec: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            make(backups=[spec])


POOL = [
    "sure",
    "sure too",
    "unsure",
    "unsure too",
    "odd",
    "😀",
    "😭 :-(",
    "anything",
    "где",
    "https://example.org",
    "x",
]


def answer(result: Any) -> Any:
    """What must not depend on the company that a text comes in."""
    return (
        *(result.text, result.final_label, result.source, result.reasons, result.model_version),
        *((a.by, a.label, a.accepted, a.error) for a in result.attempts),
    )


class TestMany:
    mixed = make(backups=[backup(answers={"unsure": {"fear": 0.8}}, default=None)], sarcasm=detector(sure_too=0.9))

    @settings(max_examples=40)
    @given(st.lists(st.sampled_from(POOL), max_size=10))
    def test_the_same_as_one_by_one(self, texts: list[str]) -> None:
        together = self.mixed.classify_many(texts)
        alone = [self.mixed.classify(text) for text in texts]
        assert [answer(r) for r in together] == [answer(r) for r in alone]
        for one, other in zip(together, alone, strict=True):
            assert one.confidence == (None if other.confidence is None else pytest.approx(other.confidence, abs=1e-6))
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
            assert (one.sarcasm is None) == (other.sarcasm is None)

    def test_none_one_and_duplicates(self) -> None:
        assert self.mixed.classify_many([]) == []
        assert len(self.mixed.classify_many(["sure"])) == 1
        first, second = self.mixed.classify_many(["sure", "sure"])
        assert answer(first) == answer(second)
        assert first.decision_id != second.decision_id

    @pytest.mark.parametrize("texts", [("sure", "unsure"), {"sure": 1, "unsure": 2}.keys(), iter(["sure", "unsure"])])
    def test_any_iterable(self, texts: Any) -> None:
        assert [r.text for r in self.mixed.classify_many(texts)] == ["sure", "unsure"]

    def test_many_in_few_batches(self) -> None:
        model = primary()
        assert len(make(primary=model).classify_many([f"text {i}" for i in range(1000)])) == 1000
        assert len(model.calls) == 1

    @pytest.mark.parametrize("texts", ["one text", b"bytes"])
    def test_one_text_is_not_many(self, texts: Any) -> None:
        with pytest.raises(InputError, match="use classify"):
            self.mixed.classify_many(texts)

    def test_an_error_names_the_index(self) -> None:
        with pytest.raises(InputError, match="text at index 1: the text is empty") as caught:
            self.mixed.classify_many(["sure", " ", 3])  # type: ignore[list-item]
        assert caught.value.index == 1

    def test_the_graph_names_the_index(self) -> None:
        with pytest.raises(InputError, match="text at index 1: a text must be a str"):
            self.mixed.graph.invoke({"texts": ["sure", 3]})

    def test_errors_returned(self) -> None:
        found = self.mixed.classify_many(["", "sure", 3, "sure too"], errors="return")  # type: ignore[list-item]
        assert [type(f) for f in found] == [InputError, Classification, InputError, Classification]
        assert [f.index for f in found if isinstance(f, InputError)] == [0, 2]
        assert [f.final_label for f in found if isinstance(f, Classification)] == ["joy", "anger"]

    def test_only_errors(self) -> None:
        found = self.mixed.classify_many(["", " "], errors="return")
        assert all(isinstance(f, InputError) for f in found)
        assert len(found) == 2

    def test_errors_has_two_values(self) -> None:
        with pytest.raises(UsageError, match="'raise' or 'return', got 'skip'"):
            self.mixed.classify_many(["sure"], errors="skip")  # type: ignore[call-overload]

    @pytest.mark.parametrize("text", ["", None, 3, "x" * 100_001])
    def test_classify_refuses(self, text: Any) -> None:
        with pytest.raises(InputError) as caught:
            self.mixed.classify(text)
        assert caught.value.index is None
        with pytest.raises(InputError):
            asyncio.run(self.mixed.aclassify(text))
        with pytest.raises(InputError):
            next(self.mixed.stream(text))


class TestAsync:
    def test_the_same_answers(self) -> None:
        classifier = TestMany.mixed

        async def run() -> Any:
            one_by_one = await asyncio.gather(*(classifier.aclassify(text) for text in POOL))
            return one_by_one, await classifier.aclassify_many(POOL)

        one_by_one, together = asyncio.run(run())
        expected = [answer(result) for result in classifier.classify_many(POOL)]
        assert [answer(result) for result in one_by_one] == [answer(result) for result in together] == expected

    def test_the_loop_is_not_blocked(self) -> None:
        slow = make(primary=primary(delay=0.3))

        async def run() -> int:
            task, ticks = asyncio.create_task(slow.aclassify("sure")), 0
            while not task.done():
                await asyncio.sleep(0.01)
                ticks += 1
            return ticks

        assert asyncio.run(run()) > 5

    def test_errors(self) -> None:
        found = asyncio.run(TestMany.mixed.aclassify_many(["", "sure"], errors="return"))
        assert [type(f) for f in found] == [InputError, Classification]

    def test_pending(self) -> None:
        result = asyncio.run(make(human_review=True).aclassify("unsure"))
        assert result.source == "pending"

    def test_a_checkpointer_that_is_asynchronous_only(self) -> None:
        class AsyncOnly(InMemorySaver):
            def get_tuple(self, config: Any) -> Any:
                try:
                    asyncio.get_running_loop()
                except RuntimeError:  # called by its own asynchronous twin in a thread, or by a synchronous run
                    return super().get_tuple(config)
                raise RuntimeError("a synchronous call in the event loop")

            async def aget_tuple(self, config: Any) -> Any:
                return InMemorySaver.get_tuple(self, config)

        classifier = make(human_review=True, checkpointer=AsyncOnly())
        sure, unsure = asyncio.run(classifier.aclassify_many(["sure", "unsure"]))
        assert (sure.source, unsure.source) == ("model", "pending")


class TestReview:
    def test_partial_answers(self) -> None:
        model = primary()
        classifier = make(primary=model, human_review=True)
        sure, first, emoji, second = classifier.classify_many(["sure", "unsure", "😀", "unsure too"])
        assert [r.source for r in (sure, first, emoji, second)] == ["model", "pending", "emoji", "pending"]
        answered = classifier.answer(second.decision_id, "love")
        assert (answered.text, answered.final_label, answered.source) == ("unsure too", "love", "human")
        assert [(a.by, a.label) for a in answered.attempts] == [("model", "fear"), ("human", "love")]
        last = classifier.answer(first.decision_id, "anger")
        assert (last.text, last.final_label) == ("unsure", "anger")
        assert len(model.calls) == 1  # nothing is computed again

    def test_the_others_in_the_end(self) -> None:
        classifier = make(human_review=True)
        classifier.graph.invoke({"texts": ["sure", "unsure", "unsure too"]}, thread())
        waiting = classifier.graph.get_state(thread())
        assert waiting.next == ("review",)
        first, second = (question["decision_id"] for question in waiting.interrupts[0].value)
        output = classifier.graph.invoke(Command(resume={second: "love"}), thread())
        assert [question["decision_id"] for question in output["__interrupt__"][0].value] == [first]
        output = classifier.graph.invoke(Command(resume={first: "anger"}), thread())
        assert [r["final_label"] for r in output["results"]] == ["joy", "anger", "love"]
        assert [r["source"] for r in output["results"]] == ["model", "human", "human"]

    def test_all_at_once(self) -> None:
        classifier = make(human_review=True, checkpointer=InMemorySaver())
        output = classifier.graph.invoke({"texts": ["unsure", "unsure too"]}, thread())
        answers = {question["decision_id"]: "joy" for question in output["__interrupt__"][0].value}
        output = classifier.graph.invoke(Command(resume=answers), thread())
        assert [r["final_label"] for r in output["results"]] == ["joy", "joy"]

    def test_a_single_text_through_the_graph(self) -> None:
        classifier = make(human_review=True)
        output = classifier.graph.invoke({"text": "unsure"}, thread())
        (question,) = output["__interrupt__"][0].value
        output = classifier.graph.invoke(Command(resume={question["decision_id"]: "joy"}), thread())
        assert (output["final_label"], output["confidence"], output["source"]) == ("joy", 1.0, "human")

    def test_the_question(self) -> None:
        classifier = make(human_review=True, sarcasm=detector(unsure=0.9))
        output = classifier.graph.invoke({"text": "unsure"}, thread())
        (question,) = output["__interrupt__"][0].value
        assert question["text"] == "unsure"
        assert question["reasons"] == ["low_confidence", "sarcasm"]
        assert question["labels"] == list(LABELS)
        assert [t["label"] for t in question["top"]][:2] == ["sadness", "joy"]
        assert json.loads(json.dumps(question)) == question

    @pytest.mark.parametrize("nonsense", ["joy", 3, ["joy"], {"other": "joy"}])
    def test_nonsense_is_asked_again(self, nonsense: Any) -> None:
        classifier = make(human_review=True)
        output = classifier.graph.invoke({"text": "unsure"}, thread())
        again = classifier.graph.invoke(Command(resume=nonsense), thread())
        assert again["__interrupt__"][0].value == output["__interrupt__"][0].value

    def test_an_invalid_label_is_asked_again(self) -> None:
        classifier = make(human_review=True)
        pending = classifier.classify("unsure")
        run = thread(pending.decision_id.rpartition(".")[0])
        again = classifier.graph.invoke(Command(resume={pending.decision_id: "rage"}), run)
        assert again["__interrupt__"]
        with pytest.raises(UsageError, match="no label 'rage'; there are: joy, "):
            classifier.answer(pending.decision_id, "rage")
        assert classifier.answer(pending.decision_id, "joy").final_label == "joy"

    @pytest.mark.parametrize("decision_id", ["", "nonsense", "run-0.0", "run-0", "t.0"])
    def test_no_such_decision(self, decision_id: str) -> None:
        with pytest.raises(UsageError, match=f"no pending decision {decision_id!r}"):
            make(human_review=True).answer(decision_id, "joy")
        with pytest.raises(UsageError, match="no pending decision"):
            make().answer(decision_id, "joy")

    def test_answered_once(self) -> None:
        classifier = make(human_review=True)
        pending, other = classifier.classify_many(["unsure", "unsure too"])
        classifier.answer(pending.decision_id, "joy")
        with pytest.raises(UsageError, match="no pending decision"):
            classifier.answer(pending.decision_id, "love")
        classifier.answer(other.decision_id, "joy")
        with pytest.raises(UsageError, match="no pending decision"):
            classifier.answer(other.decision_id, "love")

    def test_a_backup_that_is_sure_spares_the_person(self) -> None:
        classifier = make(human_review=True, backups=[backup()])
        assert classifier.classify("unsure").source == "backup"

    def test_rows_that_nothing_could_answer(self) -> None:
        classifier = make(human_review=True)
        pending = classifier.classify("odd")
        assert (pending.source, pending.probabilities) == ("pending", {})
        assert classifier.answer(pending.decision_id, "fear").final_label == "fear"

    def test_another_process_answers(self) -> None:
        saver = InMemorySaver()
        asks, answers = (make(human_review=True, checkpointer=saver) for _ in range(2))
        assert answers.answer(asks.classify("unsure").decision_id, "love").final_label == "love"

    def test_answers_survive_a_reload(self) -> None:
        classifier = make(human_review=True)
        pending = classifier.classify("unsure")
        classifier.reload()
        assert classifier.answer(pending.decision_id, "love").final_label == "love"

    def test_without_review_nothing_waits(self) -> None:
        assert make().classify("unsure").source == "model"
        assert make(human_review=True).classify("sure").source == "model"


@pytest.mark.parametrize("human_review", [True, False])
def test_nothing_reads_stdin(human_review: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"sys.stdin.{name} was read")

    def ask(*args: object) -> str:
        raise AssertionError("input() was called")

    monkeypatch.setattr(builtins, "input", ask)
    monkeypatch.setattr(sys, "stdin", Closed())
    classifier = make(human_review=human_review, backups=[Says(OSError("down"))])
    classifier.classify_many(POOL)
    list(classifier.stream("unsure"))
    asyncio.run(classifier.aclassify("unsure"))


class TestMemory:
    @pytest.mark.parametrize("text", ["sure", "SURE", " sure\n", "<b>sure</b>"])
    def test_the_same_text(self, text: str) -> None:
        classifier = make()
        classifier.correct("Sure", "fear", by="ann")
        assert classifier.classify(text).source == "memory"
        assert classifier.classify("sure too").source == "model"

    def test_within_a_batch(self) -> None:
        model = primary()
        classifier = make(primary=model)
        classifier.correct("unsure", "fear")
        assert [r.source for r in classifier.classify_many(["sure", "unsure", "😀"])] == ["model", "memory", "emoji"]
        assert model.calls == [["sure"]]

    def test_emoji_can_be_corrected(self) -> None:
        classifier = make()
        classifier.correct("😀", "anger")
        assert classifier.classify("😀").final_label == "anger"

    def test_a_later_correction_wins(self) -> None:
        classifier = make()
        classifier.correct("sure", "fear")
        classifier.correct("sure", "love")
        assert classifier.classify("sure").final_label == "love"

    def test_a_store_of_ones_own(self) -> None:
        store = InMemoryStore()
        make(store=store).correct("sure", "fear", by="ann")
        assert make(store=store).classify("sure").final_label == "fear"
        assert make(store=store, task="mood").classify("sure").source == "model"
        (item,) = store.search(("healdag",))
        (vote,) = item.value["votes"]
        assert (vote["label"], vote["by"]) == ("fear", "ann")
        assert "sure" not in item.key  # texts are not kept

    def test_labels_of_an_earlier_model_are_passed_over(self) -> None:
        store = InMemoryStore()
        make(store=store).correct("sure", "fear")
        fake = FakePredictor(("spam", "ham"), default="ham")
        assert make(primary=fake, store=store).classify("sure").final_label == "ham"

    def test_survives_a_reload(self) -> None:
        classifier = make()
        classifier.correct("sure", "fear")
        classifier.reload()
        assert classifier.classify("sure").final_label == "fear"

    def test_what_cannot_be_corrected(self) -> None:
        with pytest.raises(UsageError, match="no label 'rage'"):
            make().correct("sure", "rage")
        with pytest.raises(InputError, match="empty"):
            make().correct(" ", "joy")


class TestThreads:
    """A checkpointed thread that is used again, as chat services do."""

    @pytest.mark.parametrize("second", ["sure", "😀", "unsure too"])
    def test_nothing_is_left_of_the_run_before(self, second: str) -> None:
        options = {"backups": [backup(answers={"unsure too": None})], "sarcasm": detector(unsure=0.9)}
        classifier = make(checkpointer=InMemorySaver(), **options)
        classifier.graph.invoke({"text": "unsure"}, thread())
        again = Classification.model_validate(classifier.graph.invoke({"text": second}, thread())["results"][0])
        fresh = make(**options).classify(second)
        assert answer(again) == answer(fresh)
        assert (again.confidence, again.sarcasm) == (fresh.confidence, fresh.sarcasm)

    def test_one_text_after_many_and_many_after_one(self) -> None:
        classifier = make(checkpointer=InMemorySaver(), backups=[backup()])
        classifier.graph.invoke({"text": "unsure"}, thread())
        output = classifier.graph.invoke({"texts": ["sure", "sure too", "unsure"]}, thread())
        assert [r["final_label"] for r in output["results"]] == ["joy", "anger", "disgust"]
        assert output.get("final_label") is None
        assert classifier.graph.invoke({"text": "sure"}, thread())["final_label"] == "joy"

    def test_answers_of_the_run_before(self) -> None:
        classifier = make(human_review=True)
        run = thread("run-mine")  # a name in the form of the classifier's own, so that decision ids come again
        output = classifier.graph.invoke({"text": "unsure"}, run)
        decision_id = output["__interrupt__"][0].value[0]["decision_id"]
        classifier.graph.invoke(Command(resume={decision_id: "love"}), run)
        assert classifier.graph.invoke({"text": "sure"}, run)["final_label"] == "joy"

    def test_calls_do_not_share_a_thread(self) -> None:
        classifier = make(checkpointer=InMemorySaver())
        first, second = classifier.classify("sure"), classifier.classify("sure")
        assert first.decision_id != second.decision_id


def walk(value: Any, place: str = "state") -> None:
    """Fails on anything that is not exactly a plain Python value."""
    assert type(value) in {str, int, float, bool, type(None), list, dict}, f"{place}: {type(value)}"
    if isinstance(value, dict):
        for key, inner in value.items():
            assert type(key) is str, place
            walk(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            walk(inner, f"{place}[{i}]")


@pytest.mark.parametrize("human_review", [True, False])
def test_the_state_holds_plain_values(human_review: bool) -> None:
    numbers = Says(lambda texts: np.full((len(texts), 8), 0.125, dtype=np.float32))
    classifier = make(
        human_review=human_review, checkpointer=InMemorySaver(), backups=[numbers], sarcasm=detector(sure=0.9)
    )
    classifier.correct("known", "joy")
    classifier.graph.invoke({"texts": [*POOL, "known"]}, thread())
    for snapshot in classifier.graph.get_state_history(thread()):
        values = snapshot.values
        walk(values)
        assert json.loads(json.dumps(values)) == values
        serializer = JsonPlusSerializer(pickle_fallback=False)
        assert serializer.loads_typed(serializer.dumps_typed(values)) == values
        walk([interrupt.value for interrupt in snapshot.interrupts])


class Parent(TypedDict, total=False):
    text: str
    message: str
    other: int
    final_label: str | None
    confidence: float | None
    source: str | None
    mood_final_label: str | None
    mood_confidence: float | None
    mood_source: str | None


def parent_of(node: Any, **compile_options: Any) -> Any:
    graph = StateGraph(Parent)
    graph.add_node("healdag", node)
    graph.add_edge(START, "healdag")
    graph.add_edge("healdag", END)
    return graph.compile(**compile_options)


class TestInAnotherGraph:
    @pytest.mark.parametrize("saver", [None, InMemorySaver()])
    @pytest.mark.parametrize("how", ["as_node", "graph"])
    def test_writes_three_keys(self, how: str, saver: Any) -> None:
        classifier = make(backups=[backup()])
        parent = parent_of(classifier.as_node() if how == "as_node" else classifier.graph, checkpointer=saver)
        for text, label in [("unsure", "disgust"), ("sure", "joy")]:
            output = parent.invoke({"text": text, "other": 7}, thread(how))
            assert output.keys() == {"text", "other", "final_label", "confidence", "source"}
            assert (output["text"], output["other"], output["final_label"]) == (text, 7, label)

    def test_async(self) -> None:
        output = asyncio.run(parent_of(make().as_node()).ainvoke({"text": "sure"}))
        assert output["final_label"] == "joy"

    def test_other_keys(self) -> None:
        parent = parent_of(make().as_node("message", prefix="mood_"))
        output = parent.invoke({"message": "sure", "final_label": "kept"})
        assert output["final_label"] == "kept"
        assert (output["mood_final_label"], output["mood_source"]) == ("joy", "model")

    def test_follows_a_reload(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tfidf: Any) -> None:
        folder = make_tfidf(tmp_path / "mood" / "1", {"red": "warm", "blue": "cold"})
        (tmp_path / "mood" / "current").write_text("1", encoding="utf-8")
        monkeypatch.setenv("HEALDAG_MODELS", str(tmp_path))
        classifier = create_classifier("mood")
        parent = parent_of(classifier.as_node())
        assert parent.invoke({"text": "red"})["final_label"] == "warm"
        make_tfidf(folder.parent / "2", {"red": "cold", "blue": "warm"})
        (tmp_path / "mood" / "current").write_text("2", encoding="utf-8")
        classifier.reload()
        assert parent.invoke({"text": "red"})["final_label"] == "cold"

    def test_a_subgraph_pauses_its_parent(self) -> None:
        parent = parent_of(make(human_review=True).graph, checkpointer=InMemorySaver())
        output = parent.invoke({"text": "unsure", "other": 7}, thread())
        (question,) = output["__interrupt__"][0].value
        output = parent.invoke(Command(resume={question["decision_id"]: "love"}), thread())
        assert (output["final_label"], output["source"], output["other"]) == ("love", "human", 7)

    def test_a_node_does_not_pause_its_parent(self) -> None:
        parent = parent_of(make(human_review=True).as_node(), checkpointer=InMemorySaver())
        output = parent.invoke({"text": "unsure"}, thread())
        assert (output["final_label"], output["confidence"], output["source"]) == (None, None, "pending")

    def test_runs_side_by_side_in_one_parent(self) -> None:
        class Two(TypedDict, total=False):
            text: str
            a_final_label: str
            a_confidence: float
            a_source: str
            b_final_label: str
            b_confidence: float
            b_source: str

        graph = StateGraph(Two)
        for prefix, fake in [("a_", primary()), ("b_", backup())]:
            graph.add_node(f"{prefix}node", make(primary=fake).as_node(prefix=prefix))
            graph.add_edge(START, f"{prefix}node")
        output = graph.compile().invoke({"text": "sure"})
        assert (output["a_final_label"], output["b_final_label"]) == ("joy", "disgust")


class TestTool:
    def test_sync_and_async(self) -> None:
        tool = make(sarcasm=detector(sure=0.9)).as_tool()
        found = tool.invoke({"text": "sure"})
        expected = {"final_label": "joy", "confidence": pytest.approx(0.95), "source": "model", "reasons": ["sarcasm"]}
        assert found == expected
        assert asyncio.run(tool.ainvoke({"text": "sure"})) == found
        json.dumps(found)

    def test_what_a_model_is_told(self) -> None:
        tool = make().as_tool()
        assert tool.name == "classify_emotion"
        assert all(label in tool.description for label in LABELS)
        assert list(tool.args) == ["text"]
        named = make().as_tool("mood", "Says the mood.")
        assert (named.name, named.description) == ("mood", "Says the mood.")

    def test_in_a_tool_node(self) -> None:
        graph = StateGraph(MessagesState)
        graph.add_node("tools", ToolNode([make().as_tool()]))
        graph.add_edge(START, "tools")
        call = {"name": "classify_emotion", "args": {"text": "sure too"}, "id": "1", "type": "tool_call"}
        output = graph.compile().invoke({"messages": [AIMessage("", tool_calls=[call])]})
        assert json.loads(output["messages"][-1].content)["final_label"] == "anger"


class TestConcurrency:
    def test_sixteen_threads_give_the_same_answers(self) -> None:
        classifier = TestMany.mixed
        expected = [answer(r) for r in classifier.classify_many(POOL)]
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: [answer(r) for r in classifier.classify_many(POOL)], range(48)))
        assert all(f == expected for f in found)

    def test_with_a_checkpointer(self) -> None:
        classifier = make(human_review=True)
        with ThreadPoolExecutor(16) as pool:
            pending = list(pool.map(classifier.classify, ["unsure"] * 32))
            labels = [LABELS[i % 8] for i in range(32)]
            found = list(pool.map(lambda p, label: classifier.answer(p.decision_id, label), pending, labels))
        assert [f.final_label for f in found] == labels

    def test_runs_in_flight_finish_on_the_old_model(self) -> None:
        started, release = threading.Event(), threading.Event()

        def wait(texts: Sequence[str]) -> Any:
            started.set()
            release.wait(30)
            return np.eye(8)[[0] * len(texts)]

        classifier = make(primary=Says(wait))
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(classifier.classify, "sure")
            started.wait(30)
            classifier.reload()
            release.set()
            assert running.result(30).final_label == LABELS[0]


def test_stream_shows_each_node_once_with_what_it_wrote() -> None:
    updates = list(make(backups=[backup()]).stream("unsure"))
    assert all(len(update) == 1 for update in updates)
    written = {name: values for update in updates for name, values in update.items()}
    assert written["check"] == {"reasons": [["low_confidence"]]}
    assert written["finalize"]["final_label"] == "disgust"


def test_a_decision_threshold_answers_the_first_label_from_it_on() -> None:
    from healdag.nodes import Decider, Finalize

    finalize = Finalize(Decider(("sarcastic", "not_sarcastic"), thresholds=(0.3, 0.7)), "sarcasm/1")
    # The confidence stays the label's own probability, also where that is below one half.
    assert finalize.decider.name([0.4, 0.6]) == ("sarcastic", 0.4)
    assert finalize.decider.name([0.2, 0.8]) == ("not_sarcastic", 0.8)


def test_a_backup_need_not_be_surer_than_a_joy_that_is_probably_ironic() -> None:
    primary = FakePredictor(LABELS, default={"joy": 0.96})
    backup = FakePredictor(LABELS, default={"anger": 0.7})
    detector = FakePredictor(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.9})
    assert (
        create_classifier(primary=primary, backups=[backup], sarcasm=detector).classify("great").final_label == "anger"
    )
    assert create_classifier(primary=primary, backups=[backup], threshold=1.0).classify("great").final_label == "joy"


def test_the_shipped_models_answers_do_not_depend_on_the_batch(classifier: Any) -> None:
    texts = (Path(__file__).parents[1] / "examples" / "texts.txt").read_text(encoding="utf-8").splitlines()
    many = classifier.classify_many(texts)
    for text, batched in zip(texts, many, strict=True):
        single = classifier.classify(text)
        assert (single.final_label, single.source, single.reasons) == (
            batched.final_label,
            batched.source,
            batched.reasons,
        )
        assert single.confidence == pytest.approx(batched.confidence, abs=2e-3)
        assert single.sarcasm == pytest.approx(batched.sarcasm, abs=2e-4)
    same = sum(a.probabilities == classifier.classify(t).probabilities for t, a in zip(texts, many, strict=True))
    assert same >= 0.9 * len(texts)


def test_sixteen_threads_on_the_shipped_model(classifier: Any) -> None:
    texts = ["so happy", "this is awful", "❤️", "oh great, rain again", "a longer text " * 30, "what?!"] * 8
    expected = [(r.final_label, r.source) for r in map(classifier.classify, texts[:6])] * 8
    with ThreadPoolExecutor(16) as pool:
        assert [(r.final_label, r.source) for r in pool.map(classifier.classify, texts)] == expected


def test_an_error_budget_is_refused_without_a_certificate(tmp_path: Path, make_tfidf: Any) -> None:
    folder = make_tfidf(tmp_path / "mood" / "1.0.0", {"lovely": "joy", "awful": "anger"})
    with pytest.raises(ArtifactError, match=r"max_error=0\.05 needs a certificate.*healdag certify"):
        create_classifier(str(folder), max_error=0.05)
