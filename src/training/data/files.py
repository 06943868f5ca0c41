"""Rows of files: CSV, TSV, JSON, JSON lines, Parquet, folders of the ``datasets`` library, and data sets on the Hub."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import MissingExtraError, UsageError

SUFFIXES = (".jsonl.gz", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What a file can be; the order in which a split's file is looked for."""
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_DELIMITERS = ",;\t"
_DATASET_DICT, _DATASET_STATE = "dataset_dict.json", "state.json"
_KEPT = 8


@dataclass(frozen=True)
class Table:
    """Rows as they stand in a file.

    Attributes:
        name: What was read, for messages.
        rows: Place and fields of each row.
        columns: Names of all fields, in order of appearance.
        unit: What a place counts: lines or rows, from 1.
    """

    name: str
    rows: tuple[tuple[int, dict[str, Any]], ...]
    columns: tuple[str, ...]
    unit: str = "line"

    def place(self, number: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.name}, {self.unit} {number}"


Stamp = tuple[str, int, int]
_tables: dict[Stamp, Table] = {}


def stamp(path: Path) -> Stamp:
    """What tells one content of a file or folder from the next: path, time of change, size."""
    file = path / _DATASET_STATE if path.is_dir() else path
    try:
        facts = file.stat()
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}; give the path of a data file") from None
    return str(path.resolve()), facts.st_mtime_ns, facts.st_size


def read_table(path: Path) -> Table:
    """All rows of a file, or of a folder that ``Dataset.save_to_disk`` wrote; a file is read once per process.

    Raises:
        UsageError: no such file, an unknown suffix, or a broken line; the message names file and line.
    """
    key = stamp(path)
    if key not in _tables:
        while len(_tables) >= _KEPT:
            _tables.pop(next(iter(_tables)))
        _tables[key] = _reader(path)(path)
    return _tables[key]


def parts_of(path: Path) -> dict[str, Path]:
    """Split name to what :func:`read_table` reads; one part named '' where there are no splits.

    Args:
        path: A file; a folder with {train,validation,test}.<suffix>; a folder of ``datasets``.

    Raises:
        UsageError: nothing there, or a folder without data.
    """
    if path.is_file():
        return {"": path}
    if not path.exists():
        raise UsageError(f"no file or folder {str(path)!r}{_close(path)}; give the path of a data file")
    if (path / _DATASET_DICT).is_file():
        names = json.loads((path / _DATASET_DICT).read_text(encoding="utf-8")).get("splits", [])
        found = {split: path / name for split, name in _splits_among(names).items()}
        if found:
            return found
        raise UsageError(f"the splits of {str(path)!r} are {names}; needed: train, and if there are, validation, test")
    if (path / _DATASET_STATE).is_file():
        return {"": path}
    found = {split: file for split, names in SPLIT_NAMES.items() if (file := _split_file(path, names)) is not None}
    if not found:
        there = ", ".join(sorted(p.name for p in path.iterdir())[:10]) or "nothing"
        raise UsageError(
            f"no train.jsonl or the like in {str(path)!r} (there is: {there}); needed: train, validation and test as "
            f"one of {', '.join(SUFFIXES)}, or a folder that datasets.save_to_disk wrote"
        )
    return found


def read_hub(name: str) -> dict[str, Table]:
    """The splits of a data set on the Hugging Face Hub.

    Args:
        name: 'owner/name', or 'owner/name:configuration'.

    Raises:
        UsageError: it cannot be loaded; the message says why and how to go on without the Hub.
    """
    if name not in _hub:
        library = _datasets()
        path, _, configuration = name.partition(":")
        try:
            loaded = library.load_dataset(path, configuration or None)
        except Exception as error:  # of many libraries: network, Hub, file formats
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UsageError(
                f"cannot load {name!r} from the Hugging Face Hub ({reason}); check the connection, or give "
                "--source DIR, a folder with the data sets"
            ) from None
        _hub[name] = {split: _table_of(loaded[own], name) for split, own in _splits_among(list(loaded)).items()}
    return _hub[name]


_hub: dict[str, dict[str, Table]] = {}


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file, gzip or plain.

    Raises:
        UsageError: a line is not a JSON object; the message names file and line.
    """
    for _, row in _numbered_json_lines(path):
        yield row


def table_of_rows(rows: Iterator[dict[str, Any]], name: str) -> Table:
    """Rows that a module yields."""
    return _table(name, enumerate(rows, start=1), "row")


def _reader(path: Path) -> Callable[[Path], Table]:
    if path.is_dir():
        return _read_datasets_folder
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz", ".ndjson")):
        return lambda p: _table(str(p), _numbered_json_lines(p))
    if name.endswith(".json"):
        return _read_json
    if name.endswith((".csv", ".tsv")):
        return _read_csv
    if name.endswith(".parquet"):
        return _read_parquet
    raise UsageError(f"cannot read {str(path)!r}: its suffix is none of {', '.join(SUFFIXES)}")


def _table(
    name: str, rows: Iterator[tuple[int, dict[str, Any]]] | enumerate[dict[str, Any]], unit: str = "line"
) -> Table:
    kept = tuple(rows)
    columns: dict[str, None] = {}
    for _, row in kept:
        columns.update(dict.fromkeys(row))
    return Table(name, kept, tuple(columns), unit)


def _text_of(path: Path) -> str:
    """The file's content.

    Raises:
        UsageError: it is not UTF-8; the message names the line.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UsageError(f"cannot read {str(path)!r}: {error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        seems = "UTF-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "another encoding, such as Windows-1252"
        raise UsageError(
            f"{path}, line {line}: not UTF-8 (byte {content[error.start]:#04x}); the file seems to be in {seems}: "
            "save it as UTF-8"
        ) from None


def _numbered_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return _parsed_lines(_text_of(path), path)


def _parsed_lines(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 may stand in a string
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}, line {number}: not JSON: {error}; correct or delete the line") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number}: not a JSON object: {line[:60]!r}")
        yield number, row


def _read_json(path: Path) -> Table:
    text = _text_of(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):  # JSON lines under the name .json
            return _table(str(path), _parsed_lines(text, path))
        raise UsageError(f"{str(path)!r} is not JSON: {error}") from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UsageError(
            f"{str(path)!r} holds {type(content).__name__}; needed: a list of objects, or one object a line"
        )
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UsageError(f"{path}, row {number}: not a JSON object: {str(row)[:60]!r}")
    return _table(str(path), enumerate(rows, start=1), "row")


def _read_csv(path: Path) -> Table:
    csv.field_size_limit(2**31 - 1)
    text = _text_of(path)
    delimiter = _delimiter(text, path)
    # strict: a stray quote is an error of its row; otherwise it would silently swallow the rows after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, header, line = [], [""], 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        while True:
            line = reader.line_num + 1
            cells = next(reader, None)
            if cells is None:
                break
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise UsageError(
                    f"{path}, line {line}: {len(cells)} cells, the header has {len(header)}; a cell with a "
                    f"{delimiter!r} or a line break in it needs quotes"
                )
            rows.append((line, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {line}: {error}; a cell with a quote in it is quoted, and the quote doubled"
        ) from None
    return Table(str(path), tuple(rows), tuple(header))


def _delimiter(text: str, path: Path) -> str:
    """The tab for .tsv; otherwise the one of comma, semicolon and tab that cuts the header into most columns."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = text.split("\n", 1)[0]
    return max(_DELIMITERS, key=lambda sign: (len(next(csv.reader([first], delimiter=sign), [])), sign == ","))


def _check_header(header: list[str], path: Path) -> None:
    if not header:
        raise UsageError(f"{str(path)!r} is empty; needed: a header line with the names of the columns, then rows")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UsageError(f"the header of {str(path)!r} holds {', '.join(map(repr, twice))} twice; rename the columns")


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "train") from None
    return datasets


def _read_parquet(path: Path) -> Table:
    library = _datasets()
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"cannot read {str(path)!r} as Parquet: {str(error).splitlines()[0]}") from None
    return _table_of(library.Dataset(library.table.InMemoryTable(rows)), str(path))


def _read_datasets_folder(path: Path) -> Table:
    library = _datasets()
    try:
        return _table_of(library.Dataset.load_from_disk(str(path)), str(path))
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"cannot read {str(path)!r} as a datasets folder: {error}; write it again") from None


def _table_of(dataset: Any, name: str) -> Table:
    """Rows of a ``Dataset``; class numbers as the classes' names."""
    rows = dataset.with_format(None).to_list()
    for column, feature in dataset.features.items():
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if names is not None:
            for row in rows:
                row[column] = _named(row[column], names)
    return Table(name, tuple(enumerate(rows, start=1)), tuple(dataset.column_names), "row")


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [names[number] for number in value]
    return names[value] if isinstance(value, int) and value >= 0 else None  # -1: not labelled


def _splits_among(names: list[str]) -> dict[str, str]:
    """The three splits, where there, to the names that they go by."""
    return {split: own for split, known in SPLIT_NAMES.items() for own in known if own in names}


def _split_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        for suffix in SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    return None


def _close(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f" (there is no folder {str(path.parent)!r})"
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
