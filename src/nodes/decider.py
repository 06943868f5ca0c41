"""From a row of probabilities to the answer: the label, or in a multi-label task the list, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..errors import UsageError
from ..predictors import Row, decide, list_confidence
from .records import AskerDict, Label, top


@dataclass(frozen=True)
class Decider:
    """What a task's answers are.

    Attributes:
        labels: Label of each column.
        thresholds: One per label, see :func:`healdag.predictors.decide`; None: the likeliest label, or from 0.5 on.
        multi_label: Whether an answer is a list: the labels at or above their threshold, in order, or none.
        set_calibration: See :func:`healdag.predictors.list_confidence`.
    """

    labels: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    multi_label: bool = False
    set_calibration: tuple[float, float] | None = None

    @classmethod
    def of_run(cls, state: Any) -> Self:
        """That of the model that a run began with: the run's numbers are of its labels."""
        asker: AskerDict = state["asker"]
        thresholds, fitted = asker["thresholds"], asker["set_calibration"]
        return cls(
            tuple(asker["labels"]),
            None if thresholds is None else tuple(thresholds),
            asker["multi_label"],
            None if fitted is None else (fitted[0], fitted[1]),
        )

    def to_state(self, model_version: str, review_threshold: float) -> AskerDict:
        """As plain values, for :meth:`of_run`."""
        return {
            "model_version": model_version,
            "review_threshold": review_threshold,
            "labels": list(self.labels),
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "multi_label": self.multi_label,
            "set_calibration": None if self.set_calibration is None else list(self.set_calibration),
        }

    def name(self, row: Row) -> tuple[Label, float]:
        """The answer that a row of probabilities makes, and the probability that it is right."""
        if not self.multi_label:
            column, confidence = top(row)
            if self.thresholds is not None:
                column = int(decide(np.array([row]), self.thresholds)[0])
                confidence = row[column]
            return self.labels[column], confidence
        values = np.array([row])
        decided = decide(values, self.thresholds, multi_label=True)
        confidence = float(list_confidence(values, decided, self.set_calibration)[0])
        return [label for label, said in zip(self.labels, decided[0], strict=True) if said], confidence

    def sureness(self, row: Row) -> float:
        """What is held against the policy's thresholds: the largest probability, or a list's confidence."""
        return self.name(row)[1] if self.multi_label else top(row)[1]

    def certain(self, label: Label) -> Row:
        """A person's answer, which is taken for the truth, as probabilities."""
        said = [label] if isinstance(label, str) else label
        return [1.0 if name in said else 0.0 for name in self.labels]

    def check(self, label: Any) -> Label:
        """A person's answer in the task's form, a list in the labels' order.

        Raises:
            UsageError: a label that the task does not have, or the other form.
        """
        if self.multi_label != isinstance(label, list | tuple | set | frozenset):
            form = (
                f"a list of labels, for example [{self.labels[0]!r}], or [] for none of them"
                if self.multi_label
                else f"one label, for example {self.labels[0]!r}"
            )
            raise UsageError(f"an answer must be {form}; got {label!r}")
        unknown = [name for name in (label if self.multi_label else [label]) if name not in self.labels]
        if unknown:
            raise UsageError(f"no label {', '.join(map(repr, unknown))}; there are: {', '.join(self.labels)}")
        return [name for name in self.labels if name in label] if self.multi_label else str(label)

    def accepts(self, label: Any) -> bool:
        """Whether :meth:`check` takes it."""
        try:
            self.check(label)
        except UsageError:
            return False
        return True
