"""ONNX exports of artefacts: where they are cached, what they hold, and what they were found to do on this machine.

An export is no part of an artefact, but can be made anew from it at any time::

    <cache>/onnx/<task>-<version>-<hash of the manifest>/
        export.json                       what it is, with the hashes of the other files
        fp32.onnx int8.onnx embeddings.npy tokenizer.json
        checks-<processor and runtimes>.json   what was measured here
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..config import cache_folder
from ..errors import ArtifactError
from .calibration import UNCALIBRATED, Calibration
from .files import MANIFEST, read_form, sha256
from .manifest import Manifest
from .places import available_tasks, models_roots

Precision: TypeAlias = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
Runtime: TypeAlias = Literal["onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")
"""What can run a network; named like their packages."""

EXPORTABLE = ("full", "lora")
"""Kinds of models that can be exported."""

EXPORT, TOKENIZER, EMBEDDINGS = "export.json", "tokenizer.json", "embeddings.npy"
FORMAT = 2
"""Goes up whenever an older export would be read wrongly or would answer otherwise: it is then made anew."""

_ABANDONED = 3600.0  # seconds; no export takes so long

MAX_DIFFERENCE = 1e-4
"""Of a probability of fp32 from torch's."""
MIN_AGREEMENT, MAX_LOSS = 0.98, 0.005
"""Of int8: share of rows with torch's answer, and the macro-F1 that may be lost."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Export(_Form):
    """What ``export.json`` holds."""

    format: int = FORMAT
    task: str
    version: str
    manifest_sha256: str = Field(description="Of the artefact that it was made of; another one is exported anew.")
    artifact: str | None = Field(default=None, description="Its folder, when the export was made.")
    labels: int
    hidden_size: int
    takes_types: bool = Field(description="Whether the network reads which text of a pair a token belongs to.")
    layers: tuple[int, ...] = Field(description="Hidden layers whose means, side by side, are an output.")
    pad_id: int
    unknown_id: int | None
    files: dict[str, str] = Field(description="SHA-256 per file.")
    packages: dict[str, str] = Field(description="Version of each package that made it.")
    date: str = Field(description="ISO 8601 day.")


class Fp32Check(_Form):
    """How far fp32 is from torch."""

    texts: int
    data: str = Field(description="Where they are from.")
    max_difference: float = Field(description="Largest difference of a calibrated probability.")
    max_distance_difference: float = Field(
        default=0.0, description="Largest difference of a distance from the training texts, in units of the limit."
    )

    @property
    def passed(self) -> bool:
        """Whether it may be used."""
        return self.max_difference <= MAX_DIFFERENCE and self.max_distance_difference <= 10 * MAX_DIFFERENCE

    def words(self) -> str:
        """The figures."""
        far = self.max_distance_difference
        distance = f" and a distance by {far:.1e}" if far else ""
        return (
            f"a probability differs from torch's by {self.max_difference:.1e}{distance} at most on {self.texts:,} "
            f"texts ({self.data}; allowed: {MAX_DIFFERENCE:g})"
        )


class Int8Check(_Form):
    """What int8 gives up, on labelled rows that the model was not trained on."""

    rows: int
    data: str = Field(description="Where they are from.")
    data_sha256: str
    agreement: float = Field(description="Share of rows with torch's answer, 0 to 1.")
    macro_f1: float
    macro_f1_torch: float
    log_loss: float
    log_loss_torch: float
    mean_difference: float = Field(description="Of a calibrated probability from torch's.")
    calibration: Calibration = UNCALIBRATED
    refitted: bool = Field(description="Whether the calibration was fitted on these rows; else it is the artefact's.")
    distance_scale: float = Field(
        default=1.0, description="Divides distances from the training texts, which rounding makes longer."
    )
    familiar_agreement: float | None = Field(
        default=None, description="Share of rows that are unfamiliar to both or to neither; None: no one looks."
    )

    @property
    def passed(self) -> bool:
        """Whether it may be used."""
        others = self.familiar_agreement is None or self.familiar_agreement >= MIN_AGREEMENT
        return self.agreement >= MIN_AGREEMENT and self.macro_f1 >= self.macro_f1_torch - MAX_LOSS and others

    def words(self) -> str:
        """The figures."""
        familiar = self.familiar_agreement
        also = f", on what is unfamiliar on {familiar:.1%}" if familiar is not None else ""
        return (
            f"it agrees with torch on {self.agreement:.1%} of {self.rows:,} rows{also} ({self.data}; needed: "
            f"{MIN_AGREEMENT:.0%}), macro-F1 {self.macro_f1:.4f} against {self.macro_f1_torch:.4f} (it may lose "
            f"{MAX_LOSS:g})"
        )


class Checks(_Form):
    """What was measured of an export, on one processor with one version of each runtime."""

    processor: str
    runtimes: dict[Runtime, str] = Field(description="Version of each that is installed.")
    runs: dict[Precision, Runtime] = Field(description="The fastest of them, by network; the rest is measured of it.")
    date: str = Field(description="ISO 8601 day.")
    files: dict[str, str] = Field(description="The export's, when it was measured.")
    fp32: Fp32Check
    int8: Int8Check | None = Field(default=None, description="None where no labelled rows were at hand.")
    texts_per_second: dict[str, float] = Field(
        default_factory=dict, description="Of 'torch', 'fp32' and 'int8', measured in turns."
    )
    texts_per_second_by_runtime: dict[str, float] = Field(
        default_factory=dict, description="Of each network in each runtime, 'int8 openvino' for one."
    )

    def check(self, precision: Precision) -> Fp32Check | Int8Check | None:
        """That of a precision; None where it was not measured."""
        return self.fp32 if precision == "fp32" else self.int8

    def passed(self, allowed: tuple[Precision, ...] = PRECISIONS) -> list[Precision]:
        """Those of the allowed ones that may be used, the fastest first."""
        good = [one for one in allowed if (check := self.check(one)) is not None and check.passed]
        return sorted(good, key=lambda one: -self.texts_per_second.get(one, 0.0))

    def refusal(self, allowed: tuple[Precision, ...] = PRECISIONS) -> str:
        """Why those that may not be used may not."""
        reasons = []
        for one in allowed:
            check = self.check(one)
            if check is None:
                reasons.append(f"{one} was not measured on labelled rows")
            elif not check.passed:
                reasons.append(f"{one} did not pass: {check.words()}")
        return "; ".join(reasons)


@dataclass(frozen=True)
class Exported:
    """An export that belongs to the artefact as it is now.

    Attributes:
        checks: What was measured of it here; None where nothing was.
    """

    folder: Path
    export: Export
    checks: Checks | None

    def path(self, precision: Precision) -> Path:
        """The network's file."""
        return self.folder / network(precision)


def network(precision: Precision) -> str:
    """Name of the network's file."""
    return f"{precision}.onnx"


def exports_folder() -> Path:
    """Where all exports are."""
    return cache_folder() / "onnx"


def export_folder(artifact: Path, manifest: Manifest) -> Path:
    """Where the export of an artefact belongs: another content has another folder."""
    digest = sha256(artifact / MANIFEST)[:16]
    return exports_folder() / f"{manifest.task}-{manifest.version}-{digest}"


def find_export(artifact: Path, manifest: Manifest) -> Exported | None:
    """The artefact's export; None where there is none, or one that this version of the library does not read."""
    folder = export_folder(artifact, manifest)
    try:
        export = read_form(folder / EXPORT, Export, "export")
        checks = read_form(folder / checks_name(), Checks, "measurement of an export")
    except ArtifactError:  # written by another version of the library
        return None
    if export is None or export.format != FORMAT or export.manifest_sha256 != sha256(artifact / MANIFEST):
        return None
    return Exported(folder, export, checks if checks is not None and checks.files == export.files else None)


def write_checks(exported: Exported, checks: Checks) -> Exported:
    """Keeps what was measured; the export with it."""
    path = exported.folder / checks_name()
    handle, fresh = tempfile.mkstemp(prefix=f".{path.name}-", dir=exported.folder)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(checks.model_dump_json(indent=2) + "\n")
    Path(fresh).chmod(0o644)
    Path(fresh).replace(path)
    return Exported(exported.folder, exported.export, checks)


def checks_name() -> str:
    """Name of the file with what was measured on this processor, by these runtimes."""
    installed = " ".join(f"{name} {number}" for name, number in installed_runtimes().items())
    digest = hashlib.sha256(f"{processor()} {installed}".encode()).hexdigest()[:12]
    return f"checks-{digest}.json"


def installed_runtimes() -> dict[Runtime, str]:
    """Versions of the runtimes that are installed, without importing them."""
    found: dict[Runtime, str] = {}
    for name in RUNTIMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """What the sums of an int8 network depend on: the processor's name and what it can do with small integers."""
    found: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    name = found.get("model name") or " ".join(found.get(key, "") for key in ("CPU implementer", "CPU part")).strip()
    flags = {*found.get("flags", "").split(), *found.get("Features", "").split()}
    known = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
    parts = [platform.machine(), name or platform.processor(), *(flag for flag in known if flag in flags)]
    return " ".join(part for part in parts if part)


def stale_exports() -> dict[Path, str]:
    """Folders of exports that nothing needs any more, with why.

    Needed are those of the models in use: the current version of each task that can be found, with its backups. And
    those of a folder outside the folders of models, as long as it holds what was exported.
    """
    used = {
        export_folder(folder, manifest)
        for artifact in available_tasks().values()
        for folder, manifest in exportable(artifact).values()
    }
    root, found = exports_folder(), {}
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_dir() and path not in used and (why := _stale(path)):
            found[path] = why
    return found


def _stale(folder: Path) -> str:
    """Why an export that is of no model in use is not needed; '' where it is."""
    if folder.name.startswith("."):  # one that is being written has such a name too
        young = time.time() - folder.stat().st_mtime < _ABANDONED
        return "" if young else "half-written"
    try:
        export = read_form(folder / EXPORT, Export, "export")
    except ArtifactError:
        export = None
    if export is None or export.format != FORMAT:
        return "this version of healdag does not read it"
    name = f"{export.task} {export.version}"
    artifact = None if export.artifact is None else Path(export.artifact)
    if artifact is None or not (artifact / MANIFEST).is_file():
        return f"{name} is gone" if artifact is not None else f"{name} is not in use"
    if sha256(artifact / MANIFEST) != export.manifest_sha256:
        return f"{name} was changed"
    own = any(artifact.is_relative_to(root.resolve()) for root in models_roots())
    return f"{name} is not in use" if own else ""


def exportable(artifact: Path, *, backups: bool = True) -> dict[str, tuple[Path, Manifest]]:
    """The models of an artefact that can be exported, by name: 'model' is its own, the others are named by folder.

    Their files are not verified. A folder that cannot be read is left to who loads it.
    """
    found: dict[str, tuple[Path, Manifest]] = {}
    for path in sorted(artifact.rglob(MANIFEST), key=lambda path: (len(path.parts), path)):
        inside = path.parent.relative_to(artifact)
        if any(part.startswith(".") for part in inside.parts) or (inside.parts[:1] == ("backups",) and not backups):
            continue
        try:
            manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError):
            continue
        if manifest.kind in EXPORTABLE:
            name = "/".join(part for part in inside.parts if part != "backups") or "model"
            found[name] = (path.parent, manifest)
    return found
