"""What of the fitted confidence and the certificate holds for the graph that a caller asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import (
    Certificate,
    covered_files,
    read_certificate,
    read_confidence,
    verify_certificate,
)
from ..config import DagSettings, Settings
from ..errors import ArtifactError, ConfigError
from ..nodes import Decider, Trust
from ..nodes.label_sets import LabelSets
from ..predictors import Familiarity, Predictor
from ..predictors.restricted import whole

MaxError = float | Mapping[str, float]


@dataclass(frozen=True)
class Origin:
    """Where a graph's parts are from.

    Attributes:
        folder: The artefact; None where the primary was given as an object.
        detector: The shipped sarcasm detector's folder, where the task uses one.
        changed: Names of settings and arguments by which this graph is not the one that was fitted and certified.
    """

    folder: Path | None
    detector: Path | None = None
    changed: tuple[str, ...] = ()


def changed_settings(settings: Settings) -> tuple[str, ...]:
    """Settings that make answers other than those of the graph as it was fitted."""
    model, dag, default = settings.model, settings.dag, DagSettings()
    given = {
        "labels": model.labels is not None,
        "label_prior": model.label_prior is not None,
        "window_overlap": model.window_overlap != type(model)().window_overlap,
        "enable_backup": not dag.enable_backup,
        "backups": dag.backups is not None,
        "threshold": dag.threshold is not None,
        "sarcasm_threshold": dag.sarcasm_threshold != default.sarcasm_threshold,
        "sarcasm_screen": not dag.sarcasm_screen,
        "condenser": dag.condenser is not None,
        "cheap_first": dag.cheap_first,
    }
    return tuple(name for name, is_other in given.items() if is_other)


def familiarity_of(primary: Predictor) -> Familiarity | None:
    """What the primary knows of its training texts."""
    found = getattr(whole(primary), "familiarity", None)
    return found if isinstance(found, Familiarity) else None


def trust_of(
    origin: Origin, decider: Decider, dag: DagSettings, familiarity: Familiarity | None, prior: Mapping[str, float]
) -> Trust:
    """The node that says how sure the final answer is, which answers keep the budget, and which labels are possible.

    Raises:
        ArtifactError: a budget without a certificate for it, or with one that covers other files or settings.
        ConfigError: a budget for a label that the task does not have, or label sets of a multi-label task.
        UsageError: too few rows of a label for such label sets.
    """
    fitted = origin.folder is not None and not origin.changed
    model = read_confidence(origin.folder) if fitted and origin.folder is not None else None
    promises = {"max_error": dag.max_error, "label_set": dag.label_set}
    asked = ", ".join(f"{name}={value!r}" for name, value in promises.items() if value is not None)
    if not asked:
        return Trust(decider, model, familiarity=familiarity, prior=prior)
    if dag.label_set is not None and decider.multi_label:
        raise ConfigError(
            f"label_set={dag.label_set!r}: answers of this task are lists of labels already; leave it out"
        )
    if origin.folder is None:
        raise ArtifactError(f"{asked} needs a certificate, and a primary that was given as an object has none")
    if origin.changed:
        raise ArtifactError(
            f"{asked} is promised for the graph that was certified; {', '.join(origin.changed)} makes it another one. "
            "Leave that out, or leave the promise out"
        )
    certificate = read_certificate(origin.folder)
    if certificate is None:
        raise ArtifactError(
            f"{asked} needs a certificate, and {str(origin.folder)!r} has none. Make one with labelled texts that "
            f"nothing was fitted on: healdag certify {origin.folder.parent.name} --max-error ... --data FILE; or set "
            "threshold=..., which promises nothing"
        )
    verify_certificate(certificate, covered_files(origin.folder, origin.detector), origin.folder)
    least = None if dag.max_error is None else _least(certificate, decider.labels, dag.max_error, dag.certainty)
    sets = None if dag.label_set is None else LabelSets(certificate.scores, decider.labels, dag.label_set)
    return Trust(decider, model, least, sets, familiarity, prior)


def _least(certificate: Certificate, labels: Sequence[str], max_error: MaxError, certainty: float) -> dict[str, float]:
    """Least confidence per label, or of every answer under the name ''."""
    if not isinstance(max_error, Mapping):
        return {"": _threshold(certificate, max_error, certainty, None)}
    unknown = sorted(set(max_error) - set(labels))
    if unknown:
        raise ConfigError(f"max_error names {', '.join(map(repr, unknown))}; the labels are: {', '.join(labels)}")
    # Whatever has no budget of its own is given as it is.
    return {label: _threshold(certificate, share, certainty, label) for label, share in max_error.items()}


def _threshold(certificate: Certificate, max_error: float, certainty: float, label: str | None) -> float:
    budget = certificate.budget(max_error, certainty, label)
    if budget is None or budget.threshold is None:
        shown = ", ".join(
            f"{b.max_error:g} with certainty {b.certainty:g}"
            for b in certificate.budgets
            if b.label == label and b.threshold is not None
        )
        whose = "" if label is None else f" for the label {label!r}"
        raise ArtifactError(
            f"no certificate for max_error={max_error!r}, certainty={certainty!r}{whose}; there are: "
            f"{shown or 'none'}. Certify it: healdag certify {certificate.task} --max-error {max_error:g} --data FILE"
        )
    return budget.threshold
