"""ONNX Runtime runs the network: neither torch nor transformers is imported."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifacts import Export
from ..config import asked_threads
from ..errors import ArtifactError, MissingExtraError
from .base import FloatArray

LOGITS, HIDDEN = "logits", "hidden"
"""Names of the outputs."""
IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
"""Names of the inputs; the last is missing where the network does not take it."""


class OnnxBackend:
    """A network in an ONNX file, on the processor. See :class:`._encoder.Backend`.

    Args:
        path: The file.
        export: What it holds.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ArtifactError: the file cannot be read by it.
    """

    def __init__(self, path: Path, export: Export) -> None:
        runtime: Any = import_onnx_package("onnxruntime")
        self.num_labels = export.labels
        self.hidden_size = export.hidden_size
        self._layer = export.layer
        self._takes_types = export.takes_types
        options = runtime.SessionOptions()
        options.intra_op_num_threads = asked_threads() or 0
        options.log_severity_level = 3
        # A thread that waits for the next text should not keep a processor busy.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options = runtime.RunOptions()
        # What a large batch needed is given back after it.
        self._options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own kinds, which are no part of its interface
            raise ArtifactError(f"onnxruntime cannot read {str(path)!r}: {error}; export anew: --force") from error

    def run(
        self,
        ids: npt.NDArray[np.int64],
        mask: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        layer: int | None,
    ) -> tuple[FloatArray, FloatArray]:
        """Logits, and the rows' mean hidden states of the layer; see :meth:`._encoder.Backend.run`.

        Raises:
            ArtifactError: the export does not hold that layer.
        """
        if layer not in (None, self._layer):
            raise ArtifactError(f"the ONNX export holds the hidden states of layer {self._layer}, not {layer}")
        inputs = {IDS: ids, MASK: mask}
        if self._takes_types:
            inputs[TYPES] = types
        names = [LOGITS] if layer is None else [LOGITS, HIDDEN]
        found = self._session.run(names, inputs, self._options)
        logits: FloatArray = found[0].astype(np.float64)
        return logits, np.zeros((len(ids), 0)) if layer is None else found[1].astype(np.float64)


def import_onnx_package(name: str) -> ModuleType:
    """``onnxruntime`` or ``onnx``; MissingExtraError with the pip command where it is not installed."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, "onnx") from None
