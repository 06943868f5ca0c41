"""The cases: labelled texts of the kinds that classifiers get wrong, and how far their readers agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import UsageError
from ..text import check_text

Emotion = Literal["joy", "sadness", "anger", "fear", "love", "surprise", "neutral", "disgust"]

EMOTIONS: tuple[str, ...] = get_args(Emotion)
GROUPS = (
    *("plain", "emoji", "sarcasm", "mixed", "negation", "understatement"),
    *("neutral", "gibberish", "other_scripts", "long"),
)
FOLDER = Path(__file__).parents[1] / "data" / "stress"
NONE = "none"
"""What a reader says of a text whose emotion cannot be told."""


class Case(BaseModel):
    """A text and what is right to answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="Names the case; by default its group and the number of its line.")
    group: str = Field(description="What makes it hard; by default the name of its file.")
    text: str = Field(description="What is to be classified.")
    label: Emotion | None = Field(
        default=None, description="The emotion that is meant; None where it cannot be told, not even by a reader."
    )
    accept: tuple[Emotion, ...] = Field(default=(), description="Labels that a careful reader could also defend.")
    expects: Literal["doubt"] | None = Field(
        default=None, description="'doubt': a doubtful answer is right, whatever its label."
    )
    note: str = Field(default="", description="What makes it hard.")
    source: str = Field(default="", description="Where the text comes from; 'authored': written for this suite.")
    second_reader: Emotion | Literal["none"] | None = Field(
        default=None, description="What a second reader, who saw the text alone, says; None: not read yet."
    )

    @field_validator("text")
    @classmethod
    def _readable(cls, text: str) -> str:
        return check_text(text)

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        if self.label is None and (self.accept or self.expects is None):
            raise ValueError(f"label is null: give one of {', '.join(EMOTIONS)}; or expects: 'doubt', and no accept")
        if self.label in self.accept:
            raise ValueError(f"accept repeats the label {self.label!r}; it holds other labels only")
        return self


def load_cases(groups: Sequence[str] | None = None) -> list[Case]:
    """The cases of the suite.

    Args:
        groups: Those of :data:`GROUPS` that are wanted; None for all.

    Raises:
        UsageError: there is no such group.
    """
    wanted = _known(groups, GROUPS)
    return [case for group in wanted for case in read_cases(FOLDER / f"{group}.jsonl")]


def read_cases(path: Path, groups: Sequence[str] | None = None) -> list[Case]:
    """Cases of a JSON-lines file: see :class:`Case` for the fields.

    Args:
        groups: Those of the file's groups that are wanted; None for all.

    Raises:
        UsageError: the file cannot be read, a line is not a case (the message names it), or there is no such group.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {str(path)!r}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    cases = [_case(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not cases:
        raise UsageError(f"no case in {str(path)!r}; a line is {{'text': ..., 'label': ...}}, as JSON")
    wanted = _known(groups, tuple(dict.fromkeys(case.group for case in cases)))
    return [case for case in cases if case.group in wanted]


def _known(groups: Sequence[str] | None, there: Sequence[str]) -> Sequence[str]:
    unknown = [group for group in groups or () if group not in there]
    if unknown:
        raise UsageError(f"no group {', '.join(map(repr, unknown))}; there are: {', '.join(there)}")
    return [group for group in there if not groups or group in groups]


def _case(path: Path, number: int, line: str) -> Case:
    place = f"{str(path)!r}, line {number}"
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{place}: not a JSON object: {line.strip()[:60]!r}")
    group = content.get("group", path.stem)
    try:
        return Case.model_validate({"id": f"{group}-{number}", "group": group, **content})
    except ValidationError as error:
        raise UsageError(f"{place}: {_fault(error)}") from None


def _fault(error: ValidationError) -> str:
    """The first thing that is wrong, with the value and what is allowed."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown field {name!r}; there are: {', '.join(Case.model_fields)}"
    if first["type"] == "missing":
        return f"no field {name!r}"
    said = first["msg"].removeprefix("Value error, ")
    return f"{name} is {str(first['input'])[:60]!r}: {said}" if name else said


def agreement(cases: Sequence[Case]) -> dict[str, Any]:
    """How far a second reader agrees with the labels: a ceiling for what a model can be asked for.

    ``read`` counts the cases that were read; ``share`` is the share of them where the second reader's label is the
    case's or one of ``accept``, and 'none' where it has no label; ``kappa`` is Cohen's kappa of the two labels. None
    where nothing was read, and kappa None where the cases have one label only.
    """
    read = [case for case in cases if case.second_reader is not None]
    first = [case.label or NONE for case in read]
    second = [case.second_reader for case in read]
    kappa = None
    if len(set(first)) > 1:
        from sklearn.metrics import cohen_kappa_score

        kappa = round(float(cohen_kappa_score(first, second)), 4)
    same = [case.second_reader in (case.label or NONE, *case.accept) for case in read]
    return {"read": len(read), "share": share_of(same) if read else None, "kappa": kappa}


def agreement_table(cases: Sequence[Case]) -> str:
    """:func:`agreement` per group, as the table in the README of the cases; a test holds the two together."""
    groups = dict.fromkeys(case.group for case in cases)
    parts = {group: [case for case in cases if case.group == group] for group in groups} | {"all": list(cases)}
    lines = ["| group | cases | read | agree | kappa |", "|---|---|---|---|---|"]
    for group, part in parts.items():
        found = agreement(part)
        share, kappa = ("-" if found[key] is None else f"{found[key]:.2f}" for key in ("share", "kappa"))
        lines.append(f"| {group} | {len(part)} | {found['read']} | {share} | {kappa} |")
    return "\n".join(lines)


def share_of(values: Sequence[bool]) -> float:
    """Share of what is true, as it is shown."""
    return round(sum(values) / len(values), 4)
