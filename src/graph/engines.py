"""Settles what runs a graph's networks: one engine for all of them, so that torch is not loaded for one alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..artifacts import Manifest, Precision
from ..artifacts.exports import PRECISIONS, RUNTIMES, exportable, find_export
from ..config import Settings
from ..errors import ConfigError
from ..predictors import Predictor
from ..predictors.restricted import whole

Model = tuple[Path, Manifest]


@dataclass(frozen=True)
class Settled:
    """An engine, 'torch' or an ONNX one.

    Attributes:
        reason: Why it is not a faster one, where 'auto' was asked for.
    """

    engine: str
    reason: str = ""

    def apply(self, settings: Settings) -> Settings:
        """The settings with this engine."""
        return settings.model_copy(update={"model": settings.model.model_copy(update={"engine": self.engine})})


def settle(settings: Settings, folders: Sequence[Path]) -> Settled:
    """The engine for the settings.

    Args:
        settings: With a promise (an error budget, label sets) int8 is not taken: that was certified with torch.
        folders: The artefacts that the graph is made of; the first with its backups.

    Raises:
        ConfigError: int8 together with a promise.
    """
    asked, dag = settings.model.engine, settings.dag
    promise = next((name for name in ("max_error", "label_set") if getattr(dag, name) is not None), None)
    if promise is not None and asked == "onnx-int8":
        raise ConfigError(
            f"engine='onnx-int8' cannot keep {promise}={getattr(dag, promise)!r}: it was certified with torch, whose "
            "answers int8 does not give to the last digit; take engine 'onnx-fp32' or 'torch'"
        )
    exact = "onnx" if promise is None else "onnx-fp32"
    if asked != "auto":
        return Settled(exact if asked == "onnx" else asked)
    models = [
        found
        for folder in folders
        for found in exportable(folder, backups=dag.enable_backup and folder == folders[0]).items()
    ]
    if not models:
        return Settled("torch")
    allowed: tuple[Precision, ...] = PRECISIONS if promise is None else ("fp32",)
    reason = _against(settings, models, allowed)
    return Settled("torch", reason) if reason else Settled(exact)


def in_words(predictors: Sequence[Predictor], settled: Settled) -> str:
    """Which engine runs which of the predictors, and why; '' where none of them has an engine."""
    names: dict[str, list[str]] = {}
    for predictor in predictors:
        engine = getattr(whole(predictor), "engine", None)
        if isinstance(engine, str):
            runtime = getattr(whole(predictor), "runtime", "")
            names.setdefault(f"{engine}{f' in {runtime}' if runtime else ''}", []).append(predictor.name)
    if not names:
        return ""
    which = "; ".join(f"{engine} ({', '.join(each)})" for engine, each in names.items())
    return f"The networks run on {which}{': ' + settled.reason if settled.reason else ''}."


def _against(settings: Settings, models: Sequence[tuple[str, Model]], allowed: tuple[Precision, ...]) -> str:
    """Why no ONNX engine is taken by itself; '' where one is."""
    device = settings.model.device
    if device not in ("auto", "cpu"):
        return f"ONNX engines do not run on device {device!r}"
    if not any(find_spec(name) for name in RUNTIMES):
        return "onnxruntime is not installed (pip install 'healdag[onnx]')"
    for name, (folder, manifest) in models:
        shown = f"{name!r} of {manifest.task} {manifest.version}"
        exported = find_export(folder, manifest)
        if exported is None:
            return f"{shown} has no ONNX export (healdag export {manifest.task})"
        if exported.checks is None:
            return f"the ONNX export of {shown} was not measured on this machine (healdag export {manifest.task})"
        passed = exported.checks.passed(allowed)
        if not passed:
            return f"the ONNX export of {shown} cannot be taken: {exported.checks.refusal(allowed)}"
        speeds = exported.checks.texts_per_second
        if speeds.get(passed[0], 0.0) < speeds.get("torch", 0.0):
            return (
                f"torch is faster than the ONNX export of {shown} here ({speeds['torch']:g} against "
                f"{speeds[passed[0]]:g} texts per second)"
            )
    return ""
