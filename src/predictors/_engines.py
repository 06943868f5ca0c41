"""Which engine runs a model: torch, or an ONNX export that was found good on this machine, in its fastest runtime."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ..artifacts import Exported, Manifest, Precision, find_export, sha256
from ..artifacts.exports import (
    EMBEDDINGS,
    PRECISIONS,
    TOKENIZER,
    Runtime,
    installed_runtimes,
    network,
    write_checks,
)
from ..errors import ArtifactError, ConfigError
from ._classifier import LoraClassifier
from ._encoder import Encoder, Vocabulary
from ._familiarity import FAMILIARITY, read_familiarity
from ._onnx import OnnxBackend, import_onnx_package, is_mapped
from ._screen import SCREEN, read_screen

ALLOWED: Mapping[str, tuple[Precision, ...]] = {"onnx": PRECISIONS, "onnx-fp32": ("fp32",), "onnx-int8": ("int8",)}
"""What each of the ONNX engines may take."""
_TOKENS = 512
"""Most padded tokens in one forward pass: more makes nothing faster on a processor, and takes memory."""

LoadWithTorch: TypeAlias = Callable[[Manifest, Path, Mapping[str, Any]], LoraClassifier]

log = logging.getLogger("healdag")
_exporting = threading.Lock()


def open_with_engine(
    manifest: Manifest, folder: Path, options: Mapping[str, Any], load: LoadWithTorch
) -> LoraClassifier:
    """The model of an artefact, run by ``options["engine"]``: 'torch' (the default), or an ONNX engine.

    An ONNX engine exports the model at first use. What is 'auto' is settled before, for a whole graph.

    Args:
        load: Loads the model with torch.

    Raises:
        ArtifactError: no export passed; the message has the figures.
        ConfigError: a device that ONNX engines do not run on.
        MissingExtraError: onnxruntime is not installed, or for an export onnx.
    """
    engine = str(options.get("engine", "torch"))
    if engine not in ALLOWED:
        return load(manifest, folder, options)
    if (device := str(options.get("device", "auto"))) not in ("auto", "cpu"):
        raise ConfigError(f"engine {engine!r} runs on the processor, not on device {device!r}; take engine 'torch'")
    if not installed_runtimes():
        import_onnx_package("onnxruntime")
    with _exporting:
        exported = find_export(folder, manifest)
        if exported is None or exported.checks is None:
            exported = export(manifest, folder, options, load)
    assert exported.checks is not None
    passed = exported.checks.passed(ALLOWED[engine])
    if not passed:
        raise ArtifactError(
            f"engine {engine!r} cannot run {_name(manifest, options)}: {exported.checks.refusal(ALLOWED[engine])}. "
            f"Measure it on labelled texts: healdag export {manifest.task} --data FILE; or take engine 'torch'"
        )
    return open_exported(exported, passed[0], manifest, folder, options)


def export(manifest: Manifest, folder: Path, options: Mapping[str, Any], load: LoadWithTorch) -> Exported:
    """Exports a model if that was not done yet, and measures fp32 on texts that every installation has.

    Raises:
        MissingExtraError: onnxruntime or onnx is not installed.
    """
    from ._onnx_export import check_texts, measure, write_export

    exported = find_export(folder, manifest)
    doing = "measuring the ONNX export of" if exported is not None else "exporting to ONNX, once for all:"
    # A warning, for it is why the first use takes long, and nobody sees less by default.
    log.warning("%s %s; this takes some seconds", doing, _name(manifest, options))
    reference = load(manifest, folder, {**options, "engine": "torch"})
    if exported is None:
        exported = write_export(folder, manifest, reference.encoder, reference.looked_at)
    networks = {
        (precision, runtime): open_exported(exported, precision, manifest, folder, options, runtime).exact
        for precision in PRECISIONS
        for runtime in installed_runtimes()
    }
    found = measure(exported, reference.exact, networks, check_texts(), "texts that come with healdag")
    return write_checks(exported, found)


def open_exported(
    exported: Exported,
    precision: Precision,
    manifest: Manifest,
    folder: Path,
    options: Mapping[str, Any],
    runtime: Runtime | None = None,
) -> LoraClassifier:
    """The exported model, whether it passed or not; with the calibration that was fitted for int8.

    Args:
        runtime: None: the fastest, as it was measured here; of one that was not measured, the first.

    Raises:
        ArtifactError: a file of the export is missing or was changed.
    """
    export = exported.export
    for name in (network(precision), TOKENIZER, *([EMBEDDINGS] if EMBEDDINGS in export.files else [])):
        path = exported.folder / name
        if name == EMBEDDINGS and is_mapped(export.files[name]):
            continue  # another model has the same, and its file was read
        if not path.is_file() or sha256(path) != export.files[name]:
            raise ArtifactError(
                f"{str(path)!r} is missing or was changed; export anew: healdag export {manifest.task} --force"
            )
    checks = exported.checks
    if runtime is None:
        taken = next(iter(installed_runtimes())) if checks is None else checks.runs[precision]
    else:
        taken = runtime
    content = (exported.folder / TOKENIZER).read_text(encoding="utf-8")
    encoder = Encoder(
        OnnxBackend(exported.path(precision), export, taken, lazy=options.get("name", "model") != "model"),
        Vocabulary(content, export.pad_id, export.unknown_id),
        max_length=manifest.max_length,
        overlap=int(options.get("window_overlap", 32)),
        tokens_per_batch=min(_TOKENS, int(options.get("tokens_per_batch", _TOKENS))),
    )
    known = read_familiarity(folder) if FAMILIARITY in manifest.files else None
    found = checks.int8 if checks is not None and precision == "int8" else None
    if found is not None and found.passed:
        manifest = manifest.model_copy(update={"calibration": found.calibration})
        known = None if known is None else replace(known, limit=known.limit * found.distance_scale)
    screen = read_screen(folder) if SCREEN in manifest.files else None
    name, reason = str(options.get("name", "model")), str(options.get("engine_reason", ""))
    return LoraClassifier(
        encoder, manifest, name, known, screen, engine=f"onnx-{precision}", runtime=taken, engine_reason=reason
    )


def _name(manifest: Manifest, options: Mapping[str, Any]) -> str:
    return f"{str(options.get('name', 'model'))!r} of {manifest.task} {manifest.version}"
