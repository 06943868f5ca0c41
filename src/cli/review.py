"""``healdag review``: a person answers the texts that wait, in the terminal."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from ..errors import UsageError
from .options import ConfigOption, DeviceOption, LogOption, VersionOption
from .terminal import console as open_console
from .terminal import plain, report
from .writers import show_label

if TYPE_CHECKING:
    from ..graph import Classifier
    from ..schema import Question

SINGLE_DIGIT = 9
"""Up to so many labels one key is enough."""
HELP = "the number or the name of a label; s skip, u undo, q quit"
HELP_LIST = "the numbers or names of all labels that apply, 0 for none; s skip, u undo, q quit"


class Key(StrEnum):
    """What can be done instead of giving a label."""

    SKIP = "skip"
    UNDO = "undo"
    QUIT = "quit"


class Order(StrEnum):
    """See :func:`healdag.graph.gain.arrange`."""

    GAIN = "gain"
    UNCERTAINTY = "uncertainty"
    OLDEST = "oldest"
    RANDOM = "random"


Answer = str | list[str]


def review(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Name of the task.  [default: emotion]")] = None,
    queue: Annotated[
        str | None,
        typer.Option("--queue", metavar="FILE", help="Where the texts wait: as given to 'healdag classify --queue'."),
    ] = None,
    order: Annotated[
        Order, typer.Option("--order", help="Which come first: gain is uncertainty x density / reading time.")
    ] = Order.GAIN,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many texts.", metavar="N")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who answers. Default: your login name.")] = None,
    model_version: VersionOption = None,
    config: ConfigOption = None,
    device: DeviceOption = None,
    log: LogOption = None,
) -> None:
    """Answer the texts that wait for a person.

    Each shows its three likeliest labels and why it is asked. Keys: the number of a label, s skip, u undo, q quit;
    in a multi-label task the numbers of all labels that apply, or 0. What is skipped waits on, and every answer is
    kept at once. Where stdin is no terminal, each line of it is an answer.
    """
    classifier = _open(task, queue, model_version, config, device, log)
    questions = classifier.pending(order.value, limit=limit)
    console = open_console()
    if not questions:
        console.print(plain(f"Nothing waits for an answer of {classifier.model_version.partition('/')[0]}."))
        return
    Session(classifier, console, questions, by if by is not None else _login(), read).run()


def _open(
    task: str | None, queue: str | None, version: str | None, config: Path | None, device: str | None, log: Path | None
) -> Classifier:
    from ..config import load_settings
    from ..graph import create_classifier

    place = queue if queue is not None else load_settings(config).dag.checkpointer
    if place is None:
        raise UsageError(
            "no queue; give --queue FILE, the one that 'healdag classify --queue FILE' has filled, or dag.checkpointer "
            "in a config.yaml"
        )
    name = place.removeprefix("sqlite:///")
    if "://" not in name and not Path(name).expanduser().is_file():
        raise UsageError(f"no queue at {name!r}; 'healdag classify --queue {name}' makes one and fills it")
    return create_classifier(
        task, config_path=config, version=version, device=device, human_review=True, checkpointer=place, log=log
    )


@dataclass
class Session:
    """One person's way through the questions.

    Attributes:
        classifier: Takes the answers.
        console: Shows the questions.
        questions: In the order in which they are asked.
        by: Who answers.
        read: Gives what was typed.
    """

    classifier: Classifier
    console: Console
    questions: list[Question]
    by: str
    read: Callable[[Question], str]
    _answered: list[int] = field(default_factory=list)  # places of the questions, in the order of the answers
    _final: set[int] = field(default_factory=set)  # of those, the ones that are answered anew by a correction

    def run(self) -> None:
        """Asks until there are no more questions, or the person leaves."""
        place = 0
        try:
            while place < len(self.questions):
                question = self.questions[place]
                self._show(place)
                typed = self._ask(question)
                if typed is Key.QUIT:
                    break
                if typed is Key.UNDO:
                    place = self._undo(place)
                elif typed is Key.SKIP:
                    place += 1
                else:
                    self._take(place, typed)
                    place += 1
        except (EOFError, KeyboardInterrupt):
            self.console.print()
        done = len(self._answered)
        self.console.print(plain(f"{done} answered, {len(self.questions) - done} of those shown wait on."))

    def _show(self, place: int) -> None:
        question = self.questions[place]
        about = [f"{place + 1} of {len(self.questions)}", f"waits for {_span(question.waiting.total_seconds())}"]
        about += [question.model_version, ", ".join(question.reasons)]
        self.console.print(plain("; ".join(part for part in about if part), "dim"))
        self.console.print(plain(question.text, "bold"), soft_wrap=True)
        likely = {candidate.label: candidate.probability for candidate in question.top}
        labels = Table.grid(padding=(0, 2, 0, 0))
        for number, label in enumerate(question.labels, start=1):
            labels.add_row(str(number), plain(label), f"{likely[label]:.3f}" if label in likely else "")
        self.console.print(Padding(labels, (0, 2)))

    def _ask(self, question: Question) -> Key | Answer:
        """Reads until it is an answer."""
        while True:
            typed = self.read(question)
            try:
                return parse(typed, question)
            except UsageError as error:
                report(str(error))

    def _take(self, place: int, given: Answer) -> None:
        question = self.questions[place]
        try:
            if place in self._final:
                self.classifier.correct(question.text, given, by=self.by)
            else:
                self.classifier.answer(question.decision_id, given, by=self.by)
        except UsageError as error:  # somebody else was quicker
            report(str(error))
            return
        self._answered.append(place)
        self.console.print(plain(f"-> {show_label(given)}", "green"))

    def _undo(self, place: int) -> int:
        """The place of the question that is asked again."""
        if not self._answered:
            report("nothing to take back: no answer was given yet", prefix="")
            return place
        last = self._answered.pop()
        try:
            if last not in self._final:
                self.classifier.undo(self.questions[last].decision_id)
        except UsageError:
            self._final.add(last)
        if last in self._final:
            report("that answer is final; a new one is kept as a correction, from the next time on", prefix="")
        return last


def parse(typed: str, question: Question) -> Key | Answer:
    """What was typed, as a key or as an answer to the question.

    Raises:
        UsageError: it is neither.
    """
    word = typed.strip().casefold()
    for key in Key:
        if word and key.value.startswith(word) and word in {key.value[0], key.value}:
            return key
    named = {label.casefold(): label for label in question.labels}
    numbered = {str(number): label for number, label in enumerate(question.labels, start=1)}
    known = {**numbered, **named}
    if not question.multi_label:
        if word not in known:
            raise UsageError(f"{typed.strip()!r} is not one of 1-{len(numbered)}; type {HELP}")
        return known[word]
    parts = [part for part in re.split(r"[,\s]+", word) if part]
    if len(numbered) <= SINGLE_DIGIT:
        parts = [one for part in parts for one in (part if part.isdecimal() else [part])]
    if parts == ["0"]:
        return []
    if not parts or not set(parts) <= set(known):
        raise UsageError(f"{typed.strip()!r} names no labels from 1 to {len(numbered)}; type {HELP_LIST}")
    chosen = {known[part] for part in parts}
    return [label for label in question.labels if label in chosen]


def read(question: Question) -> str:
    """One key in a terminal where that is enough; otherwise a line of stdin."""
    if not sys.stdin.isatty():
        return input()
    if question.multi_label or len(question.labels) > SINGLE_DIGIT:
        return input("> ")
    key = str(typer.getchar())
    if key == "\x03":
        raise KeyboardInterrupt
    if key == "\x04":
        raise EOFError
    return key


def _span(seconds: float) -> str:
    for name, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {name}"
    return f"{max(seconds, 0):.0f} seconds"


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for the user
        return "unknown"
