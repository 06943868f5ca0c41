"""Feedback, decision log and review queue on a disk that is full, and locked by another process: the answers go on."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from healdag import Classifier, create_classifier
from healdag.errors import StoreError
from healdag.graph.sqlite_saver import SqliteQueue
from healdag.predictors.fake import FakePredictor
from healdag.store import feedback as feedback_module
from healdag.store import read_decisions

LABELS = ("joy", "anger")
LOGS = pytest.mark.parametrize("log", ["log.jsonl", "log.db"])


def make(place: Path, log: str, *, busy: float = 10.0) -> Classifier:
    primary = FakePredictor(LABELS, answers={"sure": {"joy": 0.95}}, default={"joy": 0.6})
    queue = SqliteQueue(place / "review.db", busy=busy)
    places = {"checkpointer": queue, "feedback": place / "feedback.db", "log": place / log}
    return create_classifier(primary=primary, human_review=True, threshold=0.9, **places)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow, or be written to beyond its first bytes."""
    resource = pytest.importorskip("resource")
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def held_by_another_process(*paths: Path) -> Iterator[None]:
    """Other processes can read the databases, and not write."""
    code = (
        "import sqlite3, sys\n"
        "held = [sqlite3.connect(path, isolation_level=None) for path in sys.argv[1:]]\n"
        "for each in held:\n"
        "    each.execute('BEGIN IMMEDIATE')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        other.communicate()


def refuses(call: Callable[[], Any], *said: str) -> None:
    with pytest.raises(StoreError) as raised:
        call()
    for part in said:
        assert part in str(raised.value)


def check(classifier: Classifier, fails: Any, advice: str, log: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is asked while nothing can be written, and what is there afterwards."""
    sure, waiting = classifier.classify_many(["sure", "it waits"])
    event = classifier.correct("known text", "anger", by="ann")
    assert (sure.source, waiting.source) == ("model", "pending")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "healdag"), fails:
        answers = classifier.classify_many(["sure", "doubtful", "known text"])
        assert [(one.source, one.final_label) for one in answers] == [
            ("model", "joy"),
            ("abstain", None),
            ("memory", "anger"),
        ]
        assert advice in str(answers[1].attempts[-1].error)
        assert classifier.classify("sure").final_label == "joy"
        refuses(lambda: classifier.correct("other text", "anger"), "feedback.db", advice)
        refuses(lambda: classifier.revoke(event.id), "feedback.db", advice)
        refuses(lambda: classifier.answer(waiting.decision_id, "anger"), advice)
        assert classifier.classify("other text").source == "abstain"  # what was refused is not half taken
        assert classifier.classify("known text").source == "memory"
        assert [question.decision_id for question in classifier.pending()] == [waiting.decision_id]
    # Each fault is said once; a file of JSON lines cannot be locked.
    assert len(caplog.messages) == (1 if log.suffix == ".jsonl" and "room" not in advice else 2)
    # Nothing is lost, and everything goes on.
    assert list(classifier.feedback.events()) == [event]
    assert classifier.answer(waiting.decision_id, "anger").source == "human"
    assert classifier.correct("other text", "anger").seq > event.seq
    assert classifier.classify("other text").source == "memory"
    assert classifier.classify("doubtful").source == "pending"
    logged = [row.id for row in read_decisions(log)]
    assert logged[0] == sure.decision_id
    assert waiting.decision_id in logged
    assert len(set(logged)) == len(logged)


@LOGS
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files")
def test_a_full_disk(log: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    check(make(tmp_path, log), full_disk(), "make room on the disk", tmp_path / log, caplog)


@LOGS
def test_databases_that_another_process_holds(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **{**options, "timeout": 0.02}))
    monkeypatch.setattr(feedback_module, "_BUSY_SECONDS", 0.02)
    classifier = make(tmp_path, log, busy=0.02)
    places = [tmp_path / name for name in ("review.db", "feedback.db", log) if name.endswith(".db")]
    advice = "end the process that holds it"
    check(classifier, held_by_another_process(*places), advice, tmp_path / log, caplog)
