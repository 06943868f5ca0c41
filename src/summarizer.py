"""Summarizers: a seq2seq LoRA adapter that says a long text in fewer words, and what the graph asks of one.

``healdag train-summarizer`` trains them. They write text and give no probabilities, so they are no predictors.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tokenizers import Tokenizer

from .artifacts import WEIGHTS, SummarizerManifest, read_summarizer_manifest, resolve_base, verify_sha256
from .errors import ArtifactError, UsageError
from .predictors._encoder import pick_device, quiet_transformers
from .predictors.lora import ADAPTER

SPARE_TOKENS = 8  # a piece that is cut out of a text can take a few tokens more than it took in its place


@runtime_checkable
class Condenser(Protocol):
    """Anything that says texts in fewer words.

    Attributes:
        max_tokens: Most tokens of one summary.
    """

    max_tokens: int

    def condense(self, texts: Sequence[str]) -> list[str]:
        """One shorter text per text, in order. Raises only where the whole batch failed."""
        ...


class Summarizer:
    """Summaries from a seq2seq model. See :class:`Condenser`.

    A text that is longer than the model reads is cut between words into pieces, and the pieces' summaries are joined:
    no part of a text is left out unread.

    Args:
        model: A Hugging Face seq2seq model, with the adapter in it.
        tokenizer: Its fast tokenizer.
        manifest: Lengths, prefix and beams.
        batch_size: Pieces in one call of the model.
    """

    def __init__(
        self, model: Any, tokenizer: Any, manifest: SummarizerManifest, *, device: str = "auto", batch_size: int = 8
    ) -> None:
        self.version = f"{manifest.task}/{manifest.version}"
        self.max_tokens = manifest.max_target_length
        self._device = pick_device(device)
        self._model = model.to(self._device).eval()
        self._prefix = manifest.prefix
        self._batch_size = batch_size
        # A private copy whose settings never change, or threads that share it would fail with "Already borrowed".
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._room = manifest.max_source_length - len(self._tokenizer.encode(self._prefix).ids) - SPARE_TOKENS
        if self._room < 1:
            raise ArtifactError(
                f"max_source_length {manifest.max_source_length} leaves no room for a text beside the prefix "
                f"{self._prefix!r}; train again with a larger one"
            )
        self._generation = generation_config(model, manifest.max_target_length, manifest.beams)

    def condense(self, texts: Sequence[str]) -> list[str]:
        """One summary per text, in order; empty where the model writes nothing."""
        pieces = [(i, piece) for i, text in enumerate(texts) for piece in self.pieces(text)]
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch([self._prefix + p for _, p in pieces])]
        order = sorted(range(len(pieces)), key=lambda n: len(ids[n]))  # like lengths together: less padding
        said = [""] * len(pieces)
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            for n, summary in zip(batch, self._generate([ids[n] for n in batch]), strict=True):
                said[n] = summary
        joined: list[list[str]] = [[] for _ in texts]
        for (i, _), summary in zip(pieces, said, strict=True):
            joined[i].append(summary.strip())
        return [" ".join(part for part in parts if part) for parts in joined]

    def pieces(self, text: str) -> list[str]:
        """The text, or where it is longer than the model reads its pieces, cut at white space where there is some."""
        pieces: list[str] = []
        rest = text.strip()
        while rest:
            offsets = self._tokenizer.encode(rest, add_special_tokens=False).offsets
            if len(offsets) <= self._room:
                return [*pieces, rest]
            end = max(offsets[self._room - 1][1], 1)
            space = rest.rfind(" ", 1, end + 1)
            end = space if space > 0 else end
            pieces.append(rest[:end].strip())
            rest = rest[end:].strip()
        return pieces

    def _generate(self, rows: list[list[int]]) -> list[str]:
        import torch

        length = max(len(row) for row in rows)
        ids = torch.tensor([row + [self._pad_id] * (length - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=ids.to(self._device),
                attention_mask=mask.to(self._device),
                generation_config=self._generation,
            )
        return [str(text) for text in self._tokenizer.decode_batch(written.cpu().tolist(), skip_special_tokens=True)]


def load_summarizer(folder: str | Path, *, base_path: Path | None = None, device: str = "auto") -> Summarizer:
    """Loads the artefact that ``healdag train-summarizer`` left.

    Args:
        folder: Its folder.
        base_path: Local folder of the pretrained base; searched for by default.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ArtifactError: a file is missing or changed, or the adapter does not fit the base.
        BaseModelNotFoundError: the base is nowhere to be found.
    """
    path = Path(folder).expanduser()
    manifest = read_summarizer_manifest(path)
    base = resolve_base(manifest.base.name, base_path=base_path, revision=manifest.base.revision)
    verify_sha256(base / WEIGHTS, manifest.base.sha256)
    model, tokenizer = load_seq2seq(base)
    return Summarizer(_with_adapter(model, path), tokenizer, manifest, device=device)


def load_seq2seq(base: Path) -> tuple[Any, Any]:
    """The pretrained seq2seq model in a folder and its tokenizer; no code of the model's own is run.

    Raises:
        UsageError: the model is of another kind, or not whole.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(base), **safe)
            model, info = AutoModelForSeq2SeqLM.from_pretrained(
                str(base), use_safetensors=True, output_loading_info=True, dtype="float32", **safe
            )
    except Exception as error:  # transformers raises many kinds; each means that this folder holds no such model
        problem = str(error).strip().splitlines()[0]
        raise UsageError(
            f"{str(base)!r} holds no seq2seq model ({problem}); take one such as google-t5/t5-small or "
            "facebook/bart-base, with model.safetensors and tokenizer.json"
        ) from error
    if info["missing_keys"]:
        raise UsageError(f"the model in {str(base)!r} lacks {sorted(info['missing_keys'])}: download it again")
    if not tokenizer.is_fast:
        raise UsageError(f"the model in {str(base)!r} has no fast tokenizer (tokenizer.json)")
    return model, tokenizer


def generation_config(model: Any, max_target_length: int, beams: int) -> Any:
    """How summaries are searched for: at most so many tokens, no least length, nothing random."""
    config = copy.deepcopy(model.generation_config)
    config.max_length, config.max_new_tokens = None, max_target_length
    config.min_length, config.min_new_tokens = 0, None
    config.do_sample, config.num_beams, config.early_stopping = False, beams, beams > 1
    return config


def _with_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapter merged into its weights."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(str(folder / ADAPTER), framework="numpy") as weights:
        trained = set(weights.keys())
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # an error, below
            adapted = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(f"the adapter in {str(folder)!r} does not fit its base: {error}") from error
    missing = sorted(get_peft_model_state_dict(adapted, save_embedding_layers=False).keys() - trained)
    if missing:
        raise ArtifactError(f"the adapter in {str(folder)!r} lacks {missing}: restore the folder or train it again")
    return adapted.merge_and_unload()
