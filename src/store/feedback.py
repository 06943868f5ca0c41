"""The feedback store: what people said about answers, as events that are only ever appended."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

import sqlalchemy as sql
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from ..errors import ConfigError, MissingExtraError, StoreError, UsageError
from .feedback_place import IN_MEMORY
from .row import text_key

__all__ = ["FeedbackEvent", "FeedbackStore", "FeedbackText", "text_key"]

EVENT_PREFIX = "f-"
FeedbackText = Literal["store", "hash"]
"""What becomes of a corrected text: kept, or kept as its SHA-256 alone."""
_PAGE = 1000
_BUSY_SECONDS = 5.0
"""How long a writer waits for another process that is writing."""
_CONNECT_SECONDS = 10
"""How long to wait for a server that does not answer."""

_TABLE = sql.Table(
    "healdag_feedback",
    sql.MetaData(),
    # An INTEGER primary key is SQLite's row number; with AUTOINCREMENT none is ever given twice.
    sql.Column("seq", sql.BigInteger().with_variant(sql.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sql.Column("id", sql.String(64), nullable=False, unique=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("task", sql.Text, nullable=False, index=True),
    sql.Column("kind", sql.String(16), nullable=False),
    sql.Column("text_sha256", sql.String(64), nullable=False, index=True),
    sql.Column("text", sql.Text),
    sql.Column("label", sql.JSON(none_as_null=True)),
    sql.Column("labels", sql.JSON, nullable=False),
    sql.Column("previous_label", sql.JSON(none_as_null=True)),
    sql.Column("confidence", sql.Float),
    sql.Column("by", sql.Text),
    sql.Column("decision_id", sql.Text),
    sql.Column("model_version", sql.Text),
    sql.Column("embedding", sql.LargeBinary),
    sql.Column("revokes", sql.String(64), unique=True),  # of two revocations at once one fails
    sqlite_autoincrement=True,
)


class FeedbackEvent(BaseModel):
    """One thing that a person said: what is right for a text, or that an earlier correction is withdrawn.

    As JSON the embedding is base64. Unknown fields are passed over: a store outlives the version that wrote it.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    id: str = Field(min_length=1, max_length=64, description="'f-' and 32 hexadecimal digits.")
    seq: int = Field(description="Ascending; given by the database that the event lies in.")
    time: AwareDatetime = Field(description="When it was said, in UTC.")
    task: str = Field(min_length=1, description="The task that the label is of.")
    kind: Literal["correction", "revocation"] = Field(description="What it is.")
    text_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="See text_key: of the cleaned text, letter case aside."
    )
    text: str | None = Field(default=None, description="The cleaned text, where texts are stored.")
    label: str | list[str] | None = Field(
        description="What is right, in a multi-label task the list of labels; None for a revocation."
    )
    labels: tuple[str, ...] = Field(description="What there was to choose from.")
    previous_label: str | list[str] | None = Field(default=None, description="What had been answered, where known.")
    confidence: float | None = Field(default=None, description="Of that answer, 0 to 1, where known.")
    by: str | None = Field(default=None, description="Who said it.")
    decision_id: str | None = Field(default=None, description="The decision that was corrected, where known.")
    model_version: str | None = Field(default=None, description="Of the model that had answered, where known.")
    embedding: bytes | None = Field(default=None, description="Of the text: float16, little endian, where known.")
    revokes: str | None = Field(default=None, description="Id of the correction that is withdrawn.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "revocation") != (self.label is None) or (self.kind == "revocation") != bool(self.revokes):
            raise ValueError("a correction has a label and revokes nothing, a revocation has none and revokes an event")
        return self


class FeedbackStore:
    """Corrections and their revocations in a database: SQLite, or what SQLAlchemy reads, PostgreSQL above all.

    Events are appended; none is changed or deleted. Safe to share between threads, and the database between processes:
    writers take turns, so that an event with a lower ``seq`` is never seen after one with a higher.
    Made by :meth:`open`.

    Attributes:
        place: What was opened, passwords left out.
        text: Whether texts are kept.
    """

    def __init__(self, engine: sql.Engine, place: str, text: FeedbackText) -> None:
        self.place = place
        self.text = text
        self._engine = engine
        self._process = os.getpid()
        self._lock = threading.RLock()
        # The database in memory has one connection, which threads have to take turns with.
        self._turns = isinstance(engine.pool, StaticPool)

    @classmethod
    def open(cls, place: str | Path, *, text: FeedbackText = "hash") -> FeedbackStore:
        """Opens a store, and makes its table where there is none.

        Args:
            place: A file for SQLite; a URL as SQLAlchemy reads it, for example ``postgresql://user@host/database``
                (extra ``postgres``); or ``:memory:``, which is gone with the process.
            text: Whether corrected texts are kept ('store'), or only their SHA-256 and embedding ('hash').
                Training on corrections needs the texts.

        Raises:
            ConfigError: it cannot be opened, or the table has another form.
            MissingExtraError: the database's driver is not installed.
        """
        if text not in get_args(FeedbackText):
            raise ConfigError(f"feedback.text must be one of {', '.join(get_args(FeedbackText))}; got {text!r}")
        engine, shown = _engine(place)
        store = cls(engine, shown, text)
        try:
            _make_table(engine)
            with engine.connect() as connection:
                connection.execute(sql.select(_TABLE).limit(0))
        except ImportError as error:
            raise _driver_missing(engine.url, error) from None
        except SQLAlchemyError as error:
            engine.dispose()
            raise ConfigError(
                f"cannot open the feedback store {shown!r}: {_why(error)}; give a file in a folder that exists, or the "
                "URL of a database that can be reached"
            ) from None
        return store

    def add(
        self,
        *,
        task: str,
        text: str,
        label: str | Sequence[str],
        labels: Sequence[str],
        previous_label: str | Sequence[str] | None = None,
        confidence: float | None = None,
        by: str | None = None,
        decision_id: str | None = None,
        model_version: str | None = None,
        embedding: bytes | None = None,
    ) -> FeedbackEvent:
        """Appends a correction.

        Args:
            task: The task's name.
            text: As the models read it, see :func:`healdag.text.clean_text`.
            label: What is right; in a multi-label task the list of labels that apply.
            labels: What there was to choose from.
            previous_label: What had been answered.
            confidence: Of that answer.
            by: Who says so.
            decision_id: The decision that is corrected.
            model_version: Of the model that had answered.
            embedding: Of the text: float16, little endian.

        Returns:
            The event as it is stored.

        Raises:
            UsageError: a name that cannot be kept.
            StoreError: the database is locked, full or gone; nothing was written.
        """
        return self._append(
            {
                "task": task,
                "kind": "correction",
                "text_sha256": text_key(text),
                "text": text if self.text == "store" else None,
                "label": label if isinstance(label, str) else list(label),
                "labels": list(labels),
                "previous_label": previous_label if isinstance(previous_label, str | None) else list(previous_label),
                "confidence": confidence,
                "by": by,
                "decision_id": decision_id,
                "model_version": model_version,
                "embedding": embedding,
            }
        )

    def revoke(self, event_id: str, by: str | None = None) -> FeedbackEvent:
        """Withdraws a correction, by an event of its own.

        Args:
            event_id: Id of the correction.
            by: Who withdraws it.

        Returns:
            The revocation.

        Raises:
            UsageError: there is no such correction, it is withdrawn already, or a name that cannot be kept.
            StoreError: the database is locked, full or gone; nothing was written.
        """
        found = self.get(event_id)
        if found is None or found.kind != "correction":
            what = "is itself a revocation" if found is not None else "is not there"
            raise UsageError(
                f"the event {event_id!r} {what} in {self.place!r}; 'healdag feedback list' shows the corrections"
            )
        earlier = self._rows(sql.select(_TABLE).where(_TABLE.c.revokes == event_id))
        if not earlier:
            values = {"task": found.task, "kind": "revocation", "text_sha256": found.text_sha256, "by": by}
            try:
                return self._append({**values, "label": None, "labels": list(found.labels), "revokes": event_id})
            except sql.exc.IntegrityError:  # another process was quicker
                earlier = self._rows(sql.select(_TABLE).where(_TABLE.c.revokes == event_id))
        who = f" by {earlier[0].by!r}" if earlier[0].by is not None else ""
        raise UsageError(f"the correction {event_id!r} was revoked already{who}, at {earlier[0].time.isoformat()}")

    def get(self, event_id: str) -> FeedbackEvent | None:
        """The event with this id; None where there is none."""
        found = self._rows(sql.select(_TABLE).where(_TABLE.c.id == event_id))
        return found[0] if found else None

    def last_seq(self) -> int:
        """The largest ``seq``; 0 where there is no event. Quick: it reads one entry of an index."""
        with self._read() as connection:
            return int(connection.execute(sql.select(sql.func.max(_TABLE.c.seq))).scalar() or 0)

    def events(self, task: str | None = None, *, after: int = 0) -> Iterator[FeedbackEvent]:
        """Every event by ``seq``, read while one iterates.

        Args:
            task: Of this task only.
            after: Only those with a larger ``seq``.

        Raises:
            StoreError: the database cannot be read.
        """
        while page := self._rows(_of(task, after).limit(_PAGE)):
            yield from page
            after = page[-1].seq

    def standing(self, task: str, *, after: int = 0) -> list[FeedbackEvent]:
        """The corrections of a task that are not withdrawn, by ``seq``; all of them, also several for one text.

        Args:
            task: The task's name.
            after: Only those with a larger ``seq``.

        Raises:
            StoreError: the database cannot be read.
        """
        return self._rows(_of(task, after).where(_TABLE.c.kind == "correction", _not_withdrawn()))

    def of_decision(self, decision_id: str) -> list[FeedbackEvent]:
        """The corrections of a decision that are not withdrawn, by ``seq``.

        Raises:
            StoreError: the database cannot be read.
        """
        query = _of(None, 0).where(_TABLE.c.kind == "correction", _TABLE.c.decision_id == decision_id)
        return self._rows(query.where(_not_withdrawn()))

    def export(self, path: str | Path, task: str | None = None) -> int:
        """Writes the events as JSON lines, in place of what the file held; returns how many.

        Raises:
            OSError: the file cannot be written.
            StoreError: the database cannot be read.
        """
        count = 0
        with Path(path).expanduser().open("w", encoding="utf-8", newline="\n") as stream:
            for event in self.events(task):
                stream.write(event.model_dump_json() + "\n")
                count += 1
        return count

    def import_(self, path: str | Path) -> int:
        """Appends the events of an exported file, in its order, with new ``seq``; returns how many were new.

        Events whose id is here already are passed over, and so is a second revocation of the same correction.

        Raises:
            UsageError: some lines hold no event; the others have been imported.
            OSError: the file cannot be read.
            StoreError: the database is locked, full or gone; nothing was written.
        """
        rows, broken = [], []
        with Path(path).expanduser().open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.isspace():
                    try:
                        rows.append(FeedbackEvent.model_validate_json(line).model_dump(exclude={"seq"}))
                    except ValidationError as error:
                        broken.append(f"line {number} ({error.errors()[0]['msg']})")
        for row in rows:
            row["text"] = row["text"] if self.text == "store" else None
        count = self._append_new(rows)
        if broken:
            shown = ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
            raise UsageError(
                f"{str(path)!r}: no feedback event in {shown}; {count} new events of the other lines were imported. "
                "Mend these lines and import again: what is there is passed over"
            )
        return count

    def close(self) -> None:
        """Closes the connections; a database in memory is gone."""
        self._engine.dispose()

    def _append(self, values: dict[str, Any]) -> FeedbackEvent:
        by = values.get("by")
        if by is not None and not by.isprintable():
            raise UsageError(f"by={by!r} is no name: it holds characters that cannot be shown; leave them out")
        row = {"id": f"{EVENT_PREFIX}{uuid.uuid4().hex}", "time": _now(), **values}
        with self._write() as connection:
            seq = connection.execute(sql.insert(_TABLE).values(**row)).inserted_primary_key
        assert seq is not None
        return FeedbackEvent(**row, seq=int(seq[0]))

    def _append_new(self, rows: list[dict[str, Any]]) -> int:
        if not rows:
            return 0
        with self._write() as connection:  # nobody else writes between the look and the insertion
            there = set(connection.execute(sql.select(_TABLE.c.id)).scalars())
            revoked = set(connection.execute(sql.select(_TABLE.c.revokes)).scalars()) - {None}
            fresh = []
            for row in rows:
                if row["id"] not in there and row["revokes"] not in revoked:
                    there.add(row["id"])
                    revoked |= {row["revokes"]} - {None}
                    fresh.append({**row, "labels": list(row["labels"]), "time": row["time"].astimezone(UTC)})
            if fresh:
                connection.execute(sql.insert(_TABLE), fresh)
        return len(fresh)

    def _rows(self, query: sql.Select[Any]) -> list[FeedbackEvent]:
        with self._read() as connection:
            found = connection.execute(query).mappings().all()
        return [_event(dict(row)) for row in found]

    @contextmanager
    def _read(self) -> Iterator[sql.Connection]:
        with self._doing("read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sql.Connection]:
        """A transaction in which nobody else writes."""
        with (
            self._doing("write to"),
            self._engine.connect().execution_options(healdag_writes=True) as connection,
            connection.begin(),
        ):
            if connection.dialect.name == "postgresql":  # or events would become visible in another order than numbered
                connection.execute(sql.text(f"SET LOCAL lock_timeout = '{_BUSY_SECONDS:g}s'"))
                connection.execute(sql.text(f"LOCK TABLE {_TABLE.name} IN SHARE ROW EXCLUSIVE MODE"))
            yield connection

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        if self._process != os.getpid():  # connections of the process that forked this one are not ours to use
            self._process, self._lock = os.getpid(), threading.RLock()
            if not self._turns:
                self._engine.dispose(close=False)
        try:
            if self._turns:
                with self._lock:
                    yield
            else:
                yield
        except sql.exc.IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise StoreError(
                f"cannot {what} the feedback store {self.place!r}: {_why(error)}{_advice(error)}"
            ) from error


def _engine(place: str | Path) -> tuple[sql.Engine, str]:
    """An engine, and the place as it may be shown."""
    if isinstance(place, str) and "://" in place:
        try:
            url = sql.make_url(place)
            if url.drivername in {"postgres", "postgresql"}:
                url = url.set(drivername="postgresql+psycopg")
            shown = url.render_as_string(hide_password=True)
            if url.get_backend_name() != "sqlite":
                options: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
                if url.drivername == "postgresql+psycopg" and "connect_timeout" not in url.query:
                    options["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
                return sql.create_engine(url, **options), shown
        except (ArgumentError, NoSuchModuleError) as error:
            raise ConfigError(
                f"cannot read the feedback URL {place.partition('://')[0] + '://...'!r}: {_why(error)}; for example "
                "'postgresql://user@host/database', or the path of a file"
            ) from None
        except ImportError as error:
            raise _driver_missing(url, error) from None
        place = url.database or IN_MEMORY
    path = None if str(place) == IN_MEMORY else Path(place).expanduser().absolute()
    engine = sql.create_engine(
        sql.URL.create("sqlite", database=IN_MEMORY if path is None else str(path)),
        # A connection of its own for each operation: threads and forks need no care, and a moved file none either.
        poolclass=StaticPool if path is None else NullPool,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        hide_parameters=True,  # of texts that may be private
    )
    sql.event.listen(engine, "connect", _on_connect)
    sql.event.listen(engine, "begin", _on_begin)
    return engine, str(place)


def _make_table(engine: sql.Engine) -> None:
    """Makes the table where there is none; another process may be doing it, too."""
    if sql.inspect(engine).has_table(_TABLE.name):
        return
    try:
        with engine.connect().execution_options(healdag_writes=True) as connection, connection.begin():
            _TABLE.create(connection, checkfirst=True)
    except DBAPIError:
        if not sql.inspect(engine).has_table(_TABLE.name):
            raise


def _on_connect(connection: Any, _record: Any) -> None:
    """The driver is not to begin transactions: it would do so only before the first change, after what was read."""
    connection.isolation_level = None
    with suppress(Exception):  # another process is just doing it; or the file is no database: the next step says so
        connection.execute("PRAGMA journal_mode = WAL")  # others can read while one writes


def _on_begin(connection: sql.Connection) -> None:
    writes = connection.get_execution_options().get("healdag_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _of(task: str | None, after: int) -> sql.Select[Any]:
    query = sql.select(_TABLE).where(_TABLE.c.seq > after).order_by(_TABLE.c.seq)
    return query if task is None else query.where(_TABLE.c.task == task)


def _not_withdrawn() -> sql.ColumnElement[bool]:
    other = _TABLE.alias()
    return ~sql.exists().where(other.c.revokes == _TABLE.c.id)


def _event(row: dict[str, Any]) -> FeedbackEvent:
    time = row["time"]
    return FeedbackEvent(**{**row, "time": (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)})


def _now() -> datetime:
    return datetime.now(UTC)


def _driver_missing(url: sql.URL, error: ImportError) -> Exception:
    if url.get_backend_name() == "postgresql":
        return MissingExtraError("psycopg", "postgres")
    return ConfigError(f"the driver of {url.drivername!r} is not installed: {error}; install it with pip")


def _why(error: Exception) -> str:
    """What went wrong in one line, as the driver says it, without the statement."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return (str(original) or type(original).__name__).strip().splitlines()[0]


def _advice(error: Exception) -> str:
    said = _why(error).lower()
    if "locked" in said or "busy" in said or "lock timeout" in said:
        return f" after waiting {_BUSY_SECONDS:g} s; end the process that holds it, then try again"
    if "full" in said or "disk i/o" in said or "no space" in said:
        return "; make room on the disk, then try again"
    if "readonly" in said or "read-only" in said:
        return "; make the file and its folder writable"
    return "; see that the database is there and can be reached, then try again"
