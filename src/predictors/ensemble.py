"""An ensemble: a logarithmic opinion pool with learned weights over what several predictors said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..artifacts import MANIFEST, UNCALIBRATED, Calibration, Manifest, read_json, read_manifest
from ..errors import ArtifactError
from .base import FloatArray, Predictor, Row, Spec, ask, calibrate, logits_of, sigmoid, softmax

SETUP = "ensemble.json"
OWN = "members"
"""Folder, in an ensemble that stands alone, with its members: 'members/0' is a member's name and its place."""
_OWN_MEMBER = re.compile(rf"{OWN}/\d+")
_FLOOR = 1e-4
LEAST_IRONY = 0.02
"""Probability that a text is ironic below which nobody need say what it would mean then: no probability would move by
more than this."""


class Irony(BaseModel):
    """What irony does to an answer: with the probability that the author is ironic, another label is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset: float = Field(description="The text is ironic with probability sigmoid(offset + slope * logit(detector)).")
    slope: float
    meant: tuple[tuple[float, ...], ...] = Field(
        description="Row k: probability of each label being meant where an ironic text seems to say label k."
    )
    member: str | None = Field(
        default=None, description="A predictor trained on ironic texts, which says what is meant."
    )
    weights: tuple[float, float] = Field(
        default=(1.0, 0.0), description="Of the table 'meant' and of the member, in a pool of the two."
    )

    def intended(self, said: FloatArray, member: FloatArray | None) -> FloatArray:
        """What is meant if the text is ironic, shape (n, labels): a logarithmic opinion pool of table and member.

        The table alone where the member's row is NaN: it was not asked, or could not answer.
        """
        table: FloatArray = said @ np.array(self.meant)
        if self.member is None or member is None:
            return table
        heard = np.asarray(np.isfinite(member).all(axis=1))
        pooled = calibrate(self.weights[0] * evidence_of(table) + self.weights[1] * evidence_of(member))
        return np.where(heard[:, None], pooled, table)

    def probability(self, sarcasm: FloatArray) -> FloatArray:
        """That the author is ironic, shape (n,), by the detector's probabilities, shape (n,)."""
        detector = np.clip(sarcasm, _FLOOR, 1 - _FLOOR)
        return sigmoid(self.offset + self.slope * np.log(detector / (1 - detector)))

    def apply(self, said: FloatArray, sarcasm: FloatArray, member: FloatArray | None = None) -> FloatArray:
        """Law of total probability: (1 - t) * said + t * intended.

        Args:
            said: Probabilities of shape (n, labels), irony left aside.
            sarcasm: The detector's probabilities, shape (n,).
            member: The member's probabilities, shape (n, labels); see :meth:`intended`.
        """
        ironic = self.probability(sarcasm)[:, None]
        result: FloatArray = (1 - ironic) * said + ironic * self.intended(said, member)
        return result


def evidence_of(probabilities: FloatArray, *, multi_label: bool = False) -> FloatArray:
    """What a pool adds up: logarithms of the probabilities, or multi-label their log-odds; bounded.

    Args:
        probabilities: Shape (n, labels).
    """
    return logits_of(np.clip(probabilities, _FLOOR, 1 - _FLOOR if multi_label else 1.0), multi_label=multi_label)


class Pool(BaseModel):
    """What ``ensemble.json`` holds: softmax(sum of weight * log p over the members + bias), then irony.

    Genest & Zidek 1986, Statistical Science 1(1) (logarithmic opinion pools). In a multi-label task each label is a
    question of its own with two answers; the pool of those is sigmoid(sum of weight * log-odds + bias).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: tuple[str, ...] = Field(min_length=1, description="Names of the members, in the order of the weights.")
    weights: tuple[float, ...] = Field(min_length=1, description="Weight of each member.")
    bias: tuple[float, ...] = Field(description="Per label.")
    irony: Irony | None = Field(default=None, description="None: sarcasm plays no part.")
    multi_label: bool = Field(default=False, description="Whether a text can have several labels, or none.")

    @property
    def ironists(self) -> tuple[str, ...]:
        """Predictors that irony needs: the detector, and the member that says what is meant."""
        if self.irony is None:
            return ()
        return ("sarcasm",) if self.irony.member is None else ("sarcasm", self.irony.member)

    @property
    def spared(self) -> str | None:
        """The member that says what irony means, where nothing else is made of what it says; it may be missing."""
        member = self.irony.member if self.irony is not None else None
        return None if member in self.members else member

    def combine(
        self, members: Sequence[FloatArray], sarcasm: FloatArray | None = None, intended: FloatArray | None = None
    ) -> FloatArray:
        """Probabilities of shape (n, labels).

        Args:
            members: Probabilities of shape (n, labels), in the order of ``members``.
            sarcasm: Probabilities of shape (n,); needed where ``irony`` is not None.
            intended: Probabilities of shape (n, labels) of irony's member, where it has one.
        """
        evidence = (evidence_of(member, multi_label=self.multi_label) for member in members)
        pooled = cast("FloatArray", sum(w * given for w, given in zip(self.weights, evidence, strict=True)))
        pooled = pooled + np.asarray(self.bias)
        said = sigmoid(pooled) if self.multi_label else softmax(pooled)
        return said if self.irony is None or sarcasm is None else self.irony.apply(said, sarcasm, intended)


class Ensemble:
    """Learned weights over its members' answers. See :class:`~healdag.predictors.base.Predictor`.

    Args:
        members: Loaded predictors by name; those in ``pool.members``, and 'sarcasm' where it plays a part.

    Raises:
        ArtifactError: a member is not there.
    """

    def __init__(
        self, pool: Pool, manifest: Manifest, members: Mapping[str, Predictor], name: str = "ensemble"
    ) -> None:
        self.name = name
        self.labels = manifest.labels
        self.multi_label = manifest.multi_label
        self.prior = manifest.prior
        self.version = f"{manifest.task}/{manifest.version}"
        self.needs = pool.members + pool.ironists
        missing = [name for name in self.needs if name not in members]
        if missing:
            raise ArtifactError(f"the ensemble needs the predictors {missing}, which are not loaded")
        self.members = {name: members[name] for name in self.needs}
        self._pool = pool
        self._calibration = manifest.calibration

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); NaN where a member could not answer."""
        return self.combine(self._said(texts))

    def uncalibrated(self, texts: Sequence[str]) -> FloatArray:
        """The pool's own answers, of members that are calibrated."""
        return self._combined(self._said(texts), UNCALIBRATED)

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Share of each text that no member can read, 0 to 1; members that do not say leave it to the others."""
        shares = [member.unknown_share(texts) for member in self.members.values() if hasattr(member, "unknown_share")]
        return [min(each) for each in zip(*shares, strict=True)] if shares else [0.0] * len(texts)

    def combine(self, given: Mapping[str, Sequence[Row | None]]) -> FloatArray:
        """The same from the members' rows, which must hold one entry per name in ``needs``.

        Args:
            given: Rows of probabilities per member name; None where it could not answer.
        """
        return self._combined(given, self._calibration)

    def matters(self, name: str, sarcasm: Sequence[Row | None]) -> list[bool]:
        """Whether each answer may depend on what a member says: it does not, where only irony would bring it up.

        Args:
            name: Of a member.
            sarcasm: The detector's rows.
        """
        irony = self._pool.irony
        if irony is None or name != self._pool.spared:
            return [True] * len(sarcasm)
        found = irony.probability(np.array([np.nan if row is None else row[0] for row in sarcasm], dtype=np.float64))
        return [bool(value >= LEAST_IRONY) for value in found]  # without a word on sarcasm there is no answer anyway

    def _said(self, texts: Sequence[str]) -> dict[str, list[Row | None]]:
        return {name: ask(member, texts).rows for name, member in self.members.items()}

    def _combined(self, given: Mapping[str, Sequence[Row | None]], calibration: Calibration) -> FloatArray:
        columns = [given[name] for name in self.needs]
        n = len(columns[0])
        needed = [given[name] for name in self.needs if name != self._pool.spared]
        usable = [i for i in range(n) if all(column[i] is not None for column in needed)]
        result: FloatArray = np.full((n, len(self.labels)), np.nan)
        if usable:
            nothing = [np.nan] * len(self.labels)
            arrays = [
                np.array([nothing if (row := column[i]) is None else row for i in usable], dtype=np.float64)
                for column in columns
            ]
            said = dict(zip(self.needs, arrays, strict=True))
            sarcasm = said["sarcasm"][:, 0] if self._pool.irony is not None else None
            intended = said[self._pool.ironists[1]] if len(self._pool.ironists) > 1 else None
            pooled = self._pool.combine([said[name] for name in self._pool.members], sarcasm, intended)
            logits = logits_of(pooled, multi_label=self.multi_label)
            result[usable] = calibrate(logits, calibration, multi_label=self.multi_label)
        return result


def load(spec: Spec) -> Predictor:
    """Loads the ensemble in ``spec.folder``; its members come ready in ``spec.members``, or lie in the folder.

    Raises:
        ArtifactError: a file is missing or changed (a member's too), or a member is not there.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'ensemble' needs an artefact folder")
    manifest = read_manifest(spec.folder)
    try:
        pool = Pool.model_validate(read_json(spec.folder / SETUP))
    except ValidationError as error:
        raise ArtifactError(f"{str(spec.folder / SETUP)!r} is not valid: {error}") from None
    if len(pool.weights) != len(pool.members) or len(pool.bias) != len(manifest.labels):
        raise ArtifactError(f"{str(spec.folder / SETUP)!r} needs a weight per member and a bias per label")
    if pool.multi_label != manifest.multi_label:
        raise ArtifactError(f"{str(spec.folder / SETUP)!r} and the manifest differ in multi_label")
    own = {
        name: _load_own(spec, spec.folder, name, manifest)
        for name in pool.members
        if name not in spec.members and _OWN_MEMBER.fullmatch(name)
    }
    return Ensemble(pool, manifest, {**spec.members, **own}, str(spec.options.get("name", "ensemble")))


def _load_own(spec: Spec, folder: Path, name: str, ensemble: Manifest) -> Predictor:
    """A member that lies in the ensemble's folder; the ensemble's manifest holds the hash of the member's."""
    if f"{name}/{MANIFEST}" not in ensemble.files:
        raise ArtifactError(f"the manifest of {str(folder)!r} does not vouch for {name!r}; make the ensemble again")
    manifest = read_manifest(folder / name)
    if manifest.labels != ensemble.labels or manifest.multi_label != ensemble.multi_label:
        raise ArtifactError(f"{str(folder / name)!r} has other labels than the ensemble: {list(manifest.labels)}")
    from . import load_predictor

    return load_predictor(manifest.kind, Spec(manifest.labels, folder / name, {**spec.options, "name": name}))
