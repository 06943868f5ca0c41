"""What a person says becomes an event, and an answer from the next call on."""

from __future__ import annotations

import logging
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from ..errors import UsageError
from ..nodes import Classify, Memory
from ..nodes.corrections import Corrections, as_bytes
from ..nodes.records import Label
from ..nodes.twin_index import stack
from ..store import read_decisions
from ..store.feedback_place import FeedbackPlace
from ..text import check_text, prepare

if TYPE_CHECKING:
    from ..store import FeedbackEvent
    from .build import Nodes

RECENT = 10_000
"""Decisions of this process that can be corrected by their id alone."""
RECENT_CHARS = 10_000_000
"""Characters of their texts, together."""
_DECISION_ID = re.compile(r"run-[^\s.]+\.\d+")
_AT_ONCE = 256

log = logging.getLogger("healdag")


@dataclass(frozen=True)
class Case:
    """What is corrected.

    Attributes:
        text: As it was given.
        decision_id: None where only the text is known.
        label: What had been answered, if that is known.
        confidence: Of that answer.
        model_version: Of the model that had answered.
        labels: What there was to choose from, where another model had asked; None: what there is now.
    """

    text: str
    decision_id: str | None = None
    label: Label | None = None
    confidence: float | None = None
    model_version: str | None = None
    labels: tuple[str, ...] | None = None


class Recent:
    """The last decisions of this process by their ids; bounded in number and in characters. Safe to share."""

    def __init__(self, most: int = RECENT, chars: int = RECENT_CHARS) -> None:
        self._most = most
        self._chars = chars
        self._held = 0
        self._lock = threading.Lock()
        self._cases: OrderedDict[str, Case] = OrderedDict()

    def add(self, results: list[dict[str, Any]]) -> None:
        """Keeps results, in the form of :class:`healdag.Classification` as plain values."""
        with self._lock:
            for result in results:
                case = Case(
                    *(result[name] for name in ("text", "decision_id", "final_label", "confidence", "model_version"))
                )
                old = self._cases.pop(result["decision_id"], None)
                self._held += len(case.text) - (len(old.text) if old is not None else 0)
                self._cases[result["decision_id"]] = case
            while len(self._cases) > self._most or (self._held > self._chars and self._cases):
                _, old = self._cases.popitem(last=False)
                self._held -= len(old.text)

    def get(self, decision_id: str) -> Case | None:
        """What is known of a decision; None where it is none of the last."""
        with self._lock:
            return self._cases.get(decision_id)


@dataclass(frozen=True)
class Learned:
    """What outlives the models: corrections, and the decisions that may be corrected.

    Attributes:
        place: The feedback store.
        store: The LangGraph store in which corrections are looked up.
        recent: The last decisions.
    """

    place: FeedbackPlace
    store: BaseStore
    recent: Recent = field(default_factory=Recent)

    @classmethod
    def in_memory(cls) -> Learned:
        """One that ends with the process."""
        return cls(FeedbackPlace(), InMemoryStore())


def find_case(given: str, nodes: Nodes, recent: Recent) -> Case:
    """What a caller means by a decision's id, or by a text.

    Raises:
        InputError: a text that cannot be classified.
        UsageError: the id of a decision that is not known here.
    """
    case = recent.get(given) if isinstance(given, str) else None
    if case is not None:
        return case
    if not isinstance(given, str) or not _DECISION_ID.fullmatch(given):
        return Case(check_text(given, max_chars=nodes.preprocess.max_chars))
    logged = None
    if nodes.log is not None:
        path = nodes.log.decisions.path
        for row in read_decisions(path) if path.is_file() else ():
            logged = row if row.id == given else logged  # one that waited for a person may be there twice
    if logged is None:
        where = "nor in the decision log" if nodes.log is not None else "and there is no decision log"
        raise UsageError(
            f"no decision {given!r}: it is none of the last {RECENT:,} of this process, {where}. Give the text in its "
            "place; one that waits for a person is answered with answer()"
        )
    if logged.text is None:
        raise UsageError(
            f"the decision log knows {given!r}, but not its text; give the text in place of the id, or keep texts with "
            "log: {text: store}"
        )
    return Case(logged.text, given, logged.label, logged.confidence, logged.model_version)


def learn(nodes: Nodes, feedback: FeedbackPlace, case: Case, label: Label, by: str | None) -> FeedbackEvent:
    """Appends a correction, and has the memory answer by it from now on.

    Args:
        label: One of the labels of the model that had asked, or that is in use; in a multi-label task a list of them.

    Raises:
        StoreError: it cannot be written; then nothing has changed.
    """
    prepared = prepare(case.text)
    corrections = nodes.memory.corrections
    version = nodes.finalize.model_version
    vector = nodes.classify.vector_of(prepared.clean, prepared.foreign)
    own = case.model_version in {None, version} and corrections.space == version
    event = feedback.open().add(
        task=corrections.task,
        text=prepared.clean,
        label=label,
        labels=case.labels if case.labels is not None else nodes.memory.decider.labels,
        previous_label=case.label,
        confidence=case.confidence,
        by=by,
        decision_id=case.decision_id,
        model_version=case.model_version or version,
        # An event names one model: the vector must be that one's.
        embedding=as_bytes(vector) if vector is not None and own else None,
    )
    corrections.apply([event])
    if vector is not None and not own:
        corrections.place([prepared.clean], vector[None])
    return event


def renew_vectors(corrections: Corrections, classify: Classify) -> int:
    """Makes the vectors of remembered texts that were made by another model, where the texts are known.

    Returns:
        How many texts were read.
    """
    if classify.recall is None:
        return 0
    texts = corrections.without_vector()
    if texts:
        log.info("reading %d corrected texts with the model that is in use now", len(texts))
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        corrections.place(some, stack(classify.vectors_of(some, [prepare(text).foreign for text in some])))
    return len(texts)


def forgetful(nodes: Nodes) -> Nodes:
    """The nodes without anything that people have said; what they answer cannot be corrected by its id."""
    corrections = nodes.memory.corrections
    empty = Corrections(InMemoryStore(), corrections.task, space=corrections.space)
    return replace(
        nodes,
        memory=Memory(empty, nodes.memory.decider),
        classify=replace(nodes.classify, recall=None),
        finalize=replace(nodes.finalize, told=None),
    )
