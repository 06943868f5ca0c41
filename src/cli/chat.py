"""``healdag chat``: one text after the other, each with its way through the graph."""

from __future__ import annotations

import io
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table

from ..errors import HealdagError
from .options import (
    ConfigOption,
    DeviceOption,
    EngineOption,
    LabelsOption,
    LogOption,
    NoBackupOption,
    TaskOption,
    ThresholdOption,
    VersionOption,
    open_classifier,
)
from .terminal import console as open_console
from .terminal import plain, report
from .writers import show_label

if TYPE_CHECKING:
    from ..graph import Classifier
    from ..schema import Attempt, Classification

HELP = """Type a text to classify it. Commands, also with / or : in front:
  stats  labels, sources and mean confidence so far
  help   this
  quit   leave (as do Ctrl-D and Ctrl-C)"""
LEAVE = {"quit", "exit", "q"}
BAR_WIDTH = 32


@dataclass
class Stats:
    """What was answered so far."""

    labels: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    confidences: list[float] = field(default_factory=list)

    def add(self, result: Classification) -> None:
        """Counts an answer."""
        said = result.final_label
        self.labels.update(said if isinstance(said, list) and said else [show_label(said)])
        self.sources[result.source] += 1
        if result.confidence is not None:
            self.confidences.append(result.confidence)

    def show(self, console: Console) -> None:
        """Prints the counts and the mean confidence."""
        if not self.sources:
            console.print("No texts yet.")
            return
        mean = f"{sum(self.confidences) / len(self.confidences):.3f}" if self.confidences else "-"
        console.print(f"texts: {self.sources.total()}, mean confidence: {mean}")
        for title, counts in (("label", self.labels), ("source", self.sources)):
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            table.add_column(title)
            table.add_column("texts", justify="right")
            for name, count in counts.most_common():
                table.add_row(plain(name), str(count))
            console.print(table)


def chat(
    task: TaskOption = None,
    model_version: VersionOption = None,
    threshold: ThresholdOption = None,
    no_backup: NoBackupOption = False,
    config: ConfigOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    labels: LabelsOption = None,
    log: LogOption = None,
) -> None:
    """Classify texts as you type them, and see the way each takes through the graph."""
    console = open_console()
    classifier = open_classifier(task, model_version, threshold, no_backup, config, device, labels, log, engine)
    console.print(plain(f"{classifier.model_version}: {', '.join(classifier.labels)}"))
    console.print("Type a text, or help, stats, quit.")
    stats = Stats()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    try:
        while _turn(console, classifier, stats):
            pass
    except (EOFError, KeyboardInterrupt):
        console.print()
    console.print("Bye.")


def _turn(console: Console, classifier: Classifier, stats: Stats) -> bool:
    """Reads a line and answers it; False to leave."""
    line = _read().strip()
    command = line.removeprefix("/").removeprefix(":").casefold()
    if command in LEAVE:
        return False
    if command == "help":
        console.print(HELP)
    elif command == "stats":
        stats.show(console)
    elif line:
        try:
            result, way = run_once(classifier, line)
        except HealdagError as error:
            report(str(error))
            return True
        stats.add(result)
        show(console, result, way)
    return True


def _read() -> str:
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() a history and line editing
    return input("> " if sys.stdin.isatty() else "")


def run_once(classifier: Classifier, text: str) -> tuple[Classification, list[str]]:
    """The answer and the names of the nodes that the text went through, from one run of the graph."""
    from ..schema import Classification

    way: list[str] = []
    answer: dict[str, object] = {}
    for update in classifier.stream(text):
        for node, values in update.items():
            way.append(node)
            answer = values["results"][0] if node == "finalize" else answer
    return Classification.model_validate(answer), way


def show(console: Console, result: Classification, way: list[str]) -> None:
    """Prints one answer: label, bars, reasons, who was asked, and the way."""
    sure = "" if result.confidence is None else f"  {result.confidence:.3f}"
    answer = "no answer" if result.final_label is None else show_label(result.final_label)
    console.print(plain(f"{answer}{sure}  ({result.source})", "bold"))
    bars = Table.grid(padding=(0, 2, 0, 0))
    for label, p in sorted(result.probabilities.items(), key=lambda item: -item[1]):
        bars.add_row(plain(label), ProgressBar(total=1.0, completed=p, width=BAR_WIDTH), f"{p:.3f}")
    console.print(Padding(bars, (0, 2)))
    lines = {
        "reasons": ", ".join(result.reasons),
        "sarcasm": "" if result.sarcasm is None else f"{result.sarcasm:.3f}",
        "asked": ", ".join(_said(a) for a in result.attempts),
        "way": " -> ".join(way),
    }
    for name, value in lines.items():
        if value:
            console.print(Padding(plain(f"{name}: {value}"), (0, 2)))


def _said(attempt: Attempt) -> str:
    if attempt.error is not None:
        return f"{attempt.by} failed: {attempt.error}"
    return (
        f"{attempt.by} shortened the text"
        if attempt.label is None
        else f"{attempt.by} said {show_label(attempt.label)} {attempt.confidence:.3f}"
    )
