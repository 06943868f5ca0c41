"""Networks in ONNX files, in ONNX Runtime or OpenVINO: neither torch nor transformers is imported."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..artifacts import Export
from ..artifacts.exports import EMBEDDINGS, Runtime
from ..config import asked_threads
from ..errors import ArtifactError, MissingExtraError
from .base import FloatArray

LOGITS, HIDDEN = "logits", "hidden"
"""Names of the outputs."""
IDS, MASK, TYPES, EMBEDDED = "input_ids", "attention_mask", "token_type_ids", "inputs_embeds"
"""Names of the inputs; the last two are missing where the network does not take them."""

_Run: TypeAlias = Callable[[Sequence[str], Mapping[str, Any]], Sequence[npt.NDArray[np.float32]]]
"""Names of outputs, and inputs by name, to those outputs."""


class OnnxBackend:
    """A network in an ONNX file, on the processor. See :class:`._encoder.Backend`.

    Args:
        path: The file.
        export: What it holds.
        runtime: What runs it.
        lazy: Whether the file is read at the first text: for a model that many runs never ask.

    Raises:
        MissingExtraError: the runtime is not installed.
        ArtifactError: the file cannot be read by it.
    """

    def __init__(self, path: Path, export: Export, runtime: Runtime = "onnxruntime", *, lazy: bool = False) -> None:
        if runtime == "openvino":
            # Its library oneDNN keeps 1,024 kernels per process, which come to 300 MB, and save no time here either.
            os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
        package = import_onnx_package(runtime)
        self.num_labels = export.labels
        self.hidden_size = export.hidden_size
        self._layers = export.layers
        self._takes_types = export.takes_types
        embeddings = export.files.get(EMBEDDINGS)
        self._table = None if embeddings is None else _table(path.parent / EMBEDDINGS, embeddings)
        self.prefers_few_shapes = runtime == "openvino"  # it prepares kernels for each
        self._open = partial(_OPENERS[runtime], package, path)
        self._path, self._runtime = path, runtime
        self._opened: _Run | None = None
        self._lock = threading.Lock()
        if not lazy:
            self._network()

    def _network(self) -> _Run:
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open()
                except Exception as error:  # their own kinds, which are no part of their interfaces
                    where = f"{self._runtime} cannot read {str(self._path)!r}"
                    raise ArtifactError(f"{where}: {error}; export anew: --force") from error
            return self._opened

    def run(
        self,
        ids: npt.NDArray[np.int64],
        mask: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        layers: Sequence[int],
    ) -> tuple[FloatArray, FloatArray]:
        """Logits, and the rows' mean hidden states of the layers; see :meth:`._encoder.Backend.run`.

        Raises:
            ArtifactError: the export does not hold those of a layer.
        """
        for layer in layers:
            if layer not in self._layers:
                held = ", ".join(map(str, self._layers)) or "none"
                raise ArtifactError(f"of hidden states the ONNX export holds those of layers {held}; not of {layer}")
        inputs: dict[str, Any] = {IDS: ids, MASK: mask}
        if self._takes_types:
            inputs[TYPES] = types
        if self._table is not None:
            inputs[EMBEDDED] = self._table[ids]
        found = self._network()([LOGITS, HIDDEN] if layers else [LOGITS], inputs)
        logits: FloatArray = found[0].astype(np.float64)
        if not layers:
            return logits, np.zeros((len(ids), 0))
        return logits, found[1].astype(np.float64) if tuple(layers) == self._layers else self._pick(found[1], layers)

    def _pick(self, states: npt.NDArray[np.float32], layers: Sequence[int]) -> FloatArray:
        """Those of some of the layers, shape (n, len(layers) * d), from those of all that the export holds."""
        each = states.reshape(len(states), len(self._layers), self.hidden_size)
        places = [self._layers.index(layer) for layer in layers]
        chosen: FloatArray = each[:, places].reshape(len(states), -1).astype(np.float64)
        return chosen


def _open_with_onnxruntime(runtime: Any, path: Path) -> _Run:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = asked_threads() or 0
    options.log_severity_level = 3
    # A thread that waits for the next text should not keep a processor busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    of_run = runtime.RunOptions()
    # What a large batch needed is given back after it.
    of_run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(names: Sequence[str], inputs: Mapping[str, Any]) -> Sequence[npt.NDArray[np.float32]]:
        found: Sequence[npt.NDArray[np.float32]] = session.run(list(names), dict(inputs), of_run)
        return found

    return run


def _table(path: Path, digest: str) -> npt.NDArray[np.float32]:
    """Embeddings, mapped into memory once for all models that have the same ones."""
    found = _tables.get(digest)
    if found is None:
        _tables[digest] = found = np.load(path, mmap_mode="r")
    return found


def is_mapped(digest: str) -> bool:
    """Whether embeddings with this hash are in memory already."""
    return digest in _tables


_tables: weakref.WeakValueDictionary[str, npt.NDArray[np.float32]] = weakref.WeakValueDictionary()


def _open_with_openvino(runtime: Any, path: Path) -> _Run:
    core = runtime.Core()
    model = core.compile_model(
        core.read_model(str(path)),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, on all cores
            "INFERENCE_NUM_THREADS": str(asked_threads() or 0),
            "INFERENCE_PRECISION_HINT": "f32",  # else a processor with bfloat16 answers otherwise than one without
            # As many numbers of a row share one scale as weights do: fewer are slower, and no closer to fp32.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128",
            "ENABLE_CPU_PINNING": "NO",  # others work on these cores too
            # Prepared kernels: enough for single texts of usual lengths. More are most of a long run's memory.
            "CPU_RUNTIME_CACHE_CAPACITY": "1000",
        },
    )
    idle: queue.SimpleQueue[Any] = queue.SimpleQueue()  # a request serves one thread at a time

    def run(names: Sequence[str], inputs: Mapping[str, Any]) -> Sequence[npt.NDArray[np.float32]]:
        try:
            request = idle.get_nowait()
        except queue.Empty:
            request = model.create_infer_request()
        try:
            request.infer(dict(inputs), share_inputs=True, share_outputs=True)
            return [request.get_tensor(name).data.copy() for name in names]
        finally:
            idle.put(request)

    return run


_OPENERS: Mapping[Runtime, Callable[[Any, Path], _Run]] = {
    "onnxruntime": _open_with_onnxruntime,
    "openvino": _open_with_openvino,
}


def import_onnx_package(name: str) -> ModuleType:
    """``onnxruntime``, ``openvino`` or ``onnx``; MissingExtraError with the pip command where it is not installed."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, "onnx") from None
