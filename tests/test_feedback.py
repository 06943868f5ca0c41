"""The feedback store: events, revocations, export and import, and databases that misbehave."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql
from pydantic import ValidationError

from healdag.errors import ConfigError, MissingExtraError, StoreError, UsageError
from healdag.store import feedback as module
from healdag.store.feedback import FeedbackEvent, FeedbackStore, text_key

LABELS = ("joy", "anger", "neutral")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "feedback.db"


SERVER = os.environ.get("HEALDAG_TEST_POSTGRES", "")
needs_server = pytest.mark.skipif(not SERVER, reason="HEALDAG_TEST_POSTGRES names no database")


@pytest.fixture
def store(place: Path) -> Iterator[FeedbackStore]:
    opened = FeedbackStore.open(place, text="store")
    yield opened
    opened.close()


def empty_server() -> str:
    """The URL of the PostgreSQL database, without a feedback table."""
    engine, _ = module._engine(SERVER)
    module._TABLE.drop(engine, checkfirst=True)
    engine.dispose()
    return SERVER


class OnBoth:
    """Tests that run on SQLite, and on PostgreSQL where there is a server."""

    @pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_server)])
    def address(self, request: pytest.FixtureRequest, place: Path) -> str:
        return str(place) if request.param == "sqlite" else empty_server()

    @pytest.fixture
    def store(self, address: str) -> Iterator[FeedbackStore]:
        opened = FeedbackStore.open(address, text="store")
        yield opened
        opened.close()


def add(
    store: FeedbackStore, text: str = "well done", label: str | list[str] = "anger", **more: object
) -> FeedbackEvent:
    return store.add(**{"task": "mood", "text": text, "label": label, "labels": LABELS, **more})  # type: ignore[arg-type]


class TestEvents(OnBoth):
    def test_everything_that_is_said_is_read_again(self, store: FeedbackStore) -> None:
        before = datetime.now(UTC)
        event = add(
            store,
            "Well Done",
            previous_label="joy",
            confidence=0.7,
            by="ann",
            decision_id="run-1.0",
            model_version="mood/1.0.0",
            embedding=b"\x00\xff\x01",
        )
        assert (event.seq, event.kind, event.task, event.text, event.label) == (
            1,
            "correction",
            "mood",
            "Well Done",
            "anger",
        )
        assert event.text_sha256 == text_key("wELL dONE")
        assert event.labels == LABELS
        assert before <= event.time <= datetime.now(UTC)
        assert event.time.utcoffset() is not None
        assert event.id.startswith("f-")
        assert (event.previous_label, event.confidence, event.by) == ("joy", 0.7, "ann")
        assert (event.decision_id, event.model_version, event.embedding) == ("run-1.0", "mood/1.0.0", b"\x00\xff\x01")
        assert list(store.events()) == [event] == store.standing("mood")
        assert store.get(event.id) == event
        assert store.last_seq() == 1

    @pytest.mark.parametrize("label", [["joy", "anger"], []])
    def test_lists_of_labels(self, store: FeedbackStore, label: list[str]) -> None:
        event = add(store, label=label, previous_label=["neutral"])
        assert list(store.events()) == [event]
        assert (event.label, event.previous_label) == (label, ["neutral"])

    def test_texts_are_kept_only_where_asked_for(self, address: str, place: Path) -> None:
        store = FeedbackStore.open(address)
        assert add(store, "a secret text").text is None
        assert [e.text for e in store.events()] == [None]
        store.close()
        assert b"secret" not in b"".join(path.read_bytes() for path in place.parent.iterdir())

    @pytest.mark.parametrize("by", ["a\x00b", "half \ud83d", "two\nlines"])
    def test_a_name_that_cannot_be_kept(self, store: FeedbackStore, by: str) -> None:
        event = add(store, by="Änn 😀")
        with pytest.raises(UsageError, match=r"by='.*' is no name"):
            add(store, by=by)
        with pytest.raises(UsageError, match=r"by='.*' is no name"):
            store.revoke(event.id, by=by)
        assert list(store.events()) == [event]

    def test_tasks_and_after(self, store: FeedbackStore) -> None:
        events = [add(store, f"text {i}", task="mood" if i % 2 else "other") for i in range(6)]
        assert list(store.events("mood")) == events[1::2]
        assert list(store.events(after=events[2].seq)) == events[3:]
        assert store.standing("mood", after=events[1].seq) == events[3::2]
        assert store.standing("nowhere") == []

    def test_pages_leave_none_out(self, store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_PAGE", 3)
        events = [add(store, f"text {i}") for i in range(7)]
        assert list(store.events()) == events

    def test_a_task_may_be_opened_again(self, store: FeedbackStore, address: str) -> None:
        event = add(store)
        store.close()
        again = FeedbackStore.open(address)
        assert list(again.events()) == [event]
        assert add(again).seq == 2
        again.close()

    def test_events_may_be_added_while_they_are_read(self, store: FeedbackStore) -> None:
        first = add(store)
        seen = store.events()
        assert next(seen) == first
        second = add(store)
        assert list(seen) == [second]

    def test_in_memory(self) -> None:
        store = FeedbackStore.open(":memory:")
        threads = [threading.Thread(target=add, args=(store, f"text {i}")) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [event.seq for event in store.events()] == list(range(1, 9))
        assert list(FeedbackStore.open(":memory:").events()) == []

    def test_several_make_the_table_at_once(self, address: str) -> None:
        together, made, errors = threading.Barrier(6), [], []

        def make() -> None:
            together.wait(60)
            try:
                made.append(FeedbackStore.open(address))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=make) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [add(store).seq for store in made] == list(range(1, 7))
        for store in made:
            store.close()

    def test_several_writers_wait_for_each_other(self, address: str) -> None:
        stores = [FeedbackStore.open(address) for _ in range(2)]
        errors: list[Exception] = []

        def write(store: FeedbackStore, name: str) -> None:
            try:
                for i in range(15):
                    add(store, f"{name} {i}", by=name)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(stores[i % 2], str(i))) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        events = list(stores[0].events())
        assert [event.seq for event in events] == list(range(1, 61))
        assert len({event.id for event in events}) == 60
        for store in stores:
            store.close()

    @pytest.mark.parametrize(
        "change",
        [{"kind": "revocation"}, {"label": None}, {"revokes": "f-1"}, {"text_sha256": "short"}, {"time": "yesterday"}],
    )
    def test_what_is_no_event(self, store: FeedbackStore, change: dict[str, object]) -> None:
        content = add(store).model_dump(mode="json")
        with pytest.raises(ValidationError):
            FeedbackEvent.model_validate({**content, **change})


class TestRevocation(OnBoth):
    def test_a_correction_stands_until_it_is_revoked(self, store: FeedbackStore) -> None:
        first, second, third = add(store), add(store, label="joy"), add(store, "other text")
        assert store.standing("mood") == [first, second, third]
        revocation = store.revoke(second.id, by="bob")
        assert (revocation.kind, revocation.revokes, revocation.by, revocation.label) == (
            "revocation",
            second.id,
            "bob",
            None,
        )
        assert (revocation.text_sha256, revocation.task) == (second.text_sha256, "mood")
        assert store.standing("mood") == [first, third]
        assert list(store.events()) == [first, second, third, revocation]

    def test_twice(self, store: FeedbackStore) -> None:
        event = add(store)
        store.revoke(event.id, by="ann")
        with pytest.raises(UsageError, match="was revoked already by 'ann'"):
            store.revoke(event.id)
        assert store.last_seq() == 2

    def test_two_at_once(self, store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
        event = add(store)
        append = store._append

        def after_another(values: dict[str, object]) -> FeedbackEvent:
            monkeypatch.setattr(store, "_append", append)
            store.revoke(event.id, by="the quicker")
            return append(values)

        monkeypatch.setattr(store, "_append", after_another)
        with pytest.raises(UsageError, match="revoked already by 'the quicker'"):
            store.revoke(event.id)
        assert store.last_seq() == 2

    def test_what_is_not_there(self, store: FeedbackStore) -> None:
        with pytest.raises(UsageError, match=r"'f-none' is not there.*healdag feedback list"):
            store.revoke("f-none")

    def test_of_a_revocation(self, store: FeedbackStore) -> None:
        revocation = store.revoke(add(store).id)
        with pytest.raises(UsageError, match="is itself a revocation"):
            store.revoke(revocation.id)


class TestFiles(OnBoth):
    def test_export_and_import(self, store: FeedbackStore, tmp_path: Path) -> None:
        add(store, "ünï 😀", by="ann", embedding=bytes(range(256)), task="other")
        event = add(store, label=["joy"], previous_label=[])
        store.revoke(event.id)
        path = tmp_path / "events.jsonl"
        assert store.export(path) == 3
        other = FeedbackStore.open(tmp_path / "other.db", text="store")
        other.add(task="mood", text="own", label="joy", labels=LABELS)
        assert other.import_(path) == 3
        mine, theirs = list(store.events()), list(other.events())[1:]
        assert [e.model_copy(update={"seq": 0}) for e in theirs] == [e.model_copy(update={"seq": 0}) for e in mine]
        assert [e.seq for e in theirs] == [2, 3, 4]
        assert other.import_(path) == 0
        assert other.last_seq() == 4
        assert store.export(path, "other") == 1
        assert json.loads(path.read_text(encoding="utf-8"))["task"] == "other"

    def test_a_store_without_texts_takes_none_in(self, store: FeedbackStore, tmp_path: Path) -> None:
        add(store, "secret")
        store.export(tmp_path / "events.jsonl")
        other = FeedbackStore.open(":memory:")
        assert other.import_(tmp_path / "events.jsonl") == 1
        assert [e.text for e in other.events()] == [None]

    def test_broken_lines_do_not_cost_the_others(self, store: FeedbackStore, tmp_path: Path) -> None:
        add(store)
        add(store, "second")
        path = tmp_path / "events.jsonl"
        store.export(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([lines[0], "not json", "", lines[1], lines[1][:40]]), encoding="utf-8")
        other = FeedbackStore.open(":memory:")
        with pytest.raises(UsageError, match=r"in line 2 .*line 5 .*; 2 new events"):
            other.import_(path)
        assert len(other.standing("mood")) == 2

    def test_a_second_revocation_of_the_same_correction(self, store: FeedbackStore, tmp_path: Path) -> None:
        event = add(store)
        path, other = tmp_path / "events.jsonl", FeedbackStore.open(":memory:")
        store.export(path)
        other.import_(path)
        other.revoke(event.id, by="there")
        store.revoke(event.id, by="here")
        store.export(path)
        assert other.import_(path) == 0
        assert [e.by for e in other.events()] == [None, "there"]

    def test_no_such_file(self, store: FeedbackStore, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.import_(tmp_path / "none.jsonl")


class TestBadDatabases:
    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none/feedback.db.*unable to open.*folder that exists"):
            FeedbackStore.open(tmp_path / "none" / "feedback.db")

    def test_a_file_that_is_no_database(self, place: Path) -> None:
        place.write_text("something else, and long enough to be seen as such\n" * 50, encoding="utf-8")
        with pytest.raises(ConfigError, match="not a database"):
            FeedbackStore.open(place)
        assert place.read_text(encoding="utf-8").startswith("something else")

    def test_a_table_of_another_form(self, place: Path) -> None:
        with sqlite3.connect(place) as connection:
            connection.execute("CREATE TABLE healdag_feedback (note TEXT)")
        connection.close()
        with pytest.raises(ConfigError, match="no such column"):
            FeedbackStore.open(place)

    def test_another_value_for_text(self, place: Path) -> None:
        with pytest.raises(ConfigError, match="store, hash; got 'keep'"):
            FeedbackStore.open(place, text="keep")  # type: ignore[arg-type]

    def test_a_locked_database(self, store: FeedbackStore, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add(store)
        monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
        impatient = FeedbackStore.open(place)
        holder = sqlite3.connect(place, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"cannot write to .*feedback.db.*locked.*end the process"):
            add(impatient)
        assert len(list(impatient.events())) == 1  # reading goes on
        holder.execute("ROLLBACK")
        holder.close()
        assert add(impatient).seq == 2

    def test_a_full_disk(self, store: FeedbackStore) -> None:
        first = add(store)

        def small(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")  # it is set to the pages that there are

        sql.event.listen(store._engine, "connect", small)
        with pytest.raises(StoreError, match="full; make room"):
            add(store, "x" * 100_000)
        assert list(store.events()) == [first]
        sql.event.remove(store._engine, "connect", small)
        assert add(store, "x" * 100_000).seq == 2

    def test_a_database_that_is_damaged_meanwhile(self, store: FeedbackStore, place: Path) -> None:
        add(store)
        place.write_bytes(b"damaged" * 2000)
        for other in place.parent.glob("feedback.db-*"):
            other.unlink()
        with pytest.raises(StoreError, match="cannot read the feedback store"):
            list(store.events())

    def test_texts_are_not_in_messages(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = FeedbackStore.open(place, text="store")
        monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
        store = FeedbackStore.open(place, text="store")
        holder = sqlite3.connect(place, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as raised:
            add(store, "a secret")
        holder.close()
        assert "secret" not in str(raised.value) + str(raised.value.__cause__)

    @pytest.mark.parametrize("url", ["nowhere://host/db", "postgresql+nodriver://host/db"])
    def test_a_url_that_nobody_reads(self, url: str) -> None:
        with pytest.raises(ConfigError, match="cannot read the feedback URL"):
            FeedbackStore.open(url)

    def test_a_driver_that_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(MissingExtraError, match="postgres"):
            FeedbackStore.open("postgresql://user:secret@localhost/db")


@needs_server
class TestAServer:
    @pytest.fixture
    def store(self) -> Iterator[FeedbackStore]:
        opened = FeedbackStore.open(empty_server(), text="store")
        yield opened
        opened.close()

    def test_somebody_holds_the_table(self, store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
        first = add(store)
        with store._engine.connect() as other, other.begin() as transaction:
            other.execute(sql.text("LOCK TABLE healdag_feedback IN SHARE ROW EXCLUSIVE MODE"))
            with pytest.raises(StoreError, match=r"cannot write to .*lock timeout after waiting 0.05 s; end the"):
                add(store)
            assert list(store.events()) == [first]  # reading goes on
            transaction.rollback()
        assert [event.text for event in (add(store), *store.events())] == ["well done"] * 3

    def test_connections_that_the_server_has_closed(self, store: FeedbackStore) -> None:
        add(store)
        other, _ = module._engine(SERVER)
        with other.connect() as connection:
            running = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
            found = sql.text(f"SELECT pg_terminate_backend(pid) {running}")
            connection.execute(found)
        other.dispose()
        assert [event.text for event in (add(store), *store.events())] == ["well done"] * 3

    def test_out_of_reach(self) -> None:
        url = sql.make_url(SERVER).set(port=1, password="hidden")
        with pytest.raises(ConfigError, match="cannot open the feedback store") as raised:
            FeedbackStore.open(url.render_as_string(hide_password=False))
        assert "hidden" not in str(raised.value)


def test_urls_of_sqlite(place: Path) -> None:
    add(FeedbackStore.open(f"sqlite:///{place}"))
    assert len(list(FeedbackStore.open(place).events())) == 1


def test_the_table_and_queries_are_also_postgresqls(store: FeedbackStore) -> None:
    from sqlalchemy.dialects import postgresql

    create = str(sql.schema.CreateTable(module._TABLE).compile(dialect=postgresql.dialect()))
    assert "seq BIGSERIAL NOT NULL" in create
    assert "TIMESTAMP WITH TIME ZONE" in create
    assert "BYTEA" in create


def test_a_relative_path_does_not_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = FeedbackStore.open("feedback.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    add(store)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_can_write(place: Path) -> None:
    code = f"""
import os, sys
from healdag.store.feedback import FeedbackStore
store = FeedbackStore.open({str(place)!r})
store.add(task="mood", text="parent", label="joy", labels=("joy",))
child = os.fork()
if child == 0:
    store.add(task="mood", text="child", label="joy", labels=("joy",))
    os._exit(0)
_, status = os.waitpid(child, 0)
store.add(task="mood", text="parent again", label="joy", labels=("joy",))
sys.exit(os.waitstatus_to_exitcode(status))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert [event.seq for event in FeedbackStore.open(place).events()] == [1, 2, 3]
