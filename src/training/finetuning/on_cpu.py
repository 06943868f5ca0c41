"""What makes training quicker on a CPU, at the same result: cheap dropout, attention in fp32, LoRA in few operations.

A profile of a step (LoRA rank 16 on all linear layers, 32 rows, bfloat16, two cores) showed a third in torch's
dropout, a third in the backward pass of attention, which has no fast bfloat16 form, and a fifth in casts and small
sums around the LoRA products.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

LENGTH = 1 << 23
"""Entries of the random sequence, 32 MB as 32-bit numbers; longer activations fall back on torch's dropout."""
ATTENTION = "healdag_fp32"
"""Name under which transformers finds :func:`fp32_attention`."""
_ATTENTION_DROPOUT = re.compile(r"attention(\.self)?\.(attn_)?dropout$")


def speed_up(model: Any, seed: int) -> None:
    """Makes the training of a model quicker on a CPU, until :func:`restore`."""
    cheapen_dropout(model, seed)
    if getattr(model.config, "_attn_implementation", None) == "sdpa":
        AttentionInterface.register(ATTENTION, fp32_attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)
    for module in model.modules():
        if isinstance(module, LoraLinear) and _is_plain(module):
            module.forward = QuickLora(module)


def restore(model: Any) -> None:
    """Gives the model its own attention and LoRA layers back."""
    if getattr(model.config, "_attn_implementation", None) == ATTENTION:
        model.set_attn_implementation("sdpa")
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), QuickLora):
            del module.forward


def fp32_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention in fp32, its result in the query's format."""
    with torch.autocast("cpu", enabled=False):
        if attention_mask is not None and attention_mask.is_floating_point():
            attention_mask = attention_mask.float()
        out, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **kwargs)
    return out.to(query.dtype), None


class QuickLora:
    """The forward pass of a LoRA layer whose base is frozen, and by hand the backward pass: a third of the operations.

    Args:
        layer: A PEFT layer with one adapter and nothing but LoRA in it; see :func:`_is_plain`.
    """

    def __init__(self, layer: Any) -> None:
        [name] = layer.active_adapters
        self._dropout = layer.lora_dropout[name]
        self._a, self._b, self._scaling = layer.lora_A[name], layer.lora_B[name], layer.scaling[name]
        self._base = layer.get_base_layer()
        self._frozen: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output, shape (..., out)."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if dtype not in self._frozen:
            bias = self._base.bias
            self._frozen[dtype] = (self._base.weight.to(dtype), bias.to(dtype) if bias is not None else None)
        weight, bias = self._frozen[dtype]
        x = x.to(dtype)
        mask = self._dropout.mask(x) if isinstance(self._dropout, PooledDropout) else None
        a, b = self._a.weight.to(dtype), self._b.weight.to(dtype)
        out: torch.Tensor = _LoraProduct.apply(x, weight, bias, a, b, self._scaling, mask)  # type: ignore[no-untyped-call]
        return out


class _LoraProduct(torch.autograd.Function):
    """x W^T + bias + scaling (x * mask) A^T B^T, with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        mask = mask.reshape(flat.shape) if mask is not None else None
        dropped = flat * mask if mask is not None else flat
        inner = dropped @ a.t()
        out = torch.addmm(bias, flat, weight.t()) if bias is not None else flat @ weight.t()
        out.addmm_(inner, b.t(), alpha=scaling)
        ctx.save_for_backward(dropped, weight, a, b, inner, mask)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dropped, weight, a, b, inner, mask = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        through = (grad @ b) * ctx.scaling
        grad_a, grad_b = through.t() @ dropped, (grad.t() @ inner) * ctx.scaling
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = through @ a
            if mask is not None:
                grad_x *= mask
            grad_x = grad_x.addmm_(grad, weight).view(ctx.shape)
        return grad_x, None, None, grad_a, grad_b, None, None


def _is_plain(layer: LoraLinear) -> bool:
    """Whether the layer is LoRA alone over a frozen linear layer."""
    if len(layer.active_adapters) != 1 or not isinstance(layer.get_base_layer(), torch.nn.Linear):
        return False
    [name] = layer.active_adapters
    frozen = not any(parameter.requires_grad for parameter in layer.get_base_layer().parameters())
    return frozen and name not in layer.lora_variant and not layer.lora_bias[name]


class Masks:
    """One long random sequence of dropout masks, in each number format that asks for it.

    Args:
        p: Probability of a 0; the other entries are 1 / (1 - p).
        generator: Where the random numbers come from.
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        kept = torch.empty(LENGTH if p else 1).bernoulli_(1 - p, generator=generator)
        self._formats = {torch.float32: kept / (1 - p)}

    def draw(self, like: torch.Tensor) -> torch.Tensor:
        """A run of the sequence from a random place, of the shape and format of ``like``."""
        n = like.numel()
        if like.dtype not in self._formats:
            self._formats[like.dtype] = self._formats[torch.float32].to(like.dtype)
        masks = self._formats[like.dtype]
        start = int(torch.randint(len(masks) - n, (1,)))
        return masks[start : start + n].view(like.shape)


class PooledDropout(torch.nn.Module):
    """Like ``torch.nn.Dropout``, with masks out of a shared random sequence: torch draws a number per activation.

    Args:
        p: Share of entries set to 0.
        masks: The sequence.
    """

    def __init__(self, p: float, masks: Masks) -> None:
        super().__init__()
        self.p = p
        self._masks = masks  # no buffer: it is no part of the model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Entries of ``x`` at random set to 0, the others scaled up; ``x`` itself outside training."""
        mask = self.mask(x)
        return x if mask is None else x * mask

    def mask(self, x: torch.Tensor) -> torch.Tensor | None:
        """What ``x`` is multiplied with, or None outside training."""
        if not self.training or self.p == 0:
            return None
        if x.numel() >= LENGTH:
            return torch.nn.functional.dropout(torch.ones_like(x), self.p)
        return self._masks.draw(x)


def cheapen_dropout(model: Any, seed: int) -> None:
    """Replaces the model's dropout layers; drops that on attention weights, which keeps attention off its fast path."""
    generator = torch.Generator().manual_seed(seed)
    pools: dict[float, Masks] = {}
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)]
    for name, layer in layers:
        parent, _, child = name.rpartition(".")
        p = 0.0 if _ATTENTION_DROPOUT.search(name) else layer.p
        if p not in pools:
            pools[p] = Masks(p, generator)
        setattr(model.get_submodule(parent), child, PooledDropout(p, pools[p]))
