"""Torch runs the network: loading Hugging Face models, choosing a device, the forward pass."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ArtifactError, ConfigError
from .base import FloatArray


class TorchBackend:
    """A Hugging Face model on a device. See :class:`._encoder.Backend`.

    Args:
        model: A sequence-classification model.
        device: As torch calls it.
    """

    def __init__(self, model: Any, device: str) -> None:
        self.device = device
        self.model = model.to(device).eval()
        self.num_labels = int(model.config.num_labels)
        self.hidden_size = int(getattr(model.config, "hidden_size", 0))
        self.takes_types = "token_type_ids" in inspect.signature(model.forward).parameters

    def run(
        self,
        ids: npt.NDArray[np.int64],
        mask: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        layers: Sequence[int],
    ) -> tuple[FloatArray, FloatArray]:
        """Logits, and the rows' mean hidden states of the layers; see :meth:`._encoder.Backend.run`."""
        import torch

        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self.takes_types:
            inputs["token_type_ids"] = torch.from_numpy(types)
        with torch.inference_mode():
            inputs = {key: value.to(self.device) for key, value in inputs.items()}
            outputs = self.model(**inputs, output_hidden_states=bool(layers))
            logits: FloatArray = outputs.logits.double().cpu().numpy()
            if not layers:
                return logits, np.zeros((len(ids), 0))
            means = [mean_states(outputs.hidden_states[layer], inputs["attention_mask"]) for layer in layers]
            return logits, torch.cat(means, dim=1).double().cpu().numpy()

    def free(self) -> None:
        """Gives memory of the device back that torch holds for later passes."""
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        elif self.device.startswith("mps"):
            torch.mps.empty_cache()


def mean_states(states: Any, mask: Any) -> Any:
    """Each row's mean over its tokens, shape (n, d), of hidden states of shape (n, length, d)."""
    shares = mask.unsqueeze(1).float()
    return ((shares @ states.float()) / shares.sum(2, keepdim=True)).squeeze(1)


def pick_device(device: str) -> str:
    """``auto`` as the best device that torch finds; any other name as it is.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.
    """
    import torch

    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            problem = str(error).splitlines()[0]
            raise ConfigError(
                f"device {device!r} cannot be used ({problem}); 'auto' takes the best one, 'cpu' always works"
            ) from None
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar and no report of fresh head weights: that they are fresh is checked here instead."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # peft reads a property that transformers 5 deprecates; a caller can do nothing about it.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def load_pretrained(folder: Path) -> tuple[Any, Any]:
    """The finished classifier in a folder and its tokenizer; no code of the model's own is run, nothing unpickled.

    Raises:
        ArtifactError: no safetensors weights, an unknown architecture, no fast tokenizer, or no trained head.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder), use_safetensors=True, output_loading_info=True, dtype="float32", **safe
            )
    except Exception as error:  # transformers raises many kinds; each means that this folder holds no such model
        raise ArtifactError(f"cannot load a text classifier from {str(folder)!r}: {error}") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ArtifactError(
            f"the model in {str(folder)!r} holds no trained {missing}: its answers would be random; "
            "take one that was trained for text classification"
        )
    if not tokenizer.is_fast:
        raise ArtifactError(f"the model in {str(folder)!r} has no fast tokenizer (tokenizer.json)")
    if tokenizer.pad_token_id is None:  # decoders have none, and any will do: padding is masked
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
