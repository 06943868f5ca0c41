"""Writes a model that torch runs as ONNX, in fp32 and with weights of eight bits, and holds fp32 against torch."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts import MANIFEST, Checks, Export, Exported, Fp32Check, Manifest, Precision, replacing, sha256
from ..artifacts.exports import (
    EMBEDDINGS,
    EXPORT,
    PRECISIONS,
    TOKENIZER,
    Runtime,
    export_folder,
    installed_runtimes,
    network,
    processor,
)
from ..errors import ArtifactError
from ._encoder import Encoder
from ._onnx import EMBEDDED, HIDDEN, IDS, LOGITS, MASK, TYPES, import_onnx_package
from ._torch import TorchBackend, mean_states
from .base import FloatArray

BLOCK = 128
"""Weights, and at run time numbers of a row, that share one scale. A smaller block is closer to fp32 and slower."""
_OPSET = 17
_PACKAGES = ("onnx", "onnxruntime", "torch", "transformers")

Probabilities = Callable[[Sequence[str]], tuple[FloatArray, FloatArray | None]]
"""Texts to exact calibrated probabilities, and to distances from the training texts where the model knows them."""

log = logging.getLogger("healdag")


def write_export(artifact: Path, manifest: Manifest, encoder: Encoder, layers: Sequence[int]) -> Exported:
    """Exports the model of an artefact; nothing half-written is ever found, whenever this is killed.

    Args:
        encoder: Of that artefact, run by torch.
        layers: Hidden layers whose means are to be an output.

    Raises:
        ArtifactError: the cache cannot be written.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    for name in ("onnx", "onnxruntime"):
        import_onnx_package(name)
    folder = export_folder(artifact, manifest)
    try:
        return _write(folder, artifact, manifest, encoder, layers)
    except OSError as error:
        raise ArtifactError(
            f"cannot write the ONNX export {str(folder)!r}: {error}; set HEALDAG_CACHE to a folder that can be written"
        ) from error


def _write(folder: Path, artifact: Path, manifest: Manifest, encoder: Encoder, layers: Sequence[int]) -> Exported:
    backend, vocabulary = encoder.backend, encoder.vocabulary
    assert isinstance(backend, TorchBackend)
    with replacing(folder) as fresh:
        _trace(backend, layers, fresh / network("fp32"))
        _split_and_quantize(fresh)
        (fresh / TOKENIZER).write_text(vocabulary.content, encoding="utf-8")
        export = Export(
            task=manifest.task,
            version=manifest.version,
            manifest_sha256=sha256(artifact / MANIFEST),
            artifact=str(artifact.resolve()),
            labels=backend.num_labels,
            hidden_size=backend.hidden_size,
            takes_types=backend.takes_types,
            layers=tuple(layers),
            pad_id=vocabulary.pad_id,
            unknown_id=vocabulary.unknown_id,
            files={path.name: sha256(path) for path in sorted(fresh.iterdir())},
            packages={name: version(name) for name in _PACKAGES},
            date=_today(),
        )
        (fresh / EXPORT).write_text(export.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Exported(folder, export, None)


def measure(
    exported: Exported,
    torch: Probabilities,
    networks: Mapping[tuple[Precision, Runtime], Probabilities],
    texts: Sequence[str],
    data: str,
) -> Checks:
    """Finds the fastest runtime for each network, and holds fp32 against torch in it.

    Args:
        torch: What the model answers.
        networks: Each network in each runtime.
        texts: To compare on.
        data: Where they are from, in words.
    """
    ways = {"torch": torch} | {f"{precision} {runtime}": one for (precision, runtime), one in networks.items()}
    speeds = _speeds(ways, texts[:64])
    runs: dict[Precision, Runtime] = {
        precision: max(
            (runtime for made, runtime in networks if made == precision),
            key=lambda runtime, precision=precision: speeds[f"{precision} {runtime}"],  # type: ignore[misc]
        )
        for precision in PRECISIONS
    }
    (expected, far), (found, other) = torch(texts), networks["fp32", runs["fp32"]](texts)
    check = Fp32Check(
        texts=len(texts),
        data=data,
        max_difference=_largest(expected, found),
        max_distance_difference=0.0 if far is None or other is None else _largest(far, other),
    )
    return Checks(
        processor=processor(),
        runtimes=installed_runtimes(),
        runs=runs,
        date=_today(),
        files=exported.export.files,
        fp32=check,
        texts_per_second={
            "torch": speeds.pop("torch"),
            **{precision: speeds[f"{precision} {runtime}"] for precision, runtime in runs.items()},
        },
        texts_per_second_by_runtime=speeds,
    )


def check_texts() -> list[str]:
    """Texts that every installation has, to compare engines on: foreign ones, feelings in words, and a long one."""
    folder = Path(__file__).parents[1] / "data"
    foreign = [
        json.loads(line)["text"]
        for path in sorted((folder / "foreign").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()[::10]
    ]
    words = json.loads((folder / "feelings.json").read_text(encoding="utf-8"))["feelings"].values()
    sentences = [f"I feel {word}, and I cannot say why." for each in words for word in each[:10]]
    return [*sentences, *foreign, " ".join(foreign[:20])]


def _largest(a: FloatArray, b: FloatArray) -> float:
    """NaN, which a text without a token gets, is equal to NaN and infinitely far from a number."""
    if not a.size:
        return 0.0
    both = np.isnan(a) & np.isnan(b)
    gap = np.where(both, 0.0, np.abs(a - b))
    return float(np.nan_to_num(gap, nan=np.inf).max())


def _speeds(models: Mapping[str, Probabilities], texts: Sequence[str], rounds: int = 3) -> dict[str, float]:
    """Texts per second, the best of some rounds in which the engines take turns."""
    best = dict.fromkeys(models, float("inf"))
    for _ in range(rounds):
        for name, answer in models.items():
            start = time.perf_counter()
            answer(texts)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: round(len(texts) / max(seconds, 1e-9), 1) for name, seconds in best.items()}


def _trace(backend: TorchBackend, layers: Sequence[int], path: Path) -> None:
    """The network as ONNX, with the means of hidden layers, side by side, as a second output."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any, types: Any = None) -> Any:
            given = {IDS: ids, MASK: mask} | ({TYPES: types} if backend.takes_types else {})
            outputs = self.model(**given, output_hidden_states=bool(layers))
            if not layers:
                return outputs.logits
            return outputs.logits, torch.cat([mean_states(outputs.hidden_states[i], mask) for i in layers], dim=1)

    device = backend.device
    ids = torch.ones((2, 9), dtype=torch.long, device=device)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    inputs = [IDS, MASK, TYPES] if backend.takes_types else [IDS, MASK]
    outputs = [LOGITS, HIDDEN] if layers else [LOGITS]
    axes = {name: {0: "rows", 1: "tokens"} for name in inputs} | {name: {0: "rows"} for name in outputs}
    # Tracing warns of every Python number that it takes for a constant; whether that mattered is measured afterwards.
    with warnings.catch_warnings(), torch.no_grad(), _plain_attention(backend.model):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network(backend.model).eval(),
            (ids, mask, torch.zeros_like(ids))[: len(inputs)],
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,  # what the newer exporter writes fails shape inference
        )


@contextmanager
def _plain_attention(model: Any) -> Iterator[None]:
    """Attention as products and softmax: the fused one is written with steps for rows that attend to nothing."""
    own = getattr(model.config, "_attn_implementation", None)
    if own in (None, "eager"):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def _split_and_quantize(folder: Path) -> None:
    """Takes the embeddings out of the traced network, and writes it a second time with weights of eight bits.

    Each row of a matrix product is rounded by itself, block by block (ONNX Runtime's MatMulNBits). Dynamic
    quantization, with one scale for a whole batch, would be faster, but a text's answer would depend on what else is
    in its batch.
    """
    onnx: Any = import_onnx_package("onnx")
    model = onnx.load(str(folder / network("fp32")))
    _take_embeddings(onnx, model, folder / EMBEDDINGS)
    onnx.save(model, str(folder / network("fp32")))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, replaced, added = [], set(), []
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != 2:
            nodes.append(node)
            continue
        matrix = onnx.numpy_helper.to_array(weight)
        quantized, scales = quantize(matrix)
        names = [f"{node.name}_q8", f"{node.name}_scales"]
        added += [onnx.numpy_helper.from_array(a, name) for a, name in zip((quantized, scales), names, strict=True)]
        replaced.add(weight.name)
        size = {"K": matrix.shape[0], "N": matrix.shape[1], "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        inputs = [node.input[0], *names]
        nodes.append(
            onnx.helper.make_node(
                "MatMulNBits", inputs, list(node.output), name=node.name, domain="com.microsoft", **size
            )
        )
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in replaced or tensor.name in used]
    for field, content in (("node", nodes), ("initializer", [*kept, *added])):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(content)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(folder / network("int8")))


def quantize(matrix: Any) -> tuple[Any, Any]:
    """A matrix of shape (k, n) as bytes around 128, shape (n, blocks, BLOCK), and the blocks' scales, (n, blocks)."""
    k, n = matrix.shape
    blocks = -(-k // BLOCK)
    padded = np.zeros((n, blocks * BLOCK), dtype=np.float32)
    padded[:, :k] = matrix.T
    cut = padded.reshape(n, blocks, BLOCK)
    scales = np.abs(cut).max(axis=2) / 127
    scales[scales == 0] = 1
    numbers = np.rint(cut / scales[:, :, None]) + 128
    return numbers.clip(0, 255).astype(np.uint8), scales.astype(np.float32)


def _take_embeddings(onnx: Any, model: Any, path: Path) -> None:
    """Puts the tokens' embeddings into a file of their own, and has the network take them in the place of a look-up.

    They are half of the weights and the same in all models of a base, which then share them in memory. A network that
    looks tokens up in another way keeps its table.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[0] in weights and node.input[1] == IDS and not node.attribute
    ]
    if len(nodes) != 1:
        return
    (node,) = nodes
    table = onnx.numpy_helper.to_array(weights[node.input[0]])
    np.save(path, table)
    shape = ["rows", "tokens", table.shape[1]]
    given = onnx.helper.make_tensor_value_info(EMBEDDED, onnx.TensorProto.FLOAT, shape)
    model.graph.node.remove(node)
    model.graph.initializer.remove(weights[node.input[0]])
    model.graph.input.append(given)
    for other in model.graph.node:
        for i, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[i] = EMBEDDED


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
