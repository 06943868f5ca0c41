"""The object that users hold: a compiled graph with plain methods in front."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, overload

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, ensure_config
from langchain_core.runnables.config import get_callback_manager_for_config
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from ..artifacts import file_marks, pointer_marks
from ..errors import InputError, StoreError, UsageError
from ..nodes import BY_CALLER, RUN_PREFIX, Decider
from ..nodes.records import Label
from ..schema import Classification, Question
from ..text import check_text
from .batching import Batcher
from .build import Nodes
from .explain import explain
from .gain import Order, arrange, check_order
from .learning import Case, Learned, find_case, learn
from .many import CHUNK, check_many, chunks, deliver, parts, sift, weave
from .unqueued import run_unqueued
from .waiting import Run, aforget, find_run, forget, hold, thread_config, waiting_runs

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from ..store import FeedbackEvent, FeedbackStore

ANSWER_KEYS = ("final_label", "confidence", "source")
INTERRUPT = "__interrupt__"
"""LangGraph's key in the output of a run that paused."""

log = logging.getLogger("healdag")


@dataclass(frozen=True)
class Engine:
    """One compiled graph with its nodes; replaced as a whole, so that runs in flight keep theirs.

    Attributes:
        graph: The graph, one step per node.
        one_step: The same way in one step, see :func:`healdag.graph.one_step.in_one_step`; None where a run may pause.
    """

    graph: CompiledStateGraph[Any, Any, Any, Any]
    nodes: Nodes
    task: str
    one_step: CompiledStateGraph[Any, Any, Any, Any] | None = None

    def runner(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The graph to run: the short one, unless someone looks on who is to see each node."""
        return self.graph if self.one_step is None or _watched() else self.one_step


class Classifier:
    """Classifies texts; made by :func:`healdag.create_classifier`. Safe to share between threads.

    Args:
        build: Loads the models and compiles the graph.
        start: The same for the first time, which may make do with less; by default ``build``.
        batching: Whether calls of :meth:`classify` and :meth:`aclassify` that come at the same time share a run.
        learned: What people have said, which outlives the models; by default it is kept in memory.
    """

    def __init__(
        self,
        build: Callable[[], Engine],
        *,
        start: Callable[[], Engine] | None = None,
        batching: bool = True,
        learned: Learned | None = None,
    ) -> None:
        self._build = build
        self._learned = learned if learned is not None else Learned.in_memory()
        self._reloading = threading.Lock()
        self._queue_fails = False
        self._load(start)
        self._batcher = Batcher(self._run_together) if batching else None

    @property
    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The compiled LangGraph graph: takes ``{"text": str}``, gives final_label, confidence and source."""
        return self._engine.graph

    @property
    def nodes(self) -> Nodes:
        """The graph's nodes, for a graph of your own: ``build_graph(classifier.nodes)`` is the topology to add to."""
        return self._engine.nodes

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that can be answered."""
        return self._engine.nodes.finalize.decider.labels

    @property
    def multi_label(self) -> bool:
        """Whether an answer is a list of labels: those that apply, or [] for none."""
        return self._engine.nodes.finalize.decider.multi_label

    @property
    def model_version(self) -> str:
        """Task and version of the artefact, for example 'emotion/1.0.0'."""
        return self._engine.nodes.finalize.model_version

    def explain_policy(self) -> str:
        """When an answer is doubted, what each backup may do and why, and which budget is kept; in words."""
        return explain(self._engine.nodes, self.model_version)

    def classify(self, text: str) -> Classification:
        """Classifies one text.

        Raises:
            InputError: not a string, empty, or longer than the configured limit.
        """
        engine = self._engine
        check_text(text, max_chars=engine.nodes.preprocess.max_chars)
        batcher = self._shared(engine)
        return self._run(engine, [text])[0] if batcher is None else batcher.call(text)

    async def aclassify(self, text: str) -> Classification:
        """Like :meth:`classify`, without blocking the event loop."""
        engine = self._engine
        check_text(text, max_chars=engine.nodes.preprocess.max_chars)
        batcher = self._shared(engine)
        return (await self._arun(engine, [text]))[0] if batcher is None else await batcher.acall(text)

    @overload
    def classify_many(self, texts: Sequence[str], *, errors: Literal["raise"] = "raise") -> list[Classification]: ...
    @overload
    def classify_many(
        self, texts: Sequence[str], *, errors: Literal["return"]
    ) -> list[Classification | InputError]: ...
    def classify_many(
        self, texts: Sequence[str], *, errors: Literal["raise", "return"] = "raise"
    ) -> list[Classification] | list[Classification | InputError]:
        """Classifies several texts: the answers of :meth:`classify`, in order, but faster.

        The encoder's probabilities are rounded to four decimals, so that a text's answer does not depend on its batch;
        in about 1 text of 400 one of them lies on the edge of a rounding step and differs by 0.0001.

        Args:
            texts: A sequence of texts; may be empty.
            errors: "raise" for the first text that cannot be classified; "return" to get its InputError in its
                place, the others being answered.

        Raises:
            InputError: with the index of the text, unless ``errors="return"``.
        """
        check_many(texts, errors)
        engine = self._engine
        good, bad = sift(texts, engine.nodes.preprocess.max_chars, errors)
        if bad and errors == "raise":
            raise next(iter(bad.values()))
        found = [one for chunk in chunks(good) for one in self._run(engine, chunk)]
        return weave(found, bad)

    async def aclassify_many(
        self, texts: Sequence[str], *, errors: Literal["raise", "return"] = "raise"
    ) -> list[Classification] | list[Classification | InputError]:
        """Like :meth:`classify_many`, without blocking the event loop."""
        check_many(texts, errors)
        engine = self._engine
        good, bad = sift(texts, engine.nodes.preprocess.max_chars, errors)
        if bad and errors == "raise":
            raise next(iter(bad.values()))
        found = [one for chunk in chunks(good) for one in await self._arun(engine, chunk)]
        return weave(found, bad)

    @overload
    def classify_iter(
        self, texts: Iterable[str], *, errors: Literal["raise"] = "raise", chunk: int = CHUNK
    ) -> Iterator[Classification]: ...
    @overload
    def classify_iter(
        self, texts: Iterable[str], *, errors: Literal["return"], chunk: int = CHUNK
    ) -> Iterator[Classification | InputError]: ...
    def classify_iter(
        self, texts: Iterable[str], *, errors: Literal["raise", "return"] = "raise", chunk: int = CHUNK
    ) -> Iterator[Classification] | Iterator[Classification | InputError]:
        """Like :meth:`classify_many` for a stream of texts of any length: results come as they are made, in order.

        Args:
            texts: Read as the results are taken, ``chunk`` texts at a time.
            errors: "raise" for the first text that cannot be classified, after the results of those before it;
                "return" to get its InputError in its place.
            chunk: Texts that are read, held and classified together.

        Raises:
            InputError: with the index of the text, unless ``errors="return"``.
            UsageError: another value of ``errors``, or a chunk of less than one text.
        """
        check_many(texts, errors, chunk)
        return self._iterate(texts, errors, chunk)

    def aclassify_iter(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        errors: Literal["raise", "return"] = "raise",
        chunk: int = CHUNK,
    ) -> AsyncIterator[Classification] | AsyncIterator[Classification | InputError]:
        """Like :meth:`classify_iter`, without blocking the event loop; takes asynchronous iterables too."""
        check_many(texts, errors, chunk)
        return self._aiterate(texts, errors, chunk)

    def stream(self, text: str) -> Iterator[dict[str, Any]]:
        """One update per node, as ``{node: {key: value}}``; the way that the text takes through the graph."""
        check_text(text, max_chars=self._engine.nodes.preprocess.max_chars)
        engine, config, paused = self._engine, _config(self._engine), False
        for update in engine.graph.stream({"text": text}, config, stream_mode="updates", **_durability(engine)):
            paused = paused or INTERRUPT in update
            yield update
        if not paused:
            _end(engine, config)

    def pending(self, order: Order = "gain", *, limit: int | None = None) -> list[Question]:
        """The decisions that wait for a person (``human_review=True``), those of other processes too.

        It reads every run that waits; with AsyncSqliteSaver and its like call it in a thread.

        Args:
            order: Which are asked first: "gain", "uncertainty", "oldest" or "random"; see
                :func:`healdag.graph.gain.arrange`.
            limit: At most so many.

        Raises:
            UsageError: another order, or nothing can wait here.
            StoreError: the queue cannot be read.
        """
        check_order(order)
        if limit is not None and limit < 0:
            raise UsageError(f"limit must be 0 or more, got {limit!r}")
        engine = self._engine
        saver = engine.graph.checkpointer
        if not isinstance(saver, BaseCheckpointSaver):
            raise UsageError(
                "nothing can wait for a person here; create_classifier(human_review=True) lets doubtful texts wait, "
                "and checkpointer='review.db' keeps them"
            )
        runs = waiting_runs(saver, engine.task)
        return arrange([question for run in runs for question in run.to_questions()], order)[:limit]

    def answer(self, decision_id: str, label: str | Sequence[str], *, by: str | None = None) -> Classification:
        """Answers a pending decision (``human_review=True``) and returns its result.

        The others of the same call wait on. The answer counts as a correction as well, see :meth:`correct`. Where
        another model is in use by now, the answer is taken all the same: it is one of the labels that were asked for,
        and the result's ``model_version`` names the model that had asked.

        Args:
            decision_id: That of the pending result.
            label: What is right; in a multi-label task the list of labels that apply, or [].
            by: Who says so.

        Raises:
            UsageError: no such pending decision, or a label that the question does not have.
            StoreError: the queue cannot be read or written; the decision still waits.
        """
        engine = self._engine
        with self._held(engine, decision_id) as run:
            if decision_id not in run.questions:
                raise UsageError(f"no pending decision {decision_id!r}: it is answered already; undo() takes that back")
            question = run.questions[decision_id]
            given = Decider(tuple(question["labels"]), multi_label=question["multi_label"]).check(label)
            shown = question["top"][0] if question["top"] and not question["multi_label"] else {}
            said = (shown.get("label"), shown.get("probability"))
            asker = (question.get("model_version"), tuple(question["labels"]))
            case = Case(question["text"], decision_id, *said, *asker)
            learn(engine.nodes, self._learned.place, case, given, by)
            return self._resume(engine, run, decision_id, given)

    def undo(self, decision_id: str) -> Question:
        """Takes an answer back: the decision waits again.

        That can be done while other decisions of the same call wait. With the last of them the call is at an end, and
        its answers are final: what is wrong then is a case for :meth:`correct`. A decision log keeps both answers.

        Raises:
            UsageError: the decision was never answered, or it is final.
        """
        engine = self._engine
        with self._held(engine, decision_id) as run:
            if decision_id in run.questions:
                raise UsageError(f"decision {decision_id!r} was not answered yet; there is nothing to take back")
            assert isinstance(engine.graph.checkpointer, BaseCheckpointSaver)
            self._resume(engine, run, decision_id, None)
            again = find_run(engine.graph.checkpointer, engine.task, decision_id)
            assert again is not None
            (question,) = (each for each in again.to_questions() if each.decision_id == decision_id)
            for event in self.feedback.of_decision(decision_id)[-1:]:
                self.revoke(event.id)
            return question

    def correct(self, decision_or_text: str, label: str | Sequence[str], *, by: str | None = None) -> FeedbackEvent:
        """Takes in a correction: the text, and what says nearly the same, is answered with it from the next call on.

        It is kept in the feedback store, ``create_classifier(feedback=...)``; without one it ends with the process.
        Near twins are found where the model knows how far its training texts reach (``Classification.unfamiliar``),
        and where neither ``max_error`` nor ``label_set`` is promised. Of one person's corrections of a text the last
        counts, of several people's the most; where they disagree the confidence is lower.

        Args:
            decision_or_text: The ``decision_id`` of what was answered wrongly: one of the last 10,000 of this process,
                or one in the decision log, if that keeps texts. Or the text itself.
            label: What is right; in a multi-label task the list of labels that apply, or [].
            by: Who says so.

        Returns:
            The event as it is kept; :meth:`revoke` takes it back.

        Raises:
            InputError: the text cannot be classified.
            UsageError: a decision that is not known, or a label that the task does not have.
            StoreError: the feedback store is locked, full or out of reach; then nothing has changed.
        """
        given = self._check_label(label)
        nodes = self._engine.nodes
        return learn(nodes, self._learned.place, find_case(decision_or_text, nodes, self._learned.recent), given, by)

    def revoke(self, event_id: str, *, by: str | None = None) -> FeedbackEvent:
        """Takes a correction back, from the next call on; both stay in the feedback store.

        Args:
            event_id: The ``id`` of what :meth:`correct` returned.
            by: Who takes it back.

        Returns:
            The revocation.

        Raises:
            UsageError: there is no such correction, it is of another task, or it was taken back already.
            StoreError: the feedback store is locked, full or out of reach; then nothing has changed.
        """
        corrections, feedback = self._engine.nodes.memory.corrections, self.feedback
        found = feedback.get(event_id)
        if found is not None and found.task != corrections.task:
            raise UsageError(f"the correction {event_id!r} is of the task {found.task!r}, not {corrections.task!r}")
        event = feedback.revoke(event_id, by)
        corrections.apply([event])
        return event

    @property
    def feedback(self) -> FeedbackStore:
        """The store of corrections; without ``create_classifier(feedback=...)`` one in memory."""
        return self._learned.place.open()

    def reload(self) -> None:
        """Loads the task's current artefact anew; runs in flight finish on the old one, which stays if this fails.

        What was missing or damaged at the start and is restored by now is in use again.
        """
        with self._reloading:  # two at once could end with the older of two versions
            self._load()

    def reload_if_changed(self) -> bool:
        """Reloads where another version was promoted, or rolled back to, since the models were read.

        It looks at the inode and the time of ``models/<task>/current``, and of the sarcasm detector's where there is
        one. Where the graph makes do, since a model could not be loaded at the start, it looks at the files of the
        current versions too: once they are restored they are taken. While another thread reloads, it returns at once.
        Where the new version cannot be loaded, it raises what :meth:`reload` does, once per change, and the old one
        stays.

        Returns:
            Whether it has reloaded.
        """
        if not self._changed() or not self._reloading.acquire(blocking=False):
            return False
        try:
            if changed := self._changed():  # another thread may have reloaded just now
                self._load()
            return changed
        finally:
            self._reloading.release()

    def as_node(self, text_key: str = "text", *, prefix: str = "") -> Runnable[Any, dict[str, Any]]:
        """A node for another graph: reads the text from ``text_key``, writes the answer.

        It writes final_label, confidence, source and decision_id, by which a pending decision is answered
        (:meth:`answer`); a key that the parent's state does not declare is dropped by LangGraph.

        Args:
            text_key: Key of the parent's state that holds the text.
            prefix: Put before the four keys, for parents that use these names otherwise.
        """

        def shape(result: Classification) -> dict[str, Any]:
            return {f"{prefix}{key}": result[key] for key in (*ANSWER_KEYS, "decision_id")}

        def run(state: Any) -> dict[str, Any]:
            return shape(self.classify(state[text_key]))

        async def arun(state: Any) -> dict[str, Any]:
            return shape(await self.aclassify(state[text_key]))

        return RunnableLambda(run, arun, name="healdag")

    def as_tool(self, name: str | None = None, description: str | None = None) -> BaseTool:
        """A LangChain tool that an agent can call with a text; it answers label, confidence, source and reasons.

        A text that cannot be classified is answered with ``{"error": why}``, which the agent can read.
        """
        from langchain_core.tools import StructuredTool

        def shape(result: Classification) -> dict[str, Any]:
            return {**{key: result[key] for key in ANSWER_KEYS}, "reasons": list(result.reasons)}

        def run(text: str) -> dict[str, Any]:
            try:
                return shape(self.classify(text))
            except InputError as error:
                return {"error": str(error)}

        async def arun(text: str) -> dict[str, Any]:
            try:
                return shape(await self.aclassify(text))
            except InputError as error:
                return {"error": str(error)}

        choice = "Says which of these labels apply to a text" if self.multi_label else "Classifies a text as one of"
        labels = ", ".join(self.labels)
        return StructuredTool.from_function(
            func=run,
            coroutine=arun,
            name=name or f"classify_{self._engine.task}",
            description=description or f"{choice}: {labels}. Confidence is a calibrated probability.",
        )

    def _load(self, build: Callable[[], Engine] | None = None) -> None:
        # Before the models are read: what changes meanwhile has changed.
        self._seen, self._files = pointer_marks(), file_marks()
        self._engine = (build or self._build)()

    def _changed(self) -> bool:
        nodes = self._engine.nodes
        makeshift = bool(nodes.notes)  # something could not be loaded: it may be restored where it is
        tasks = [self._engine.task] + ["sarcasm"] * (makeshift or nodes.sarcasm.detector is not None)
        marks = pointer_marks(tasks)
        if any(marks.get(task) != self._seen.get(task) for task in tasks):
            return True
        return makeshift and any(found != self._files.get(task, ()) for task, found in file_marks(tasks).items())

    def _iterate(self, texts: Iterable[str], errors: str, chunk: int) -> Iterator[Any]:
        source, start = iter(texts), 0
        while part := list(islice(source, chunk)):
            engine = self._engine  # a stream may go on for days: it follows a reload
            good, bad = sift(part, engine.nodes.preprocess.max_chars, errors, start)
            yield from deliver(weave(self._run(engine, good) if good else [], bad, start), errors)
            start += len(part)

    async def _aiterate(self, texts: Iterable[str] | AsyncIterable[str], errors: str, chunk: int) -> AsyncIterator[Any]:
        start = 0
        async for part in parts(texts, chunk):
            engine = self._engine
            good, bad = sift(part, engine.nodes.preprocess.max_chars, errors, start)
            for one in deliver(weave(await self._arun(engine, good) if good else [], bad, start), errors):
                yield one
            start += len(part)

    @contextmanager
    def _held(self, engine: Engine, decision_id: str) -> Iterator[Run]:
        """The run of a decision, while nobody else answers in it."""
        saver, run = engine.graph.checkpointer, None
        if isinstance(saver, BaseCheckpointSaver) and (found := find_run(saver, engine.task, decision_id)):
            with hold(saver, found.thread):
                run = find_run(saver, engine.task, decision_id)  # as it is now that others have to wait
                if run is not None:
                    yield run
        if run is None:
            raise UsageError(
                f"no pending decision {decision_id!r}: it never waited here, or its answer is final; decisions wait "
                "with human_review=True until answered, see pending()"
            )

    def _resume(self, engine: Engine, run: Run, decision_id: str, given: Label | None) -> Classification:
        config = thread_config(run.thread)
        # Of our own runs that pause, what is final is logged at once; those of others are logged as a whole.
        resumed: RunnableConfig = {"configurable": {**config["configurable"], BY_CALLER: True}} if run.own else config
        output = engine.graph.invoke(Command(resume={decision_id: given}), resumed, **_durability(engine))
        paused = engine.graph.get_state(config) if INTERRUPT in output else None
        answered = {} if given is None else {decision_id: given}
        results = _collect(engine, output, paused, answered=answered, logs=run.own)
        if paused is None and run.own:
            _end(engine, config)
        return results[int(decision_id.rpartition(".")[2])]

    def _run(self, engine: Engine, texts: list[str]) -> list[Classification]:
        config = _config(engine)
        try:
            output = engine.runner().invoke({"texts": texts}, config, **_durability(engine))
        except StoreError as error:
            return self._run_unqueued(engine, texts, config, error)
        self._queue_fails = False
        if INTERRUPT in output:
            return _collect(engine, output, engine.graph.get_state(config))
        results = _collect(engine, output, None)
        _end(engine, config)
        return results

    async def _arun(self, engine: Engine, texts: list[str]) -> list[Classification]:
        config = _config(engine)
        try:
            output = await engine.runner().ainvoke({"texts": texts}, config, **_durability(engine))
        except NotImplementedError:
            if not engine.graph.checkpointer:
                raise
            # LangGraph's synchronous checkpointers say so, before anything has run.
            return await asyncio.to_thread(self._run, engine, texts)
        except StoreError as error:
            return await asyncio.to_thread(self._run_unqueued, engine, texts, config, error)
        self._queue_fails = False
        if INTERRUPT not in output:
            if isinstance(engine.graph.checkpointer, BaseCheckpointSaver):
                await aforget(engine.graph.checkpointer, config["configurable"]["thread_id"])
            return _collect(engine, output, None)
        # A thread: what is final already is logged.
        return await asyncio.to_thread(_collect, engine, output, await engine.graph.aget_state(config))

    def _run_unqueued(
        self, engine: Engine, texts: list[str], config: RunnableConfig, error: StoreError
    ) -> list[Classification]:
        """Where the queue fails: that costs the questions, which is said on their rows, and no answer."""
        if not engine.graph.checkpointer:
            raise error
        if not self._queue_fails:
            log.warning("doubtful texts come back without an answer, since they cannot wait: %s", error)
        self._queue_fails = True
        recent = self._learned.recent
        logged = recent.get(f"{config['configurable']['thread_id']}.0") is not None  # it had come to its end
        rows = run_unqueued(engine.graph, engine.nodes.finalize, texts, config, error)
        recent.add(rows)
        if engine.nodes.log is not None and not logged:
            engine.nodes.log.write_final(rows, None)
        return [Classification.model_validate(row) for row in rows]

    def _shared(self, engine: Engine) -> Batcher[Classification] | None:
        """The batcher; None where the call needs a run of its own, which can pause or which someone looks at."""
        return None if engine.graph.checkpointer or _watched() else self._batcher

    def _run_together(self, texts: list[str]) -> list[Classification]:
        """A run for several callers."""
        engine = self._engine
        return _collect(engine, (engine.one_step or engine.graph).invoke({"texts": texts}), None)

    def _check_label(self, label: str | Sequence[str]) -> Label:
        return self._engine.nodes.finalize.decider.check(label)


def _watched() -> bool:
    """Whether this is within another run, or a tracer or another callback is told of runs: they are shown each node."""
    config = ensure_config()
    return bool(config.get("configurable") or get_callback_manager_for_config(config).handlers)


def _config(engine: Engine) -> RunnableConfig:
    """A thread of its own where a checkpointer keeps runs."""
    if not engine.graph.checkpointer:
        return {}
    return thread_config(f"{RUN_PREFIX}{uuid.uuid4().hex[:20]}")


def _durability(engine: Engine) -> dict[str, Any]:
    """A run is kept once, when it pauses or ends, instead of after every node."""
    return {"durability": "exit"} if engine.graph.checkpointer else {}


def _end(engine: Engine, config: RunnableConfig) -> None:
    """A run that has ended need not be kept."""
    if isinstance(engine.graph.checkpointer, BaseCheckpointSaver):
        forget(engine.graph.checkpointer, config["configurable"]["thread_id"])


def _collect(
    engine: Engine,
    output: Any,
    paused: StateSnapshot | None,
    answered: dict[str, Label] | None = None,
    *,
    logs: bool = True,
) -> list[Classification]:
    """Results of a run; where it paused for a person, those rows are pending and the others are answered.

    Args:
        paused: What is known of a run that waits; None for one that has ended.
        answered: Answers given just now to a run that still waits for others.
        logs: Whether to log what has become final by that.
    """
    if paused is None:
        rows = output["results"]
    else:
        state = {**paused.values, "answers": answered or {}}
        waiting = _waiting(paused)
        finalize = engine.nodes.finalize
        rows = [finalize.result(state, i, pending=key in waiting) for i, key in enumerate(state["ids"])]
    if logs and engine.nodes.log is not None and (paused is not None or answered is not None):
        engine.nodes.log.write_final(rows, answered)
    return [Classification.model_validate(row) for row in rows]


def _waiting(paused: StateSnapshot) -> dict[str, Any]:
    """Questions of a paused run by decision id."""
    return {question["decision_id"]: question for stop in paused.interrupts for question in stop.value}
