"""A task's corrections, where the graph looks them up: in a LangGraph store, in step with the feedback store."""

from __future__ import annotations

import base64
import heapq
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NotRequired

import numpy as np
from langgraph.store.base import BaseStore, GetOp, Op, PutOp
from typing_extensions import TypedDict

from ..errors import StoreError
from ..store.feedback_place import FeedbackPlace
from ..store.row import text_key
from .records import Label
from .twin_index import TwinIndex, Vectors, unit

if TYPE_CHECKING:
    from ..store import FeedbackEvent, FeedbackStore

CAPACITY = 10_000
"""Texts that are remembered; where there are more, those that were corrected longest ago go."""
POLL_SECONDS = 1.0
"""How often, at most, a run looks for what other processes have written."""
_PATIENCE = 5
"""A look that fails is repeated after so many times what it took."""
_MOST_VOTES = 100
_AT_ONCE = 1000

log = logging.getLogger("healdag")


class Vote(TypedDict):
    """One correction of a text."""

    event: str | None
    label: Label
    by: str | None
    at: str  # ISO time, UTC
    labels: NotRequired[list[str]]  # what there was to choose from


class Corrections:
    """Corrections by text. Safe to share between threads.

    The LangGraph store holds them, one value per text, with the votes and the text's vector. Beside it lies an index
    of the vectors, made from the store. Corrections that another process writes are taken over from the feedback
    store, once a second at most; vectors that one puts into a shared LangGraph store alone, when this is made anew.

    Args:
        store: Any LangGraph store.
        task: Corrections are kept apart by task.
        feedback: What is read at the beginning and looked at from time to time.
        space: Version of the model that makes the vectors; those of other models cannot be compared with them.
        capacity: Texts that are remembered.

    Raises:
        StoreError: the feedback store cannot be read.
    """

    def __init__(
        self,
        store: BaseStore,
        task: str,
        feedback: FeedbackPlace | None = None,
        *,
        space: str = "",
        capacity: int = CAPACITY,
    ) -> None:
        self.store = store
        self.task = task
        self.space = space
        self._feedback = feedback if feedback is not None else FeedbackPlace()
        self._capacity = capacity
        self._lock = threading.RLock()
        self._polling = threading.Lock()
        self._next_poll = 0.0
        self._seen = 0
        self._failing = False
        self._newest: dict[str, str] = {}
        self._index: TwinIndex | None = None
        self._without_vector: dict[str, str] = {}
        self._read_store()
        if self._feedback.opened is not None:
            self._read_feedback(self._feedback.opened)

    def __len__(self) -> int:
        """Texts that are remembered, as far as this process knows."""
        return len(self._newest)

    @property
    def has_vectors(self) -> bool:
        """Whether there is any text that another one can be a near twin of."""
        return self._index is not None and len(self._index) > 0

    def take_up(self) -> None:
        """Takes over what other processes have written since; looks once a second at most.

        A feedback store that cannot be read now is a warning, once until it can: the answers go on.
        """
        feedback = self._feedback.opened
        if feedback is None or time.monotonic() < self._next_poll or not self._polling.acquire(blocking=False):
            return
        start = time.monotonic()
        self._next_poll = start + POLL_SECONDS
        try:
            if feedback.last_seq() > self._seen:
                self._read_feedback(feedback)
            self._failing = False
        except StoreError as error:
            if not self._failing:
                log.warning("corrections of other processes are not taken up: %s", error)
            self._failing = True
            # One that is locked, or out of reach, is waited for; most answers are not to be.
            now = time.monotonic()
            self._next_poll = now + max(POLL_SECONDS, _PATIENCE * (now - start))
        finally:
            self._polling.release()

    def find(self, texts: Sequence[str]) -> list[list[Vote]]:
        """The votes on each of these cleaned texts, the oldest first."""
        return [votes_of(value) for value in self._values([memory_key(text) for text in texts])]

    def twins(self, vectors: Vectors, least: float, most: int) -> list[list[tuple[float, list[Vote]]]]:
        """Per text its nearest corrected texts: the similarity and the votes on each, the nearest first.

        Args:
            vectors: In length 1, shape (n, d).
            least: Similarity from which on they count.
            most: How many at most.
        """
        with self._lock:
            if self._index is None:
                return [[] for _ in vectors]
            near = [found[:most] for found in self._index.search(vectors, least)]
        keys = list(dict.fromkeys(key for found in near for key, _ in found))
        votes = dict(zip(keys, map(votes_of, self._values(keys)), strict=True))
        # One that another process has deleted from the store has no votes any more.
        return [[(similarity, votes[key]) for key, similarity in found if votes[key]] for found in near]

    def apply(self, events: Iterable[FeedbackEvent]) -> None:
        """Takes in events in their order: a correction adds a vote to its text, a revocation takes one away.

        An event that was taken in already changes nothing.
        """
        own = (event for event in events if event.task == self.task)
        while some := list(islice(own, _AT_ONCE)):
            by_key: dict[str, list[FeedbackEvent]] = {}
            for event in some:
                by_key.setdefault(event.text_sha256, []).append(event)
            with self._lock:
                found = self._values(list(by_key))
                values = {key: _merged(value, by_key[key]) for key, value in zip(by_key, found, strict=True)}
                self._put(values)
                for key, value in values.items():
                    text = next((event.text for event in reversed(by_key[key]) if event.text), None)
                    if text and value is not None and value.get("space") != self.space:
                        self._without_vector[key] = text
                    else:
                        self._without_vector.pop(key, None)

    def without_vector(self) -> list[str]:
        """The texts, where they are known, whose vectors are of another model, or not there; the newest first."""
        with self._lock:
            known = [key for key in self._without_vector if key in self._newest]
            return [self._without_vector[key] for key in sorted(known, key=self._newest.__getitem__, reverse=True)]

    def place(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Gives cleaned texts that are remembered their vectors, in length 1; those without a direction get none."""
        keys = [memory_key(text) for text in texts]
        with self._lock:
            values: dict[str, dict[str, Any] | None] = {}
            for key, value, vector in zip(keys, self._values(keys), vectors, strict=True):
                self._without_vector.pop(key, None)
                if value is not None and vector.any():
                    values[key] = {**_value(votes_of(value)), "vector": as_text(vector), "space": self.space}
            self._put(values)

    def _values(self, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        if not keys:
            return []
        operations: list[Op] = [GetOp(namespace(self.task), key) for key in keys]
        return [None if item is None else item.value for item in self.store.batch(operations)]  # type: ignore[union-attr]

    def _put(self, values: Mapping[str, dict[str, Any] | None]) -> None:
        operations: list[Op] = [PutOp(namespace(self.task), key, value, index=False) for key, value in values.items()]
        for key, value in values.items():
            self._note(key, value)
        surplus = len(self._newest) - self._capacity
        if surplus > 0:
            for key in heapq.nsmallest(surplus, self._newest, key=self._newest.__getitem__):
                self._note(key, None)
                operations = [op for op in operations if not (isinstance(op, PutOp) and op.key == key)]
                operations.append(PutOp(namespace(self.task), key, None))
        if operations:
            self.store.batch(operations)

    def _note(self, key: str, value: dict[str, Any] | None) -> None:
        """Keeps in mind how old the text's newest vote is, and its vector."""
        votes = votes_of(value)
        if not votes:
            self._newest.pop(key, None)
            if self._index is not None:
                self._index.remove(key)
            return
        self._newest[key] = votes[-1]["at"]
        vector = _vector(value, self.space)
        if vector is None:
            if self._index is not None:
                self._index.remove(key)
            return
        if self._index is None:
            self._index = TwinIndex(len(vector))
        if len(vector) == self._index.dimensions:  # another length cannot be this model's, whatever it says
            self._index.put([(key, vector)])

    def _read_store(self) -> None:
        offset = 0
        while page := self.store.search(namespace(self.task), limit=_AT_ONCE, offset=offset):
            for item in page:
                if tuple(item.namespace) == namespace(self.task):
                    self._note(item.key, item.value)
            offset += len(page)

    def _read_feedback(self, feedback: FeedbackStore) -> None:
        def watched() -> Iterable[FeedbackEvent]:
            for event in feedback.events(after=self._seen):
                yield event
                self._seen = event.seq

        self.apply(watched())


def namespace(task: str) -> tuple[str, ...]:
    """Where a task's corrections are kept in the store."""
    return ("healdag", task, "corrections")


def memory_key(clean: str) -> str:
    """Key of a cleaned text: letter case does not matter. Texts themselves are not stored."""
    return text_key(clean)


def votes_of(value: Mapping[str, Any] | None) -> list[Vote]:
    """The votes in a value of the store, the oldest first."""
    if value is None:
        return []
    if "votes" in value:
        votes: list[Vote] = value["votes"]
        return votes
    if "label" not in value:
        return []
    return [{"event": None, "at": "", "by": None, **value}]  # type: ignore[typeddict-item]  # put there by hand


def as_text(vector: Vectors) -> str:
    """A vector as base64 of float16, little endian."""
    return base64.b64encode(as_bytes(vector)).decode("ascii")


def as_bytes(vector: Vectors) -> bytes:
    """A vector as float16, little endian."""
    return vector.astype("<f2").tobytes()


def _merged(value: dict[str, Any] | None, events: Sequence[FeedbackEvent]) -> dict[str, Any] | None:
    """The value after these events; None where no vote is left."""
    votes = {vote["event"] or f"by hand {i}": vote for i, vote in enumerate(votes_of(value))}
    kept = {name: value[name] for name in ("vector", "space") if value and value.get(name)}
    for event in events:
        if event.kind == "revocation":
            votes.pop(str(event.revokes), None)
            continue
        assert event.label is not None
        votes[event.id] = {
            "event": event.id,
            "label": event.label,
            "labels": list(event.labels),
            "by": event.by,
            "at": event.time.isoformat(timespec="microseconds"),
        }
        if event.embedding is not None and event.model_version is not None:
            kept = {"vector": base64.b64encode(event.embedding).decode("ascii"), "space": event.model_version}
    if not votes:
        return None
    ordered = sorted(votes.values(), key=lambda vote: vote["at"])
    return {**_value(ordered[-_MOST_VOTES:]), **kept}


def _value(votes: list[Vote]) -> dict[str, Any]:
    return {"votes": votes}


def _vector(value: Mapping[str, Any] | None, space: str) -> Vectors | None:
    """The text's vector in length 1, if it is of this model."""
    if value is None or value.get("space") != space or not value.get("vector"):
        return None
    read = np.frombuffer(base64.b64decode(value["vector"]), dtype="<f2").astype(np.float32)
    vector: Vectors = unit(read[None])[0]
    return vector
