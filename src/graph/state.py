"""The graph's state: one list per key, one entry per text, one writing node per key.

A run carries a batch; one text is a batch of 1. Values are plain Python, so that any checkpointer can keep them.
LangGraph drops keys that are not declared here.
"""

from __future__ import annotations

from typing import Annotated, Any

from langgraph.channels import EphemeralValue
from typing_extensions import TypedDict  # pydantic, for the graph's JSON schema, refuses typing's before Python 3.12

from ..nodes.records import AnswerDict, AskerDict, BackupDict, Label, MemoryDict, Row


class Input(TypedDict, total=False):
    """What the graph takes: one text, or several."""

    text: str
    texts: list[str]


class Output(TypedDict, total=False):
    """What the graph gives: a result per text; and for one text its answer under the keys of the contract."""

    results: list[dict[str, Any]]
    final_label: Label | None
    confidence: float | None
    source: str | None


class State(TypedDict, total=False):
    """Every key of a run. N is the number of texts, K the number of labels."""

    # caller; forgotten after the first step, so that a thread can be used again with the other key
    text: Annotated[str, EphemeralValue]
    texts: Annotated[list[str], EphemeralValue]
    # preprocess
    raw: list[str]  # N texts as given
    single: bool  # whether the caller gave 'text'
    clean: list[str]  # N texts as the models read them
    foreign: list[float]  # N shares of letters in another script
    emoji: list[Row | None]  # N x K for emoji-only texts
    ids: list[str]  # N decision ids
    asker: AskerDict  # the model that the run began with
    # memory
    remembered: list[MemoryDict | None]  # N answers that people gave to this very text before
    # first, where a cheap model is asked first
    first: list[AnswerDict | None]  # N answers of it that stand; None where the row goes on
    # condense, where there is a condenser
    condensed: list[str | None]  # N shorter texts for the primary; None where it reads the text itself
    condensing: list[AnswerDict | None]  # N records of the condenser; None where it was not asked
    # classify
    primary: list[AnswerDict]  # N answers of the primary
    whole: list[Row | None]  # N rows over all the task's labels, where the answers are restricted to some
    recalled: list[MemoryDict | None]  # N answers that people gave to a near twin of the text
    unreadable: list[float]  # N shares of the text that the primary cannot read
    unfamiliar: list[float | None]  # N distances from the training texts, 1 at the limit; None where not known
    suspicion: list[float | None]  # N probabilities that it is sarcastic, as the primary's pass shows; None: no word
    # sarcasm
    sarcasm: list[float | None]  # N probabilities; None where it was not looked for
    # check
    reasons: list[list[str]]  # N lists; empty where the primary's answer stands
    # backup
    backup: list[BackupDict | None]  # N outcomes of the ladder; None where it was not asked
    # trust
    trust: list[float | None]  # N probabilities that the standing answer is right; None where nobody answered
    accepted: list[bool]  # N; False where the answer does not keep the error budget, or there is none
    label_sets: list[list[str] | None]  # N conformal sets of labels; None where they are not asked for
    # review
    answers: dict[str, Label]  # decision id to label
    # finalize
    results: list[dict[str, Any]]
    final_label: Label | None
    confidence: float | None
    source: str | None
