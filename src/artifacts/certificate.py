"""What ``certificate.json`` holds: error budgets that the whole graph was shown to keep, and what they cover."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ..errors import ArtifactError
from .files import CERTIFICATE, CONFIDENCE, MANIFEST, POLICY, read_form, sha256


class Budget(BaseModel):
    """One promise: of the answers at or above the threshold no more than ``max_error`` are wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_error: float = Field(gt=0, lt=1, description="Largest share of wrong answers among those that are given.")
    certainty: float = Field(gt=0, lt=1, description="Certainty of that, over the draw of the rows it was tested on.")
    label: str | None = Field(default=None, description="Answers with this label alone; None: all answers together.")
    threshold: float | None = Field(description="Least confidence of an answer that is given; None: none can be given.")
    accepted: int = Field(description="Of the rows tested, those whose answer would be given.")
    errors: int = Field(description="Wrong ones among those.")
    bound: float = Field(description="Exact upper bound on the share of wrong answers, at that certainty.")
    coverage: float = Field(description="accepted / n.")


class Certificate(BaseModel):
    """Budgets, with the rows that they were tested on and the files that they hold for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    version: str
    date: str = Field(description="ISO 8601 day.")
    method: str
    n: int = Field(description="Labelled rows that the budgets were tested on; nothing was fitted on them.")
    data: str = Field(description="Where they are from.")
    data_sha256: str
    covers: dict[str, str] = Field(description="SHA-256 of every file that decides an answer.")
    budgets: tuple[Budget, ...]
    scores: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        description="Per label 1 - probability of it, of the rows whose right label it is, for conformal label sets.",
    )

    def budget(self, max_error: float, certainty: float, label: str | None = None) -> Budget | None:
        """The widest budget that promises at least this; None where no such promise was shown to hold."""
        fitting = [
            budget
            for budget in self.budgets
            if budget.label == label
            and budget.max_error <= max_error + 1e-12
            and budget.certainty >= certainty - 1e-12
            and budget.threshold is not None
        ]
        return max(fitting, key=lambda budget: budget.coverage, default=None)

    def rows(self) -> list[tuple[Budget, tuple[str, ...]]]:
        """The budgets in their order, each with the labels whose answers it is for, () for all answers together.

        Of those that no answer can be given under, all labels with the same one stand together.
        """
        rows: dict[object, tuple[Budget, tuple[str, ...]]] = {}
        for budget in self.budgets:
            shared = budget.label is not None and budget.threshold is None
            key = (budget.max_error, budget.certainty) if shared else budget
            first, labels = rows.get(key, (budget, ()))
            rows[key] = (first, labels if budget.label is None else (*labels, budget.label))
        return list(rows.values())


def read_certificate(folder: Path) -> Certificate | None:
    """The artefact's certificate, not yet held against the files; None where it has none.

    Raises:
        ArtifactError: the file is not valid.
    """
    return read_form(folder / CERTIFICATE, Certificate, "certificate")


def lost_promises(before: Certificate | None, after: Certificate | None) -> list[str]:
    """What the first certificate promises and the second does not, in words."""
    if before is None:
        return []
    made = [one for one in before.budgets if one.threshold is not None]
    lost = [one for one in made if after is None or after.budget(one.max_error, one.certainty, one.label) is None]
    words = [
        f"max_error={one.max_error:g}" + (f" for {one.label!r}" if one.label is not None else "")
        for one in sorted(lost, key=lambda one: (one.label is not None, one.label or "", one.max_error))
    ]
    if before.scores and (after is None or not after.scores):
        words.append("label_set")
    return list(dict.fromkeys(words))


def covered_files(folder: Path, detector: Path | None) -> dict[str, str]:
    """SHA-256 of what decides an answer: manifests (which hold the hashes of the weights), policy, confidence.

    Args:
        folder: The artefact.
        detector: The folder of the sarcasm detector, where the task uses one.
    """
    places = {name: folder / name for name in (MANIFEST, POLICY, CONFIDENCE)}
    places |= {
        f"backups/{path.parent.name}/{MANIFEST}": path for path in sorted((folder / "backups").glob(f"*/{MANIFEST}"))
    }
    if detector is not None:
        places |= {f"sarcasm/{name}": detector / name for name in (MANIFEST, POLICY)}
    return {name: sha256(path) for name, path in places.items() if path.is_file()}


def verify_certificate(certificate: Certificate, found: Mapping[str, str], folder: Path) -> None:
    """Raises ArtifactError unless the files are those that the certificate covers."""
    names = sorted(set(certificate.covers) | set(found))
    changed = [name for name in names if certificate.covers.get(name) != found.get(name)]
    if changed:
        raise ArtifactError(
            f"the certificate in {str(folder)!r} (of {certificate.date}) covers other files than there are now; "
            f"changed: {', '.join(changed)}. Certify anew: healdag certify {certificate.task} --data FILE"
        )
