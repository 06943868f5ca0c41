"""How a model's logits become probabilities that mean something, as kept with it.

:func:`healdag.predictors.calibrate` applies it, ``healdag.training.evaluation.calibration`` fits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

Method: TypeAlias = Literal["temperature", "vector", "beta", "isotonic"]

_Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]

_PARAMETERS: Mapping[Method, tuple[str, ...]] = {
    "temperature": ("temperature", "bias"),
    "vector": ("scale", "bias"),
    "beta": ("beta",),
    "isotonic": ("knots",),
}
"""What each method is made of; the last one says for how many labels."""


class Calibration(BaseModel):
    """One of four maps from a model's logits to probabilities, fitted on rows that it was not trained on.

    With p the softmax of the logits, in a multi-label task each label's sigmoid:

    - ``temperature``: softmax(logits / temperature + bias). Guo et al. 2017, arXiv:1706.04599; with a bias per label
      Alexandari et al. 2020, arXiv:1901.06852.
    - ``vector``: softmax(scale * log p + bias). Guo et al. 2017, on log p as in Kull et al. 2019, arXiv:1910.12656, for
      logits are known up to a constant per row only. Multi-label: scale * logit + bias, which is Platt's scaling.
    - ``beta``: sigmoid(a ln p - b ln(1 - p) + c) of each label. Kull, Silva Filho & Flach 2017, PMLR 54.
    - ``isotonic``: each label's p through a rising line of straight pieces, level before the first corner and after
      the last. Zadrozny & Elkan 2002, KDD.

    The last two look at each label against the rest; a single-label row is divided by its sum afterwards. The default
    changes nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = "temperature"
    temperature: _Positive = Field(default=1.0, description="Above 1 makes answers less sure.")
    scale: tuple[_Positive, ...] = Field(default=(), description="Per label.")
    bias: tuple[_Finite, ...] = Field(default=(), description="Per label; empty: nothing is added.")
    beta: tuple[tuple[_NotNegative, _NotNegative, _Finite], ...] = Field(
        default=(), description="a, b and c per label; a and b of 0 or more keep the order of the rows."
    )
    knots: tuple[tuple[tuple[_Share, _Share], ...], ...] = Field(
        default=(), description="Per label the line's corners: p, rising, and what becomes of it, never falling."
    )

    @property
    def labels(self) -> int | None:
        """For how many labels it is; None: for any number."""
        return len(getattr(self, _PARAMETERS[self.method][-1])) or None

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        own = _PARAMETERS[self.method]
        others = [
            name
            for name, field in type(self).model_fields.items()
            if name not in ("method", *own) and getattr(self, name) != field.default
        ]
        if others:
            raise ValueError(f"method {self.method!r} has {' and '.join(own)}, not {', '.join(others)}")
        if self.method != "temperature" and self.labels is None:
            raise ValueError(f"method {self.method!r} needs {' and '.join(own)} for each label")
        if self.method == "vector" and len(self.scale) != len(self.bias):
            raise ValueError(f"{len(self.scale)} scales and {len(self.bias)} biases; one of each per label is needed")
        for line in self.knots:
            if not line or any(x1 <= x0 or y1 < y0 for (x0, y0), (x1, y1) in pairwise(line)):
                raise ValueError(f"knots {line} do not rise; p has to grow from one to the next, the other not to fall")
        return self

    @model_serializer(mode="wrap")
    def _own_parameters(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the other methods' parameters."""
        kept = ("method", *_PARAMETERS[self.method])
        return {name: value for name, value in handler(self).items() if name in kept}


UNCALIBRATED = Calibration()
"""Changes nothing."""
