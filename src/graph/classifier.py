"""The object that users hold: a compiled graph with plain methods in front."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, overload

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, ensure_config
from langchain_core.runnables.config import get_callback_manager_for_config
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from ..artifacts import pointer_marks
from ..errors import InputError, UsageError
from ..nodes import BY_CALLER, RUN_PREFIX
from ..nodes.records import Label
from ..schema import Classification
from ..text import check_text, prepare
from .batching import Batcher, failed_together, raised
from .build import Nodes
from .explain import explain
from .many import CHUNK, check_many, chunks, deliver, parts, sift, weave

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

ANSWER_KEYS = ("final_label", "confidence", "source")
INTERRUPT = "__interrupt__"
"""LangGraph's key in the output of a run that paused."""


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
        batching: Whether calls of :meth:`classify` and :meth:`aclassify` that come at the same time share a run.
    """

    def __init__(self, build: Callable[[], Engine], *, batching: bool = True) -> None:
        self._build = build
        self._reloading = threading.Lock()
        self._load()
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
        yield from self.graph.stream({"text": text}, _config(self._engine), stream_mode="updates")

    def answer(self, decision_id: str, label: str | Sequence[str]) -> Classification:
        """Answers a pending decision (``human_review=True``) and returns its result.

        Args:
            decision_id: That of the pending result.
            label: What is right; in a multi-label task the list of labels that apply, or [].

        Raises:
            UsageError: no such pending decision, or a label that the task does not have.
        """
        given = self._check_label(label)
        run, _, row = decision_id.rpartition(".")
        config: RunnableConfig = {"configurable": {"thread_id": run}}
        engine = self._engine
        kept = run.startswith(RUN_PREFIX) and engine.graph.checkpointer
        waiting = _waiting(engine.graph.get_state(config)) if kept else {}
        if decision_id not in waiting:
            raise UsageError(
                f"no pending decision {decision_id!r}; decisions wait with human_review=True until answered"
            )
        resumed: RunnableConfig = {"configurable": {"thread_id": run, BY_CALLER: True}}
        output = engine.graph.invoke(Command(resume={decision_id: given}), resumed)
        paused = engine.graph.get_state(config) if INTERRUPT in output else None
        return _collect(engine, output, paused, answered={decision_id: given})[int(row)]

    def correct(self, text: str, label: str | Sequence[str], *, by: str | None = None) -> None:
        """Takes in a correction: the same text is answered with ``label`` from the next call on.

        Args:
            text: The text that was answered wrongly.
            label: What is right; in a multi-label task the list of labels that apply, or [].
            by: Who says so; kept with the correction.

        Raises:
            InputError: the text cannot be classified.
            UsageError: a label that the task does not have.
        """
        given = self._check_label(label)
        nodes = self._engine.nodes
        nodes.memory.remember(prepare(check_text(text, max_chars=nodes.preprocess.max_chars)).clean, given, by)

    def reload(self) -> None:
        """Loads the task's current artefact anew; runs in flight finish on the old one, which stays if this fails."""
        with self._reloading:  # two at once could end with the older of two versions
            self._load()

    def reload_if_changed(self) -> bool:
        """Reloads where another version was promoted, or rolled back to, since the models were read.

        It looks at the inode and the time of ``models/<task>/current``, and of the sarcasm detector's where there is
        one. While another thread reloads, it returns at once. Where the new version cannot be loaded, it raises what
        :meth:`reload` does, once per change, and the old one stays.

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

    def _load(self) -> None:
        self._seen = pointer_marks()  # before the models are read: what changes meanwhile has changed
        self._engine = self._build()

    def _changed(self) -> bool:
        tasks = [self._engine.task] + ["sarcasm"] * (self._engine.nodes.sarcasm.detector is not None)
        marks = pointer_marks(tasks)
        return any(marks.get(task) != self._seen.get(task) for task in tasks)

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

    def _run(self, engine: Engine, texts: list[str]) -> list[Classification]:
        output = engine.runner().invoke({"texts": texts}, config := _config(engine))
        return _collect(engine, output, engine.graph.get_state(config) if INTERRUPT in output else None)

    async def _arun(self, engine: Engine, texts: list[str]) -> list[Classification]:
        output = await engine.runner().ainvoke({"texts": texts}, config := _config(engine))
        if INTERRUPT not in output:
            return _collect(engine, output, None)
        # A thread: what is final already is logged.
        return await asyncio.to_thread(_collect, engine, output, await engine.graph.aget_state(config))

    def _shared(self, engine: Engine) -> Batcher[Classification] | None:
        """The batcher; None where the call needs a run of its own, which can pause or which someone looks at."""
        return None if engine.graph.checkpointer or _watched() else self._batcher

    def _run_together(self, texts: list[str]) -> list[Classification]:
        """A run for several callers: a text on which a predictor fails must not cost the others their answers."""
        engine = self._engine
        graph = engine.one_step or engine.graph
        if len(texts) == 1:
            return _collect(engine, graph.invoke({"texts": texts}), None)
        # It is logged below, once it is clear which rows stand.
        config: RunnableConfig = {"configurable": {BY_CALLER: True}}
        rows: list[dict[str, Any]] = graph.invoke({"texts": texts}, config)["results"]
        down = 0
        for i in failed_together(rows):
            (rows[i],) = graph.invoke({"texts": [texts[i]]}, config)["results"]
            down += bool(raised(rows[i]))
            if down == 2:  # the predictor fails whatever the text
                break
        if engine.nodes.log is not None:
            engine.nodes.log.write_final(rows, None)
        return [Classification.model_validate(row) for row in rows]

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
    return {"configurable": {"thread_id": f"{RUN_PREFIX}{uuid.uuid4().hex[:20]}"}}


def _collect(
    engine: Engine, output: Any, paused: StateSnapshot | None, answered: dict[str, Label] | None = None
) -> list[Classification]:
    """Results of a run; where it paused for a person, those rows are pending and the others are answered.

    Args:
        paused: What is known of a run that waits; None for one that has ended.
        answered: Answers given just now to a run that still waits for others.
    """
    if paused is None:
        rows = output["results"]
    else:
        state = {**paused.values, "answers": answered or {}}
        waiting = _waiting(paused)
        finalize = engine.nodes.finalize
        rows = [finalize.result(state, i, pending=key in waiting) for i, key in enumerate(state["ids"])]
    if engine.nodes.log is not None and (paused is not None or answered is not None):
        engine.nodes.log.write_final(rows, answered)
    return [Classification.model_validate(row) for row in rows]


def _waiting(paused: StateSnapshot) -> dict[str, Any]:
    """Questions of a paused run by decision id."""
    return {question["decision_id"]: question for stop in paused.interrupts for question in stop.value}
