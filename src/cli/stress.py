"""``healdag stress``: how a classifier does on hard kinds of text, before and after the graph's healing."""

from __future__ import annotations

import json
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .evaluate import figure, table
from .options import ConfigOption, DeviceOption, TaskOption, open_classifier
from .terminal import console, plain
from .writers import STDOUT, Format, open_output

if TYPE_CHECKING:
    from ..stress import Answer, Outcome

_COLUMNS = ("group", "n", "before", "after", "strict", "fixed", "broke", "doubt", "sure", "readers")
_LEGEND = (
    "Share of right answers before (the primary alone) and after (the whole graph); strict: without the labels that a "
    "reader could also defend; doubt: share of doubtful answers; sure: mean confidence; readers: share on which a "
    "second reader agrees."
)


def stress(
    task: TaskOption = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="X.Y.Z", help="Version of the task's model.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME", help="Only this group of cases; can be given several times."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Your own cases, as JSON lines, instead of the suite's."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Figures and answers as JSON; '-' for stdout, without the table."
        ),
    ] = None,
    failures: Annotated[bool, typer.Option("--failures", help="List the cases that the graph gets wrong.")] = False,
    config: ConfigOption = None,
    device: DeviceOption = None,
) -> None:
    """Run the stress suite: hard cases in groups, answered by the primary alone and by the whole graph.

    The groups: plain, emoji, sarcasm, mixed, negation, understatement, neutral, gibberish, other_scripts, long. A case
    of a user's own is a line of JSON with text and label; and accept (a list of other labels), expects ("doubt" where a
    doubtful answer is right) and group where wanted.

    The exit code is 0 whatever the score is.
    """
    from ..stress import answered, load_cases, read_cases, summary

    cases = load_cases(group) if data is None else read_cases(data, group)
    with ExitStack() as stack:
        # Opened first: that it cannot be written is better said before the models are loaded.
        stream = stack.enter_context(open_output(output, Format.JSONL)) if output is not None else None
        classifier = open_classifier(task, version, None, False, config, device)
        outcomes = answered(classifier, cases)
        found = summary(classifier, outcomes)
        if stream is not None:
            stream.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if output == STDOUT:
        return
    _print(found)
    if failures:
        _print_failures(outcomes)
    if output is not None:
        console().print(plain(f"written: {output}"), soft_wrap=True)


def _print(found: dict[str, Any]) -> None:
    shown = table(f"{found['model']}: {found['cases']['n']:,} cases", *_COLUMNS)
    for name, figures in (*found["groups"].items(), ("all", found["all"])):
        right = figures["right"]
        shares = (right["before"], right["after"], figures["right_strict"]["after"])
        shown.add_row(
            plain(name),
            str(figures["n"]),
            *(figure(share, 2) for share in shares),
            str(figures["fixed"]),
            str(figures["broke"]),
            *(figure(value, 2) for value in (figures["doubted"], figures["confidence"], figures["readers"]["share"])),
        )
    console().print(shown)
    console().print(plain(_LEGEND))


def _print_failures(outcomes: list[Outcome]) -> None:
    from ..stress import is_right

    for outcome in outcomes:
        case = outcome.case
        if is_right(case, outcome.after):
            continue
        doubt = ("a doubt",) if case.expects == "doubt" else ()
        wanted = [label for label in (case.label, *case.accept, *doubt) if label is not None]
        said = f"before {_said(outcome.before)}, after {_said(outcome.after)}"
        console().print()
        console().print(plain(f"{case.id}: right is {' or '.join(wanted)}; {said}"), soft_wrap=True)
        console().print(plain(textwrap.shorten(case.text, 160, placeholder=" ...")), soft_wrap=True)


def _said(answer: Answer) -> str:
    if answer.label is None or answer.confidence is None:
        return "no answer"
    reasons = f" ({', '.join(answer.reasons)})" if answer.reasons else ""
    return f"{answer.label} {answer.confidence:.2f}{reasons}"
