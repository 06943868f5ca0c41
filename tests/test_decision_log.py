"""The decision log: what is written, what is read again, and what happens when the disk or the process fails."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from typer.testing import CliRunner

import healdag.graph
from healdag.cli import app
from healdag.errors import ConfigError, UsageError
from healdag.graph import State, create_classifier
from healdag.predictors.fake import FakePredictor
from healdag.schema import Classification
from healdag.store import Decision, DecisionLog, hash_text, read_decisions, summarize

LABELS = ("joy", "anger", "neutral")
NAMES = ("log.jsonl", "log.db", "log.sqlite")
ANSWERS = {"unsure": {"joy": 0.4}, "meh": {"neutral": 0.5}, "lost": None}
REAL_FACTORY = create_classifier

both = pytest.mark.parametrize("name", ["log.jsonl", "log.db"])


def make(**options: Any) -> Any:
    model = FakePredictor(LABELS, answers=ANSWERS, default={"joy": 0.9}, name="model", version="mood/1")
    return create_classifier(**{"primary": model, "threshold": 0.7, "enable_backup": False, **options})


def backup(name: str = "second", **options: Any) -> FakePredictor:
    return FakePredictor(LABELS, name=name, **{"default": {"anger": 0.8}, **options})


def result(text: str = "hello", **fields: Any) -> dict[str, Any]:
    attempt = {"by": "model", "label": "joy", "confidence": 0.9, "ms": 1.5, "accepted": True, "error": None}
    row = {
        "text": text,
        "final_label": "joy",
        "confidence": 0.9,
        "source": "model",
        "reasons": [],
        "sarcasm": None,
        "attempts": [attempt],
        "decision_id": "run-1.0",
        "model_version": "mood/1",
    }
    return {**row, **fields}


def read(path: Path) -> list[Decision]:
    decisions = read_decisions(path)
    found = list(decisions)
    assert decisions.skipped == 0
    return found


def texts_of(path: Path) -> list[str | None]:
    return [decision.text for decision in read_decisions(path)]


# what is written


@pytest.mark.parametrize("name", NAMES)
def test_a_decision_comes_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    given = make(log=path, backups=[backup(fail="down"), backup("third")], enable_backup=True).classify("unsure")
    (found,) = read(path)
    assert (found.id, found.label, found.source) == (given.decision_id, "anger", "backup")
    assert found.confidence == round(given.confidence, 6)
    assert found.reasons == given.reasons == ("low_confidence",)
    assert found.asked == ("model", "second", "third") == tuple(a.by for a in given.attempts)
    assert (found.backups, found.failed, found.accepted) == (("second", "third"), ("second",), "third")
    assert found.ms == tuple(round(a.ms, 3) for a in given.attempts)
    assert (found.model_version, found.chars, found.sarcasm) == ("mood/1", 6, None)
    assert before <= found.time <= datetime.now(UTC)
    assert found.time.microsecond % 1000 == 0


@both
def test_no_answer(name: str, tmp_path: Path) -> None:
    make(log=tmp_path / name).classify("lost")
    (found,) = read(tmp_path / name)
    assert (found.label, found.confidence, found.source, found.accepted) == (None, None, "abstain", None)
    assert (found.labels, found.failed) == ((), ("model",))


@both
def test_sarcasm(name: str, tmp_path: Path) -> None:
    detector = FakePredictor(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.25})
    make(log=tmp_path / name, sarcasm=detector).classify("sure")
    assert read(tmp_path / name)[0].sarcasm == 0.25


@both
@pytest.mark.parametrize(("said", "expected"), [(["joy", "anger"], ["joy", "anger"]), ([], [])])
def test_several_labels(said: list[str], expected: list[str], name: str, tmp_path: Path) -> None:
    model = FakePredictor(LABELS, default=said or {"joy": 0.1}, multi_label=True)
    given = create_classifier(primary=model, log=tmp_path / name).classify("text")
    (found,) = read(tmp_path / name)
    assert found.label == given.final_label == expected
    assert found.labels == tuple(expected)


@both
def test_a_label_that_looks_like_json(name: str, tmp_path: Path) -> None:
    DecisionLog(tmp_path / name).append([result(final_label='["a"]'), result(final_label="null")])
    assert [found.label for found in read(tmp_path / name)] == ['["a"]', "null"]


@both
@pytest.mark.parametrize("text", ["schön 😀\nzwei 'Zeilen'; \"x\" \u2028 \x00", "half \ud83d of one", "\ud83d\ude00"])
def test_what_is_kept_of_a_text(text: str, name: str, tmp_path: Path) -> None:
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for mode in ("store", "hash", "omit"):
        DecisionLog(tmp_path / name, text=mode).append([result(text)])  # one file, as after a change of mind
    stored, hashed, omitted = read(tmp_path / name)
    assert (stored.text, stored.text_sha256) == (whole, None)
    assert (hashed.text, hashed.text_sha256) == (None, hash_text(text))
    assert hash_text(text) == hash_text(whole)
    assert (omitted.text, omitted.text_sha256) == (None, None)
    assert {found.chars for found in (stored, hashed, omitted)} == {len(text)}


@both
def test_texts_are_not_stored_unless_asked_for(name: str, tmp_path: Path) -> None:
    make(log=tmp_path / name).classify("a secret")
    assert all(b"secret" not in file.read_bytes() for file in tmp_path.iterdir())
    assert read(tmp_path / name)[0].text_sha256 == hash_text("a secret")


def test_a_hash_is_the_plain_sha256() -> None:
    assert hash_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sql_can_be_asked(tmp_path: Path) -> None:
    make(log=tmp_path / "log.db").classify_many(["a", "b", "meh"])
    connection = sqlite3.connect(tmp_path / "log.db")
    rows = connection.execute("SELECT label, source, count(*) FROM decisions GROUP BY label ORDER BY label").fetchall()
    connection.close()
    assert rows == [("joy", "model", 2), ("neutral", "model", 1)]


def test_json_lines_are_one_object_a_line(tmp_path: Path) -> None:
    make(log=tmp_path / "log.jsonl").classify_many(["a", "meh"])
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["joy", "neutral"]
    assert json.loads(lines[0])["time"].endswith("Z")


# when it is written: once per decision, when it is final


@both
def test_every_way_to_ask(name: str, tmp_path: Path) -> None:
    classifier = make(log=tmp_path / name)
    expected = [classifier.classify("one"), *classifier.classify_many(["two", "meh"])]
    expected += [asyncio.run(classifier.aclassify("three")), *asyncio.run(classifier.aclassify_many(["four"]))]
    ids = [given.decision_id for given in expected]
    ids += [u["finalize"]["results"][0]["decision_id"] for u in classifier.stream("five") if "finalize" in u]
    ids += [row["decision_id"] for row in classifier.graph.invoke({"texts": ["six", "seven"]})["results"]]
    ids.append(classifier.as_node().invoke({"text": "eight"})["decision_id"])
    assert classifier.as_tool().invoke("nine")["final_label"] == "joy"
    found = [decision.id for decision in read(tmp_path / name)]
    assert found[:-1] == ids
    assert len(set(found)) == 10


def test_nothing_is_classified(tmp_path: Path) -> None:
    assert make(log=tmp_path / "log.jsonl").classify_many([]) == []
    assert read(tmp_path / "log.jsonl") == []


def test_the_log_survives_a_reload(tmp_path: Path) -> None:
    classifier = make(log=tmp_path / "log.db")
    classifier.classify("one")
    classifier.reload()
    classifier.classify("two")
    assert len(read(tmp_path / "log.db")) == 2


def test_without_a_log_the_graph_has_no_such_node(tmp_path: Path) -> None:
    assert "log" not in make().graph.get_graph().nodes
    assert "log" in make(log=tmp_path / "log.jsonl").graph.get_graph().nodes


class TestReview:
    def test_logged_when_it_is_answered(self, tmp_path: Path) -> None:
        classifier = make(log=tmp_path / "log.jsonl", human_review=True)
        pending = classifier.classify("unsure")
        assert read(tmp_path / "log.jsonl") == []
        classifier.answer(pending.decision_id, "anger")
        (found,) = read(tmp_path / "log.jsonl")
        assert (found.id, found.label, found.source, found.confidence) == (pending.decision_id, "anger", "human", 1.0)
        assert (found.asked, found.accepted, found.backups) == (("model", "human"), "human", ())

    @pytest.mark.parametrize("wait", [False, True])
    def test_each_row_of_a_batch_when_it_is_final(self, wait: bool, tmp_path: Path) -> None:
        classifier = make(log=tmp_path / "log.jsonl", human_review=True)
        texts = ["sure", "unsure", "fine", "meh"]
        given = asyncio.run(classifier.aclassify_many(texts)) if wait else classifier.classify_many(texts)

        def logged() -> list[int]:
            return [int(decision.id.rpartition(".")[2]) for decision in read(tmp_path / "log.jsonl")]

        assert logged() == [0, 2]
        classifier.answer(given[3].decision_id, "joy")
        assert logged() == [0, 2, 3]
        classifier.answer(given[1].decision_id, "joy")
        assert logged() == [0, 2, 3, 1]

    def test_resumed_by_a_command(self, tmp_path: Path) -> None:
        classifier = make(log=tmp_path / "log.jsonl", human_review=True)
        given = classifier.classify_many(["sure", "unsure"])
        run, _, _ = given[1].decision_id.rpartition(".")
        answers = Command(resume={given[1].decision_id: "anger"})
        classifier.graph.invoke(answers, {"configurable": {"thread_id": run}})
        assert [decision.source for decision in read(tmp_path / "log.jsonl")] == ["model", "human"]

    def test_a_run_of_ones_own(self, tmp_path: Path) -> None:
        classifier = make(log=tmp_path / "log.jsonl", human_review=True)
        run = {"configurable": {"thread_id": "mine"}}
        ((question,), *_) = [
            stop.value for stop in classifier.graph.invoke({"texts": ["sure", "unsure"]}, run)["__interrupt__"]
        ]
        classifier.graph.invoke(Command(resume={question["decision_id"]: "anger"}), run)
        assert [decision.source for decision in read(tmp_path / "log.jsonl")] == ["model", "human"]
        classifier.graph.invoke({"text": "sure"}, run)  # the thread still knows of the earlier run
        assert len(read(tmp_path / "log.jsonl")) == 3

    def test_streamed(self, tmp_path: Path) -> None:
        classifier = make(log=tmp_path / "log.jsonl", human_review=True)
        (stop,) = [update["__interrupt__"] for update in classifier.stream("unsure") if "__interrupt__" in update]
        classifier.answer(stop[0].value[0]["decision_id"], "anger")
        assert [decision.source for decision in read(tmp_path / "log.jsonl")] == ["human"]

    def test_in_a_parent_graph(self, tmp_path: Path) -> None:
        parent = StateGraph(State)
        parent.add_node("mood", make(log=tmp_path / "log.jsonl", human_review=True).graph)
        parent.add_edge(START, "mood")
        parent.add_edge("mood", END)
        compiled = parent.compile(checkpointer=InMemorySaver())
        run = {"configurable": {"thread_id": "mine"}}
        (stop,) = compiled.invoke({"text": "unsure"}, run)["__interrupt__"]
        compiled.invoke(Command(resume={stop.value[0]["decision_id"]: "joy"}), run)
        assert [decision.source for decision in read(tmp_path / "log.jsonl")] == ["human"]

    def test_a_result_that_waits_is_not_written(self, tmp_path: Path) -> None:
        DecisionLog(tmp_path / "log.jsonl").append([result(source="pending", final_label=None, confidence=None)])
        assert read(tmp_path / "log.jsonl") == []


# several at once


@both
def test_threads_share_a_log(name: str, tmp_path: Path) -> None:
    classifier = make(log=tmp_path / name)
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda i: classifier.classify_many([f"text {i}", "meh"]), range(40)))
    found = [decision.id for decision in read(tmp_path / name)]
    assert sorted(found) == sorted(row.decision_id for rows in given for row in rows)
    pairs = [decision_id.rpartition(".")[0] for decision_id in found]
    assert pairs[::2] == pairs[1::2]  # a batch stays together


@both
def test_tasks_of_an_event_loop_share_a_log(name: str, tmp_path: Path) -> None:
    classifier = make(log=tmp_path / name)

    async def ask() -> list[Classification]:
        return list(await asyncio.gather(*(classifier.aclassify(f"text {i}") for i in range(20))))

    expected = {given.decision_id for given in asyncio.run(ask())}
    assert {decision.id for decision in read(tmp_path / name)} == expected


@both
def test_two_logs_on_one_file(name: str, tmp_path: Path) -> None:
    first, second = DecisionLog(tmp_path / name, text="store"), DecisionLog(tmp_path / name, text="store")
    for i in range(6):
        (first, second)[i % 2].append([result(f"text {i}")])
    assert texts_of(tmp_path / name) == [f"text {i}" for i in range(6)]


@both
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_goes_on(name: str, tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / name, text="store")
    log.append([result("before")])
    child = os.fork()
    if child == 0:
        log.append([result("child")])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    log.append([result("after")])
    assert texts_of(tmp_path / name) == ["before", "child", "after"]


@both
def test_read_while_it_is_written(name: str, tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / name, text="store")
    log.append([result("one")])
    rows = iter(read_decisions(tmp_path / name))
    assert next(rows).text == "one"
    log.append([result("two")])
    rows.close()
    assert texts_of(tmp_path / name) == ["one", "two"]


# killed, broken, full


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_line_cut_off_is_skipped_and_the_next_writer_goes_on(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    DecisionLog(path, text="store").append([result("one"), result("two")])
    os.truncate(path, path.stat().st_size - cut)
    decisions = read_decisions(path)
    whole = ["one", "two"] if cut == 1 else ["one"]  # only the end of the line is missing
    assert [decision.text for decision in decisions] == whole
    assert decisions.skipped == 2 - len(whole)
    DecisionLog(path, text="store").append([result("three"), result("four")])
    assert [decision.text for decision in decisions] == [*whole, "three", "four"]
    assert decisions.skipped == 2 - len(whole)  # of this reading, not of both


@pytest.mark.parametrize(
    "line", [b"{", b"not json", b"[]", b"null", b"{}", b'"\xff"', b'{"id": 1}', b"\x00" * 64, b"[" * 5000]
)
def test_a_broken_line_in_the_middle(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path, text="store")
    log.append([result("one")])
    with path.open("ab") as stream:
        stream.write(line + b"\n\n \n")
    log.append([result("two")])
    decisions = read_decisions(path)
    assert [decision.text for decision in decisions] == ["one", "two"]
    assert decisions.skipped == 1  # blank lines are no lines


def test_a_line_of_a_later_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    DecisionLog(path).append([result(source="oracle", reasons=["a new one"])])
    row = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**row, "mood of the machine": 1}) + "\n", encoding="utf-8")
    assert (read(path)[0].source, read(path)[0].reasons) == ("oracle", ("a new one",))


def test_a_broken_row_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = DecisionLog(path, text="store")
    log.append([result(text) for text in ("one", "two", "three", "four")])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE decisions SET reasons = '[' WHERE text = 'two'")
    connection.execute("UPDATE decisions SET id = NULL WHERE text = 'three'")
    connection.commit()
    connection.close()
    decisions = read_decisions(path)
    assert [decision.text for decision in decisions] == ["one", "four"]
    assert decisions.skipped == 2


WRITER = """
import sys
from healdag.store import DecisionLog
from test_decision_log import result
log = DecisionLog(sys.argv[1], text="store")
n = 0
while True:
    log.append([result(f"{n + i} " + "x" * 3000) for i in range(20)])
    n += 20
    print(n, flush=True)
"""


@both
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_killed_while_it_writes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    for _ in range(2):  # the second one goes on where the first was killed
        start = len(texts_of(path)) if path.exists() else 0
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= 200:
                    break
            process.kill()
            said = [line for line in process.stdout.read().split("\n")[:-1] if line]
        written = int(said[-1]) if said else 200
        decisions = read_decisions(path)
        numbers = [int(str(decision.text).split()[0]) for decision in decisions][start:]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= written  # whatever was appended is there
        assert decisions.skipped <= 2  # at most a line per kill
    before = texts_of(path)
    DecisionLog(path, text="store").append([result("after")])
    assert texts_of(path) == [*before, "after"]


class TestAFailingDisk:
    @both
    def test_a_folder_that_vanishes_costs_no_answer(
        self, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tmp_path / "logs"
        folder.mkdir()
        classifier = make(log=folder / name)
        classifier.classify("one")
        shutil.rmtree(folder)
        with caplog.at_level(logging.WARNING, "healdag"):
            assert [classifier.classify(text).final_label for text in ("two", "three")] == ["joy", "joy"]
            assert len(classifier.classify_many(["four", "five"])) == 2
            (warning,) = caplog.messages  # said once
            assert "cannot write the decision log" in warning
            folder.mkdir()
            classifier.classify("six")
        assert caplog.messages[1:] == [f"the decision log {folder / name} is written again; 4 decisions are missing"]
        assert [decision.text_sha256 for decision in read(folder / name)] == [hash_text("six")]

    @both
    def test_a_file_moved_away_is_begun_anew(self, name: str, tmp_path: Path) -> None:
        log = DecisionLog(tmp_path / name, text="store")
        log.append([result("one")])
        (tmp_path / name).rename(tmp_path / f"old-{name}")
        log.append([result("two")])
        assert texts_of(tmp_path / name) == ["two"]

    def test_a_disk_that_is_full_in_the_middle_of_a_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "log.jsonl"
        log = DecisionLog(path, text="store")
        log.append([result("one")])
        size = path.stat().st_size + 40
        resource = pytest.importorskip("resource")
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
            log.append([result("two")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)
        assert path.stat().st_size == size
        assert ["cannot write" in message for message in caplog.messages] == [True]
        log.append([result("three")])
        decisions = read_decisions(path)
        assert [decision.text for decision in decisions] == ["one", "three"]
        assert decisions.skipped == 1

    def test_a_locked_database_costs_no_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **{**options, "timeout": 0.01}))
        classifier = make(log=tmp_path / "log.db")
        other = connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert classifier.classify("one").final_label == "joy"
        assert "database is locked" in caplog.messages[0]
        other.execute("ROLLBACK")
        other.close()
        classifier.classify("two")
        assert len(read(tmp_path / "log.db")) == 1

    def test_whatever_goes_wrong(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        DecisionLog(tmp_path / "log.jsonl").append([result(model_version=object())])
        assert "not JSON serializable" in caplog.messages[0]


# what cannot be


@pytest.mark.parametrize("name", ["log", "log.txt", "log.json", "log.jsonl.gz"])
def test_another_suffix(name: str, tmp_path: Path) -> None:
    for use in (DecisionLog, read_decisions, lambda path: make(log=path)):
        with pytest.raises(ConfigError, match=r"\.jsonl.*\.db, \.sqlite, \.sqlite3.*got '.*log"):
            use(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@both
def test_a_folder_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"cannot write the decision log '.*{name}': .*folder that exists"):
        make(log=tmp_path / "nowhere" / name)


@both
def test_a_folder_in_the_files_place(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="cannot write the decision log"):
        DecisionLog(tmp_path / name)
    with pytest.raises(UsageError, match="no decision log at"):
        read_decisions(tmp_path / name)


def test_a_database_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, however long one looks at it" * 100)
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE decisions (id TEXT, verdict TEXT)")
    connection.close()
    for name, why in (("text.db", "not a database"), ("other.db", "no such column")):
        with pytest.raises(ConfigError, match=why):
            DecisionLog(tmp_path / name)
        with pytest.raises(UsageError, match=f"cannot read the decision log .*{why}"):
            list(read_decisions(tmp_path / name))


def test_a_text_mode_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text must be one of store, hash, omit; got 'keep'"):
        DecisionLog(tmp_path / "log.jsonl", text="keep")  # type: ignore[arg-type]


@both
def test_no_such_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no decision log at .*--log"):
        read_decisions(tmp_path / name)


# settings


def test_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("log:\n  path: a.jsonl\n  text: store\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    make(config_path=tmp_path / "config.yaml").classify("from the file")
    make(config_path=tmp_path / "config.yaml", log="b.jsonl").classify("argument")
    own = DecisionLog(tmp_path / "c.jsonl", text="omit")
    make(config_path=tmp_path / "config.yaml", log=own).classify("object")
    assert texts_of(tmp_path / "a.jsonl") == ["from the file"]  # beside the configuration
    assert texts_of(elsewhere / "b.jsonl") == ["argument"]  # the mode is still that of the file
    assert texts_of(tmp_path / "c.jsonl") == [None]


def test_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("log:\n  path: a.jsonl\n  text: keep\n")
    with pytest.raises(ConfigError, match=r"'log.text' \(line 3 of .*'store', 'hash' or 'omit'"):
        make(config_path=tmp_path / "config.yaml")


def test_a_change_of_folder_does_not_move_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    classifier = make(log="log.jsonl")
    monkeypatch.chdir("elsewhere")
    classifier.classify("one")
    assert len(read(tmp_path / "log.jsonl")) == 1


# reading a part, and in numbers


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    DecisionLog(path, text="omit").append([result()])
    pattern = json.loads(path.read_text(encoding="utf-8"))
    path.write_text("".join(json.dumps({**pattern, **row}) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """Five decisions of two days and models."""
    doubted = {"reasons": ["low_confidence", "sarcasm"], "asked": ["model", "tfidf", "llm"], "ms": [1.0, 2.0, 30.0]}
    return write_lines(
        tmp_path / "log.jsonl",
        [
            {"time": "2025-03-01T10:00:00.000Z", "confidence": 0.5},
            {"time": "2025-03-01T10:59:59.999Z", "confidence": 0.7},
            {"time": "2025-03-01T11:00:00.000Z", **doubted, "accepted": "tfidf", "failed": ["llm"], "source": "backup",
             "label": "anger", "confidence": 0.6},
            {"time": "2025-03-02T00:00:00.000Z", **doubted, "accepted": None, "source": "abstain", "label": None,
             "confidence": None, "ms": [1.0, 4.0, 50.0], "model_version": "mood/2"},
            {"time": "2025-03-02T00:00:00.001Z", "source": "human", "confidence": 1.0, "asked": ["model", "human"],
             "accepted": "human", "ms": [1.0, 0.0], "reasons": ["low_confidence"], "model_version": "mood/2"},
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        ({}, 5),
        ({"since": datetime(2025, 3, 1, 11)}, 3),
        ({"since": datetime(2025, 3, 1, 11, tzinfo=UTC)}, 3),
        ({"until": datetime(2025, 3, 2)}, 3),
        ({"since": datetime(2025, 3, 1, 11), "until": datetime(2025, 3, 2)}, 1),
        ({"model_version": "mood/2"}, 2),
        ({"model_version": "mood"}, 0),
    ],
)
def test_a_part_of_a_log(part: dict[str, Any], rows: int, some: Path) -> None:
    assert len(list(read_decisions(some, **part))) == rows


def test_backups_are_who_came_after_the_primary() -> None:
    row = {**result(), "id": "1", "time": "2025-03-01T10:00:00Z", "label": "joy", "failed": [], "accepted": None}

    def backups(*asked: str, source: str = "model") -> tuple[str, ...]:
        return Decision.model_validate(
            {**row, "asked": asked, "ms": [0.0] * len(asked), "source": source, "chars": 1}
        ).backups

    assert backups("emoji") == backups("memory") == backups("condenser", "model") == ()
    assert backups("model", "human", source="human") == backups("emoji", "human", source="human") == ()
    assert backups("condenser", "model", "a", "b", "human", source="human") == ("a", "b")


def test_in_numbers(some: Path) -> None:
    found = summarize(read_decisions(some))
    assert found.n == 5
    assert (found.first, found.last) == (
        datetime(2025, 3, 1, 10, tzinfo=UTC), datetime(2025, 3, 2, 0, 0, 0, 1000, tzinfo=UTC)
    )  # fmt: skip
    assert found.confidence is not None
    assert found.confidence.mean == pytest.approx(0.7)
    assert {label: (figures.n, figures.share) for label, figures in found.labels.items()} == {
        "joy": (3, 0.6), "-": (1, 0.2), "anger": (1, 0.2)
    }  # fmt: skip
    joy = found.labels["joy"].confidence
    assert joy is not None
    assert joy.mean == pytest.approx((0.5 + 0.7 + 1.0) / 3)
    assert joy.quantiles == pytest.approx({"0.05": 0.52, "0.25": 0.6, "0.5": 0.7, "0.75": 0.85, "0.95": 0.97})
    assert found.labels["-"].confidence is None
    assert {name: count.n for name, count in found.sources.items()} == {
        "model": 2, "abstain": 1, "backup": 1, "human": 1
    }  # fmt: skip
    assert {name: count.n for name, count in found.reasons.items()} == {"low_confidence": 3, "sarcasm": 2}
    assert {name: count.share for name, count in found.model_versions.items()} == {"mood/1": 0.6, "mood/2": 0.4}
    assert (found.backup_asked.n, found.backup_accepted.n) == (2, 1)
    assert (found.backups["tfidf"].asked, found.backups["tfidf"].failed, found.backups["tfidf"].accepted) == (2, 0, 1)
    assert (found.backups["llm"].failed, found.backups["llm"].accepted, found.backups["llm"].ms) == (1, 0, 40.0)


def test_over_time(some: Path) -> None:
    days = summarize(read_decisions(some)).periods
    assert [(day.start, day.n, day.doubted, day.backup, day.unanswered) for day in days] == [
        ("2025-03-01", 3, 1, 1, 0),
        ("2025-03-02", 2, 2, 1, 1),
    ]
    assert [day.confidence for day in days] == [pytest.approx(0.6), 1.0]
    assert days[0].labels == {"joy": 2, "anger": 1}
    hours = summarize(read_decisions(some), by="hour").periods
    assert [(hour.start, hour.n) for hour in hours] == [
        ("2025-03-01T10:00Z", 2), ("2025-03-01T11:00Z", 1), ("2025-03-02T00:00Z", 2)
    ]  # fmt: skip


def test_several_labels_in_numbers(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", [{"label": ["joy", "anger"]}, {"label": ["joy"]}, {"label": []}])
    found = summarize(read_decisions(path))
    assert {label: figures.n for label, figures in found.labels.items()} == {"joy": 2, "(none)": 1, "anger": 1}


def test_nothing_in_numbers(tmp_path: Path) -> None:
    DecisionLog(tmp_path / "log.db")
    found = summarize(read_decisions(tmp_path / "log.db"))
    assert (found.n, found.first, found.confidence, found.periods, found.backup_asked.share) == (0, None, None, [], 0)


# the command line


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEALDAG_CONFIG", "HEALDAG_MODELS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def run(*args: str | Path, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands get a fake model."""
    model = FakePredictor(LABELS, answers=ANSWERS, default={"joy": 0.9}, name="model")

    def create(task: str | None = None, **options: Any) -> Any:
        return REAL_FACTORY(primary=model, enable_backup=False, log=options["log"])

    monkeypatch.setattr(healdag.graph, "create_classifier", create)


@both
@pytest.mark.usefixtures("fake")
def test_classify_and_chat_write_a_log(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (tmp_path / "texts.txt").write_text("".join(f"text {i}\n" for i in range(300)))
    assert run("classify", "hello", "lost", "--log", path).exit_code == 0
    assert run("classify", "--file", tmp_path / "texts.txt", "--log", path).exit_code == 0
    output = run("chat", "--log", path, stdin="hi\nquit\n")
    assert output.exit_code == 0
    assert "finalize -> log" in output.stdout
    assert len(read(path)) == 303


@pytest.mark.usefixtures("fake")
def test_classify_refuses_a_log_that_cannot_be(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "log.txt", "a decision log is"), (tmp_path / "no" / "log.db", "cannot write")):
        done = run("classify", "hello", "--log", path)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {why}")
        assert done.stderr.count("\n") == 1


def test_stats(some: Path) -> None:
    with some.open("ab") as stream:
        stream.write(b'{"cut off')
    done = run("stats", some)
    assert (done.exit_code, done.stderr) == (0, "broken lines passed over: 1\n")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "decisions: 5, 2025-03-01 10:00:00 to 2025-03-02 00:00:00 UTC, mean confidence: 0.700"
    for line in (
        "joy 3 60.0% 0.733 0.520 0.600 0.700 0.850 0.970",
        "- 1 20.0% - - - - - -",
        "backup 1 20.0%",
        "low_confidence 3 60.0%",
        "mood/2 2 40.0%",
        "a backup was asked: 2 (40.0%), its answer was taken: 1 (20.0%)",
        "llm 2 1 0 40.00",
        "2025-03-01 3 1 1 0 0.600 joy",
    ):
        assert line in lines
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_stats_of_a_part(some: Path) -> None:
    done = run("stats", some, "--since", "2025-03-01T11:00:00", "--until", "2025-03-02", "--by", "hour")
    assert done.stdout.startswith("decisions: 1, 2025-03-01 11:00:00")
    assert "2025-03-01T11:00Z" in done.stdout
    assert run("stats", some, "--model-version", "mood/2").stdout.startswith("decisions: 2,")


def test_stats_shows_the_latest_days(tmp_path: Path) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    days = [{"time": (start + timedelta(days=i)).isoformat()} for i in range(40)]
    output = run("stats", write_lines(tmp_path / "log.jsonl", days)).stdout
    assert "by day, in UTC, the latest 30 of 40" in output
    assert ("2025-01-10" in output.partition("by day")[2], "2025-01-11" in output) == (False, True)


@both
@pytest.mark.usefixtures("fake")
def test_stats_as_json(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    run("classify", "hello", "meh", "--log", path)
    done = run("stats", path, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    content = json.loads(done.stdout)
    assert (content["log"], content["n"], content["skipped"]) == (str(path), 2, 0)
    assert content["labels"]["joy"]["n"] == 1
    assert content["labels"]["joy"]["confidence"]["mean"] == 0.9
    assert content["sources"] == {"model": {"n": 2, "share": 1.0}}
    assert datetime.fromisoformat(content["first"]).tzinfo is not None
    assert len(content["periods"]) in {1, 2}  # midnight may pass


def test_stats_of_nothing(tmp_path: Path) -> None:
    DecisionLog(tmp_path / "log.jsonl")
    done = run("stats", tmp_path / "log.jsonl")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("no decisions in ")
    content = json.loads(run("stats", tmp_path / "log.jsonl", "--json").stdout)
    assert (content["n"], content["first"], content["labels"]) == (0, None, {})


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["missing.jsonl"], "no decision log at 'missing.jsonl'"),
        (["log.csv"], "a decision log is JSON lines"),
        (["text.db"], "cannot read the decision log 'text.db': file is not a database"),
        (["log.jsonl", "--since", "soon"], "Invalid value for '--since'"),
    ],
)
def test_stats_refuses(arguments: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("no database at all" * 200)
    Path("log.csv").write_text("")
    done = run("stats", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {why}")


def test_threads_that_end_leave_nothing_open(tmp_path: Path) -> None:
    """A log may be dropped in another thread than it was made in."""
    logs = [DecisionLog(tmp_path / "log.db")]
    logs[0].append([result()])
    thread = threading.Thread(target=logs.clear)
    thread.start()
    thread.join()
    assert not (tmp_path / "log.db-wal").exists()  # SQLite removes it when the last connection is closed
