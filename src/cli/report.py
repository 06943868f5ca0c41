"""``healdag report``: one page with pictures and tables, about labelled rows, a decision log, or both."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import __version__
from ..errors import UsageError
from .evaluate import SourceOption, SplitOption, open_graph, warn_of_seen
from .options import DeviceOption
from .stats import By
from .terminal import console, plain, report
from .train import DataOption, LabelColumnOption, SeparatorOption, TextColumnOption, checked_source
from .writers import STDOUT, Format, open_output

if TYPE_CHECKING:
    from ..report.page import Section

PAGE = "healdag-report.html"
DEFAULT = "emotion"


def write_report(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[TASK|FOLDER]",
            help="A task, task@version, or the folder of a model. Default: emotion, unless only --log is given.",
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="A decision log: .jsonl, .db, .sqlite or .sqlite3.")
    ] = None,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    split: SplitOption = None,
    source: SourceOption = None,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Of the log, only decisions from then on, in UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", help="Of the log, only decisions before then, in UTC.")
    ] = None,
    by: Annotated[
        By | None, typer.Option("--by", help="Length of the log's periods. Default: hour up to 72 hours, else day.")
    ] = None,
    wrong: Annotated[
        int,
        typer.Option(
            "--wrong", min=0, help="How many of the surest wrong answers are shown; 0: no text is on the page."
        ),
    ] = 10,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="The page, an .html file; '-' for stdout.")
    ] = PAGE,
    device: DeviceOption = None,
) -> None:
    """Write one HTML page with everything that is to be seen: no script, no network, one file.

    From labelled rows (as with 'healdag evaluate'): figures of the primary and of the whole graph, risk and coverage
    with the certified budgets, reliability, confidence per label, the way through the graph, what each step fixed and
    broke, the surest wrong answers, policy, certificate, provenance. From a decision log: confidence, labels and ways
    over time.
    """
    from ..report.page import render
    from ..report.svg import check_matplotlib

    check_matplotlib()
    if out != STDOUT and Path(out).suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"--out {out!r}: the report is an HTML page; give a name that ends in .html, or '-'")
    with open_output(out, Format.JSONL) as stream:  # what is wrong with the place is said before the work
        sections: list[Section] = []
        titles = []
        if log is not None:  # first: it is quick
            sections += _log_sections(log, since, until, by)
            titles.append(log.name)
        if log is None or any(given is not None for given in (model, data, source, split)):
            columns = (text_column, label_column, separator)
            version, of_rows = _labelled_sections(model or DEFAULT, data, columns, split, source, wrong, device)
            sections = of_rows + sections
            titles.insert(0, version)
        about = [f"healdag {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"]
        stream.write(render(f"Report on {' and '.join(titles)}", about, sections))
    if out != STDOUT:
        console().print(plain(f"written: {out}"), soft_wrap=True)


def _log_sections(log: Path, since: datetime | None, until: datetime | None, by: By | None) -> list[Section]:
    from ..report.log import log_sections, read_log
    from ..store import read_decisions

    found = read_log(read_decisions(log, since=since, until=until))
    if found.skipped:
        report(f"broken lines passed over: {found.skipped:,}", prefix="")
    return log_sections(found, None if by is None else by.value)


def _labelled_sections(
    name: str,
    data: Path | None,
    columns: tuple[str | None, str | None, str | None],
    split: str | None,
    source: Path | None,
    wrong: int,
    device: str | None,
) -> tuple[str, list[Section]]:
    """The model's version, and the sections about it."""
    from ..report.evidence import gather
    from ..report.labelled import labelled_sections
    from ..training.evaluation import candidates
    from ..training.evaluation.labelled import labelled_rows

    found = candidates.find(name)
    text_column, label_column, separator = columns
    rows, part = labelled_rows(
        found,
        data=data,
        text_column=text_column,
        label_column=label_column,
        separator=separator,
        split=split,
        source=checked_source(source),
    )
    warn_of_seen(found, rows)
    words = f"of {data.name}" if data is not None else "of the task's data"
    classifier = open_graph(found, device=device)
    evidence = gather(classifier, rows, f"{part} {words}", found.folder)
    return classifier.model_version, labelled_sections(evidence, wrong)
