"""Tasks as data: ``tasks/<task>.toml`` says which labels, which data and which settings make a model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..config import LoraSettings, Settings, TrainingSettings
from ..errors import ConfigError


class DataReference(BaseModel):
    """A labelled set and how its labels are to be read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    set: str = Field(
        description="Module in training/datasets/, a folder of the data source, or the path of a file or folder."
    )
    text_column: str = "text"
    label_column: str = "label"
    separator: str | None = Field(default=None, description="Between labels, where one field holds several.")
    rename: dict[str, str] = Field(default_factory=dict, description="Label in the data to label of the task.")
    only: dict[str, Any] = Field(default_factory=dict, description="Fields and values that a row must have.")
    hub: str | None = Field(
        default=None,
        description="Data set on the Hugging Face Hub, 'name' or 'name:configuration', when no source is given.",
    )
    licence: str | None = Field(default=None, description="Licence of the set, for the data card.")


class Balance(BaseModel):
    """How many rows of each label ``healdag prepare`` keeps; of a label with fewer, all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int = Field(ge=1, description="Rows of each label in train.")
    validation: int = Field(ge=1, description="Rows of each label in validation.")
    test: int = Field(ge=1, description="Rows of each label in test.")
    fill: tuple[DataReference, ...] = Field(
        default=(), description="Sets that fill up train, where the task's own have too few rows of a label."
    )


class AugmentationSettings(BaseModel):
    """New training rows made from those that are there; see ``training/augmentation/``. English tasks only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: tuple[str, ...] | None = Field(default=None, description="Names of methods; None: all that can be used.")
    target_per_label: int | None = Field(default=None, ge=1, description="Rows up to which a rare label is filled.")
    factor: float | None = Field(default=None, gt=0, description="New rows per row, in place of target_per_label.")
    seed: int = 13

    @model_validator(mode="after")
    def _has_one_plan(self) -> Self:
        if (self.target_per_label is None) == (self.factor is None):
            raise ValueError("augmentation needs target_per_label or factor, one of them")
        return self


class Task(BaseModel):
    """What a task file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    labels: tuple[str, ...] = Field(min_length=2)
    multi_label: bool = Field(default=False, description="Whether a text can have several labels, or none.")
    licence: str = Field(description="Licences of the training data, for the model card.")
    sarcasm: bool = Field(default=False, description="Whether sarcasm can change the answer.")
    train: tuple[DataReference, ...] = Field(min_length=1)
    validation: tuple[DataReference, ...] = Field(min_length=1)
    test: tuple[DataReference, ...] = ()
    auxiliary: DataReference | None = Field(default=None, description="Multi-label set for a second training signal.")
    ensemble: tuple[DataReference, ...] = Field(
        default=(), description="Sets whose validation rows fit the ensemble too, beside those in validation."
    )
    decision: Literal["argmax", "f1", "macro_f1"] = Field(
        default="argmax",
        description="'f1': the first of two labels is answered from the probability of best F1 on; 'macro_f1': "
        "thresholds per label for the best macro-F1 (multi-label: both mean each label's best F1).",
    )
    backups: dict[str, str] = Field(
        default_factory=dict,
        description="Models of the same labels that are kept as backups: name to task file. One named 'irony' says "
        "what is meant where a text is ironic, and is heard through the ensemble alone.",
    )
    certify: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the validation rows set aside for ``healdag certify``: nothing is chosen on them.",
    )
    golden: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the other validation rows on which ``healdag heal`` compares versions: nothing is fitted "
        "on them. 0: half of them, from the first heal on.",
    )
    start_from: str | None = Field(default=None, description="Task whose adapter the training starts from.")
    balance: Balance | None = Field(default=None, description="The balanced set that ``healdag prepare`` makes.")
    research_only: bool = Field(
        default=False, description="Whether the data's terms keep the model from being shipped."
    )
    augmentation: AugmentationSettings | None = Field(
        default=None, description="How the training rows are added to; None: not at all."
    )
    training: TrainingSettings = TrainingSettings()
    lora: LoraSettings = LoraSettings()


def apply_settings(task: Task, settings: Settings) -> Task:
    """The task with those ``lora`` and ``training`` values that the configuration file sets itself."""
    changes = {
        section: getattr(task, section).model_copy(
            update={
                name: getattr(getattr(settings, section), name) for name in getattr(settings, section).model_fields_set
            }
        )
        for section in ("lora", "training")
    }
    return task.model_copy(update=changes)


def tasks_folder() -> Path:
    """The shipped task files, in a wheel or in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "tasks"
    return inside if inside.is_dir() else package.parent / "tasks"


def load_task(task: str) -> Task:
    """Reads a task by name, or from the path of a TOML file.

    Raises:
        ConfigError: no such task, or a file that is not valid; the message says what is there or wrong.
    """
    path = Path(task) if task.endswith(".toml") else tasks_folder() / f"{task}.toml"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in tasks_folder().glob("*.toml")))
        raise ConfigError(f"no task {task!r}; there are: {there}; or give the path of a TOML file")
    try:
        return Task.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not a valid task: {error}") from None
