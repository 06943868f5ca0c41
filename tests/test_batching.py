"""Calls that come at the same time share runs, and nothing of each other's answers; the graph in one step."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from langgraph.graph import END, START, StateGraph

from healdag import Classifier, create_classifier
from healdag.errors import InputError
from healdag.graph import build_graph
from healdag.graph.batching import Batcher
from healdag.graph.one_step import in_one_step
from healdag.predictors.emoji import lexicon_labels
from healdag.predictors.fake import FakePredictor
from healdag.store import read_decisions

LABELS = lexicon_labels()
ANSWERS: dict[str, Any] = {"sure": {"joy": 0.95}, "sure too": {"anger": 0.9}, "unsure": {"sadness": 0.4}, "odd": None}
TEXTS = ["sure", "sure too", "unsure", "odd", "😀", "anything"]
LONG = 30  # seconds that no test needs


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Runs:
    """Answers a text with itself in capitals; the first run waits for ``release``, if it is to."""

    def __init__(self, *, held: bool = True) -> None:
        self.batches: list[list[str]] = []
        self.threads: list[str] = []
        self.release = threading.Event()
        if not held:
            self.release.set()

    def __call__(self, texts: list[str]) -> list[str]:
        self.batches.append(texts)
        self.threads.append(threading.current_thread().name)
        if len(self.batches) == 1:
            assert self.release.wait(LONG)
        if "bad" in texts:
            raise ValueError(f"bad among {len(texts)}")
        return [text.upper() for text in texts]


class Crowd:
    """One call under way, which holds the others up until the block ends."""

    def __init__(self, runs: Runs, **options: Any) -> None:
        self.runs = runs
        self.batcher: Batcher[str] = Batcher(runs, **{"patience": LONG, **options})
        self.pool = ThreadPoolExecutor(40)

    def __enter__(self) -> Crowd:
        self.first = self.pool.submit(self.batcher.call, "first")
        until(lambda: self.runs.batches)
        return self

    def join(self, *texts: str) -> list[Future[str]]:
        """Calls that wait, one after the other."""
        calls = []
        for text in texts:
            before = len(self.batcher._waiting)
            calls.append(self.pool.submit(self.batcher.call, text))
            until(lambda before=before: len(self.batcher._waiting) > before)
        return calls

    def __exit__(self, *_: object) -> None:
        self.runs.release.set()
        assert self.first.result(LONG) == "FIRST"
        self.pool.shutdown()


class TestBatcher:
    def test_a_lone_call_runs_where_it_is(self) -> None:
        runs = Runs(held=False)
        batcher = Batcher(runs, patience=LONG)
        assert [batcher.call(text) for text in ("a", "b")] == ["A", "B"]
        assert runs.batches == [["a"], ["b"]]
        assert set(runs.threads) == {threading.current_thread().name}

    def test_who_comes_meanwhile_goes_together(self) -> None:
        with Crowd(runs := Runs()) as crowd:
            calls = crowd.join("a", "b", "c")
        assert [call.result() for call in calls] == ["A", "B", "C"]
        assert runs.batches == [["first"], ["a", "b", "c"]]

    @pytest.mark.parametrize(
        ("options", "batches"),
        [
            ({"max_texts": 2}, [["a", "bb"], ["ccc", "d"]]),
            ({"max_chars": 3}, [["a", "bb"], ["ccc"], ["d"]]),
            ({"max_chars": 1}, [["a"], ["bb"], ["ccc"], ["d"]]),
        ],
    )
    def test_a_batch_has_a_largest_size(self, options: Any, batches: list[list[str]]) -> None:
        with Crowd(runs := Runs(), **options) as crowd:
            calls = crowd.join("a", "bb", "ccc", "d")
        assert [call.result() for call in calls] == ["A", "BB", "CCC", "D"]
        assert runs.batches[1:] == batches

    def test_an_exception_reaches_its_caller_alone(self) -> None:
        with Crowd(runs := Runs()) as crowd:
            good, bad, other = crowd.join("a", "bad", "b")
        assert (good.result(), other.result()) == ("A", "B")
        with pytest.raises(ValueError, match="bad among 1"):
            bad.result()
        assert runs.batches[1:] == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]

    def test_an_exception_of_a_lone_call_leaves_the_next_one(self) -> None:
        batcher = Batcher(Runs(held=False))
        with pytest.raises(ValueError, match="bad among 1"):
            batcher.call("bad")
        assert batcher.call("a") == "A"
        with pytest.raises(ValueError, match="bad among 1"):
            asyncio.run(batcher.acall("bad"))
        assert asyncio.run(batcher.acall("a")) == "A"

    def test_too_few_results_are_an_error_of_the_callers(self) -> None:
        batcher: Batcher[str] = Batcher(lambda texts: [])
        with pytest.raises(ValueError, match="shorter"):
            asyncio.run(batcher.acall("a"))
        assert batcher._running == 0

    def test_coroutines_of_several_loops_and_threads(self) -> None:
        runs = Runs(held=False)
        batcher = Batcher(runs, patience=LONG)

        async def many(name: str) -> list[str]:
            return list(await asyncio.gather(*(batcher.acall(f"{name}{i}") for i in range(30))))

        def loop(name: str) -> list[str]:
            return asyncio.run(many(name))

        def thread(name: str) -> list[str]:
            return [batcher.call(f"{name}{i}") for i in range(30)]

        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda job: job[0](job[1]), [(loop, "a"), (thread, "b")] * 3))
        assert found == [[f"{name}{i}" for i in range(30)] for name in "AB" * 3]
        until(lambda: batcher._running == 0)
        assert sorted(text for batch in runs.batches for text in batch) == sorted(
            text.lower() for texts in found for text in texts
        )

    def test_the_loop_is_not_blocked(self) -> None:
        runs = Runs()
        batcher = Batcher(runs, patience=LONG)

        async def run() -> str:
            task = asyncio.create_task(batcher.acall("a"))
            while not runs.batches:
                await asyncio.sleep(0.001)
            runs.release.set()
            return await task

        assert asyncio.run(run()) == "A"

    def test_a_cancelled_call_is_not_run_and_leaves_the_others(self) -> None:
        runs = Runs()
        batcher = Batcher(runs, patience=LONG)

        async def run() -> list[Any]:
            tasks = [asyncio.create_task(batcher.acall(text)) for text in ("first", "a", "b")]
            while len(batcher._waiting) < 2 or not runs.batches:
                await asyncio.sleep(0.001)
            tasks[1].cancel()
            await asyncio.wait(tasks[1:2])
            runs.release.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        first, cancelled, other = asyncio.run(run())
        assert (first, other) == ("FIRST", "B")
        assert isinstance(cancelled, asyncio.CancelledError)
        assert runs.batches == [["first"], ["b"]]

    def test_a_call_that_is_cancelled_while_it_runs_leaves_the_others(self) -> None:
        with Crowd(runs := Runs()) as crowd:
            calls: list[Future[str]] = []

            async def run() -> None:
                task = asyncio.create_task(crowd.batcher.acall("a"))
                while not crowd.batcher._waiting:
                    await asyncio.sleep(0.001)
                calls.extend(crowd.join("b"))
                held = crowd.batcher._waiting[0].future
                crowd.runs.release.set()
                while not held.running() and not held.done():
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])

            asyncio.run(run())
        assert calls[0].result(LONG) == "B"
        assert runs.batches == [["first"], ["a", "b"]]

    def test_a_batch_that_is_stuck_holds_up_nobody_for_long(self) -> None:
        with Crowd(Runs(), patience=0.05) as crowd:
            (call,) = crowd.join("a")
            assert call.result(LONG) == "A"  # the first one is still under way
            assert not crowd.first.done()
            assert asyncio.run(crowd.batcher.acall("b")) == "B"

    def test_the_child_of_a_fork_starts_afresh(self) -> None:
        code = """
import os, threading, warnings
from healdag.graph.batching import Batcher
warnings.simplefilter("ignore")
release, started = threading.Event(), threading.Event()
def run(texts):
    if texts == ["first"]:
        started.set()
        release.wait(30)
    return texts
batcher = Batcher(run)
thread = threading.Thread(target=batcher.call, args=("first",))
thread.start()
started.wait(30)
child = os.fork()
if not child:
    os._exit(0 if batcher.call("a") == "a" and not batcher._running else 1)
status = os.waitpid(child, 0)[1]
release.set()
thread.join()
print(os.waitstatus_to_exitcode(status))
"""
        if not hasattr(os, "fork"):
            pytest.skip("no fork here")
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert found.stdout.strip() == "0"


class Held(FakePredictor):
    """Its first call waits for ``release``, if it is to; raises where a text is the ``poison``."""

    def __init__(self, *, poison: str = "poison", held: bool = True, **options: Any) -> None:
        super().__init__(LABELS, **{"answers": ANSWERS, "default": {"neutral": 0.8}, "name": "model", **options})
        self.started, self.release = threading.Event(), threading.Event()
        self.poison = poison
        if not held:
            self.started.set()

    def predict_proba(self, texts: Sequence[str]) -> Any:
        rows = super().predict_proba(texts)
        if not self.started.is_set():
            self.started.set()
            assert self.release.wait(LONG)
        if self.poison in texts:
            raise RuntimeError("poisoned")
        return rows


def together(classifier: Classifier, model: Held, texts: list[str], before_release: Callable[[], Any] = int) -> Any:
    """Results of calls that all wait for a first one, some by threads, some by coroutines."""

    def call(i: int, text: str) -> Any:
        return asyncio.run(classifier.aclassify(text)) if i % 2 else classifier.classify(text)

    assert classifier._batcher is not None
    classifier._batcher._patience = LONG  # on a busy machine it takes a while until all of them wait
    with ThreadPoolExecutor(len(texts) + 1) as pool:
        first = pool.submit(classifier.classify, "first")
        assert model.started.wait(LONG)
        calls = [pool.submit(call, i, text) for i, text in enumerate(texts)]
        until(lambda: len(classifier._batcher._waiting) == len(texts))  # type: ignore[union-attr]
        before_release()
        model.release.set()
        assert first.result(LONG).final_label == "neutral"
        return [call.result(LONG) for call in calls]


def answer(result: Any) -> Any:
    return result.text, result.final_label, result.confidence, result.source, result.reasons


class TestClassifier:
    def test_the_same_answers_in_few_runs(self) -> None:
        model = Held()
        found = together(create_classifier(primary=model), model, TEXTS * 4)
        alone = create_classifier(primary=FakePredictor(LABELS, answers=ANSWERS, default={"neutral": 0.8}))
        assert [answer(result) for result in found] == [answer(alone.classify(text)) for text in TEXTS * 4]
        assert len({result.decision_id for result in found}) == len(found)
        assert len(model.calls) == 2

    def test_a_text_that_a_predictor_fails_on_costs_the_others_nothing(self) -> None:
        model = Held()
        poisoned, *others = together(create_classifier(primary=model), model, ["poison", "sure", "sure too"])
        assert (poisoned.source, poisoned.reasons) == ("abstain", ("model_error",))
        assert [(result.final_label, result.source) for result in others] == [("joy", "model"), ("anger", "model")]

    def test_a_predictor_that_is_down_is_not_asked_for_every_text(self) -> None:
        model = Held()
        found = together(create_classifier(primary=model), model, ["poison"] * 40)
        assert [result.source for result in found] == ["abstain"] * 40
        assert sum(len(call) == 1 for call in model.calls) == 4  # the first call, and three of the batch's texts alone

    def test_a_backups_failure_is_looked_into_as_well(self) -> None:
        model, second = Held(), Held(poison="odd", held=False, default={"fear": 0.9}, name="second", answers=None)
        odd, unsure = together(create_classifier(primary=model, backups=[second]), model, ["odd", "unsure"])
        assert (odd.source, unsure.source, unsure.final_label) == ("abstain", "backup", "fear")

    def test_each_decision_is_logged_once(self, tmp_path: Path) -> None:
        model = Held()
        classifier = create_classifier(primary=model, log=tmp_path / "log.jsonl")
        found = together(classifier, model, [*TEXTS, "poison"])
        classifier.classify("sure")
        logged = [(decision.id, decision.label) for decision in read_decisions(tmp_path / "log.jsonl")]
        assert len(logged) == len(TEXTS) + 3
        assert {(result.decision_id, result.final_label) for result in found} < set(logged)
        assert len(set(logged)) == len(logged)

    def test_a_reload_drops_no_call(self) -> None:
        model = Held()
        classifier = create_classifier(primary=model)
        found = together(classifier, model, TEXTS, classifier.reload)
        assert [result.text for result in found] == TEXTS

    def test_what_cannot_be_classified_joins_no_run(self) -> None:
        classifier = create_classifier(primary=FakePredictor(LABELS))
        for wrong in ("", " ", None):
            with pytest.raises(InputError):
                classifier.classify(wrong)  # type: ignore[arg-type]
            with pytest.raises(InputError):
                asyncio.run(classifier.aclassify(wrong))  # type: ignore[arg-type]

    def test_a_run_that_may_wait_for_a_person_is_one_callers(self) -> None:
        classifier = create_classifier(primary=FakePredictor(LABELS, answers=ANSWERS), human_review=True)
        with ThreadPoolExecutor(16) as pool:
            pending = list(pool.map(classifier.classify, ["unsure"] * 16))
            assert len({result.decision_id.rpartition(".")[0] for result in pending}) == 16
            found = list(pool.map(lambda result: classifier.answer(result.decision_id, "love"), pending))
        assert {result.source for result in found} == {"human"}

    def test_switched_off(self) -> None:
        model = Held(held=False)
        classifier = create_classifier(primary=model, batching=False)
        with ThreadPoolExecutor(8) as pool:
            assert [r.text for r in pool.map(classifier.classify, TEXTS * 4)] == TEXTS * 4
        assert {len(call) for call in model.calls} == {1}

    def test_on_the_shipped_model(self, classifier: Any) -> None:
        texts = ["so happy", "this is awful", "❤️", "oh great, rain again", "a longer text " * 30, "what?!"] * 3
        expected = [classifier.classify(text) for text in texts]

        async def run() -> Any:
            return await asyncio.gather(*(classifier.aclassify(text) for text in texts))

        for one, other in zip(asyncio.run(run()), expected, strict=True):
            assert (one.final_label, one.source, one.reasons) == (other.final_label, other.source, other.reasons)
            assert one.confidence == pytest.approx(other.confidence, abs=2e-3)


class Watcher(BaseCallbackHandler):
    """Keeps the names of the runs that it is told of."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_chain_start(self, *_: Any, name: str = "", **__: Any) -> None:
        self.names.append(name)


class TestOneStep:
    mixed = create_classifier(
        primary=FakePredictor(LABELS, answers=ANSWERS, default={"neutral": 0.8}),
        backups=[FakePredictor(LABELS, answers={"unsure": {"fear": 0.8}}, default=None, name="second")],
        sarcasm=FakePredictor(("sarcastic", "not_sarcastic"), answers={"sure": {"sarcastic": 0.9}}, default=None),
    )

    def test_gives_what_the_graph_gives(self) -> None:
        whole = in_one_step(build_graph(self.mixed.nodes))
        assert whole is not None
        compiled = whole.compile()
        self.mixed.correct("known", "love")
        for given in ({"text": "unsure"}, {"text": "😀"}, {"text": "known"}, {"texts": [*TEXTS, "known"]}):
            one, other = compiled.invoke(given), self.mixed.graph.invoke(given)
            assert one.keys() == other.keys()
            for row, expected in zip(one["results"], other["results"], strict=True):
                for result in (row, expected):
                    del result["decision_id"]
                    for attempt in result["attempts"]:
                        del attempt["ms"]
            assert one == other
        assert asyncio.run(compiled.ainvoke({"text": "sure"}))["final_label"] == "joy"

    def test_the_input_is_checked(self) -> None:
        with pytest.raises(InputError, match="empty"):
            self.mixed._engine.one_step.invoke({"text": ""})  # type: ignore[union-attr]

    def test_a_graph_with_more_nodes(self) -> None:
        seen: list[Any] = []
        graph = build_graph(self.mixed.nodes)
        graph.add_node("more", lambda state: seen.append(state["results"][0]["final_label"]))
        graph.edges.remove(("finalize", END))
        graph.add_edge("finalize", "more")
        graph.add_edge("more", END)
        whole = in_one_step(graph)
        assert whole is not None
        assert whole.compile().invoke({"text": "sure"})["final_label"] == "joy"
        assert seen == ["joy"]

    def test_not_where_two_nodes_follow(self) -> None:
        graph = build_graph(self.mixed.nodes)
        graph.add_node("more", lambda state: {})
        graph.add_edge("finalize", "more")
        graph.add_edge("more", END)
        assert in_one_step(graph) is None

    def test_who_looks_on_sees_each_node(self) -> None:
        watching: ContextVar[Any] = ContextVar("watching", default=None)
        register_configure_hook(watching, inheritable=True)
        watcher = Watcher()
        watching.set(watcher)
        try:
            assert self.mixed.classify("sure").final_label == "joy"
            assert {"preprocess", "classify", "finalize"} <= set(watcher.names)
            watcher.names.clear()
            asyncio.run(self.mixed.aclassify("sure"))
            assert {"preprocess", "classify", "finalize"} <= set(watcher.names)
        finally:
            watching.set(None)

    def test_a_parent_graph_sees_each_node(self) -> None:
        class Parent(TypedDict, total=False):
            text: str
            final_label: str

        graph = StateGraph(Parent)
        graph.add_node("mood", self.mixed.as_node())
        graph.add_edge(START, "mood")
        graph.add_edge("mood", END)
        updates = list(graph.compile().stream({"text": "sure"}, stream_mode="updates", subgraphs=True))
        assert {"classify", "finalize"} <= {name for place, update in updates if place for name in update}

    def test_not_where_a_run_may_pause(self) -> None:
        assert create_classifier(primary=FakePredictor(LABELS), human_review=True)._engine.one_step is None


def test_probabilities_do_not_mix() -> None:
    """Every caller gets the row of its own text, whatever the batches."""
    labels = tuple(f"label {i}" for i in range(64))
    model = FakePredictor(labels, answers={f"text {i}": {f"label {i}": 0.9} for i in range(64)}, delay=0.002)
    classifier = create_classifier(primary=model)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(classifier.classify, [f"text {i}" for i in range(64)] * 4))
    assert [result.final_label for result in found] == list(labels) * 4
    assert np.mean([len(call) for call in model.calls]) > 1
