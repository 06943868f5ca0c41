"""An ensemble: multinomial logistic regression over what several predictors said (stacking, Wolpert 1992)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..artifacts import Manifest, read_json, read_manifest
from ..errors import ArtifactError
from .base import FloatArray, Predictor, Row, Spec, ask, calibrate, log_probabilities
from .tfidf import MODEL, load_skops

SETUP = "ensemble.json"
_FLOOR = 1e-4


class Setup(BaseModel):
    """What ``ensemble.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: tuple[str, ...] = Field(min_length=1, description="Names of the members, in the order of the features.")
    sarcasm: bool = Field(default=False, description="Whether the sarcasm probability is a feature too.")


class Ensemble:
    """Learned weights over its members' answers. See :class:`~healdag.predictors.base.Predictor`.

    Args:
        members: Loaded predictors by name; those in ``setup.members``, and 'sarcasm' if the setup says so.
    """

    def __init__(self, model: Any, setup: Setup, manifest: Manifest, members: Mapping[str, Predictor]) -> None:
        self.name = "ensemble"
        self.labels = manifest.labels
        self.version = f"{manifest.task}/{manifest.version}"
        self.needs = setup.members + (("sarcasm",) if setup.sarcasm else ())
        missing = [name for name in self.needs if name not in members]
        if missing:
            raise ArtifactError(f"the ensemble needs the predictors {missing}, which are not loaded")
        self.members = {name: members[name] for name in self.needs}
        self._setup = setup
        self._model = model
        self._temperature, self._bias = manifest.temperature, manifest.bias

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); NaN where a member could not answer."""
        return self.combine({name: ask(member, texts).rows for name, member in self.members.items()})

    def combine(self, given: Mapping[str, Sequence[Row | None]]) -> FloatArray:
        """The same from the members' rows, which must hold one entry per name in ``needs``.

        Args:
            given: Rows of probabilities per member name; None where it could not answer.
        """
        columns = [given[name] for name in self.needs]
        n = len(columns[0])
        usable = [i for i in range(n) if all(column[i] is not None for column in columns)]
        result: FloatArray = np.full((n, len(self.labels)), np.nan)
        if usable:
            arrays = [np.array([column[i] for i in usable], dtype=np.float64) for column in columns]
            sarcasm = arrays[-1][:, 0] if self._setup.sarcasm else None
            features = stack_features(arrays[: len(self._setup.members)], sarcasm)
            raw = np.asarray(self._model.predict_proba(features), dtype=np.float64)
            result[usable] = calibrate(log_probabilities(raw), self._temperature, self._bias)
        return result


def stack_features(members: Sequence[FloatArray], sarcasm: FloatArray | None = None) -> FloatArray:
    """Features of the stack: log-probabilities of each member.

    With sarcasm also its logit and its products with the first member's, so that what irony does to each label can
    be learned.

    Args:
        members: Arrays of shape (n, labels).
        sarcasm: Probabilities of shape (n,), or None.

    Returns:
        Array of shape (n, features).
    """
    logs = [np.log(np.clip(member, _FLOOR, 1.0)) for member in members]
    if sarcasm is None:
        return np.hstack(logs)
    p = np.clip(sarcasm, _FLOOR, 1 - _FLOOR)[:, None]
    return np.hstack([*logs, np.log(p / (1 - p)), p * logs[0]])


def load(spec: Spec) -> Predictor:
    """Loads the ensemble in ``spec.folder``; its members come ready in ``spec.members``.

    Raises:
        ArtifactError: a file is missing or changed, or a member is not there.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'ensemble' needs an artefact folder")
    manifest = read_manifest(spec.folder)
    setup = Setup.model_validate(read_json(spec.folder / SETUP))
    model = load_skops(spec.folder / MODEL)
    if [str(c) for c in model.classes_] != [str(i) for i in range(len(manifest.labels))]:
        raise ArtifactError("the ensemble's classes must be the column numbers of its labels")
    return Ensemble(model, setup, manifest, spec.members)
