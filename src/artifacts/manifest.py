"""What ``manifest.json`` holds, read and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ArtifactError
from .calibration import UNCALIBRATED, Calibration
from .files import MANIFEST, verify_sha256


class BaseReference(BaseModel):
    """The pretrained model that an adapter was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Hub name.")
    revision: str | None = Field(default=None, description="Hub commit; None means the main branch.")
    sha256: str = Field(description="SHA-256 of its model.safetensors.")


class Manifest(BaseModel):
    """What ``manifest.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="Module in predictors/ that loads it.")
    task: str
    version: str
    labels: tuple[str, ...] = Field(min_length=2, description="Label of each column of predict_proba, in order.")
    prior: tuple[float, ...] = Field(description="Share of each label in the calibration data.")
    calibration: Calibration = Field(default=UNCALIBRATED, description="Makes probabilities of the model's logits.")
    multi_label: bool = Field(default=False, description="Whether a text can have several labels, or none.")
    sarcasm: bool = Field(default=False, description="Whether sarcasm can change the task's answer.")
    base: BaseReference | None = None
    max_length: int = Field(default=128, description="Tokens the model reads at once, special tokens included.")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 per file of the folder.")

    @model_validator(mode="before")
    @classmethod
    def _with_a_calibration(cls, content: Any) -> Any:
        """Manifests from before there were several methods have temperature and bias among the other keys."""
        if not isinstance(content, dict) or "calibration" in content:
            return content
        found = {name: content[name] for name in ("temperature", "bias") if name in content}
        rest = {name: value for name, value in content.items() if name not in found}
        return {**rest, "calibration": found} if found else content

    @model_validator(mode="after")
    def _is_for_its_labels(self) -> Self:
        if self.calibration.labels not in (None, len(self.labels)):
            raise ValueError(f"a calibration for {self.calibration.labels} labels, but there are {len(self.labels)}")
        return self


class SummarizerManifest(BaseModel):
    """What the ``manifest.json`` of a summarizer holds: it writes text, so it has no labels and no calibration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["summarizer"] = "summarizer"
    task: str
    version: str
    base: BaseReference
    prefix: str = Field(default="", description="Put before every text, as in training (T5: 'summarize: ').")
    max_source_length: int = Field(description="Tokens of a text read at once, prefix and special tokens included.")
    max_target_length: int = Field(description="Most tokens of a summary.")
    beams: int = Field(default=1, ge=1, description="Beams of the search; 1 is greedy.")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 per file of the folder.")


_Form = TypeVar("_Form", Manifest, SummarizerManifest)


def read_manifest(folder: Path) -> Manifest:
    """Reads and verifies an artefact: every file that the manifest names is there and unchanged.

    Raises:
        ArtifactError: no manifest, a manifest that is not valid, or a file that is missing or differs.
    """
    return _read_verified(folder, Manifest)


def read_summarizer_manifest(folder: Path) -> SummarizerManifest:
    """Like :func:`read_manifest`, for the folder of a summarizer."""
    return _read_verified(folder, SummarizerManifest)


def _read_verified(folder: Path, form: type[_Form]) -> _Form:
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"no {MANIFEST} in {str(folder)!r}; an artefact folder has one")
    try:
        manifest = form.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{str(path)!r} is not a valid manifest: {error}") from None
    for name, expected in manifest.files.items():
        verify_sha256(folder / name, expected)
    return manifest
