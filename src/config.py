"""Settings: defaults, ``config.yaml`` over them, arguments over both; environment variables are read here alone.

Environment variables:
    HEALDAG_CONFIG: path of a ``config.yaml`` to use when none is given.
    HEALDAG_MODELS: folder with model artefacts, searched before the shipped ones.
    HEALDAG_BASE_DIR: folder that holds pretrained bases, as ``<folder>/<organisation>/<name>`` or one base itself.
    HEALDAG_CACHE: folder for what can be made anew, such as ONNX exports. Without it ``.cache`` in HEALDAG_MODELS, or
        ``healdag`` in the user's cache folder (XDG_CACHE_HOME, LOCALAPPDATA, or ``~/.cache``).
    OMP_NUM_THREADS: threads of one forward pass, which torch reads itself; for the ONNX engine too.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import ConfigError

Probability = Field(ge=0.0, le=1.0)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Section):
    """Which artefact answers, and how it is run."""

    task: str = Field(default="emotion", description="Task name: a folder under models/, or a path to an artefact.")
    version: str | None = Field(default=None, description="Version of the artefact; None means the current one.")
    fallback: bool = Field(
        default=True, description="Where the current version cannot be loaded: the last good one, then TF-IDF."
    )
    labels: tuple[str, ...] | None = Field(
        default=None, description="Answer with these labels of the task only, two at least; None means all."
    )
    label_prior: dict[str, float] | None = Field(
        default=None, description="Share of each label expected in your texts; None means as in the calibration data."
    )
    base_path: Path | None = Field(default=None, description="Local folder of the pretrained base; None: searched for.")
    device: str = Field(default="auto", description="'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.")
    engine: Literal["auto", "torch", "onnx", "onnx-fp32", "onnx-int8"] = Field(
        default="auto", description="What runs the network: see create_classifier."
    )
    tokens_per_batch: int = Field(default=4096, ge=64, description="Padded tokens in one forward pass.")
    window_overlap: int = Field(default=32, ge=0, description="Tokens that neighbouring windows of a long text share.")


class LoraSettings(_Section):
    """Shape of an adapter to be trained."""

    base: str = Field(default="sentence-transformers/all-MiniLM-L6-v2", description="Hub name or folder of the base.")
    r: int = Field(default=16, ge=1, description="Rank.")
    alpha: int = Field(default=32, ge=1, description="Scale: updates are multiplied by alpha / r.")
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Dropout on the adapter's input.")
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field(
        default="all-linear", description="Names of the layers that get an adapter, e.g. ['q_lin', 'v_lin']."
    )
    bias: Literal["none", "all", "lora_only"] = Field(default="none", description="Which biases are trained.")
    max_length: int = Field(default=128, ge=8, le=8192, description="Tokens the model reads at once.")


class TrainingSettings(_Section):
    """How a model is trained."""

    method: Literal["lora", "full", "tfidf", "tfidf_lr", "tfidf_svm"] = Field(
        default="lora",
        description="'lora': an adapter and a head; 'full': every weight of the base; 'tfidf': hashed words and "
        "characters with logistic regression; 'tfidf_lr', 'tfidf_svm': 10,000 word 1-3-grams with logistic "
        "regression or a linear SVM.",
    )
    epochs: float = Field(default=3.0, gt=0, description="Passes over the training data.")
    batch_size: int = Field(default=32, ge=1, description="Rows in one forward pass.")
    gradient_accumulation: int = Field(default=1, ge=1, description="Forward passes per optimiser step.")
    learning_rate: float = Field(default=7e-4, gt=0, description="Peak learning rate, after warm-up.")
    schedule: Literal["linear", "cosine", "cosine_with_restarts", "constant"] = Field(
        default="linear", description="How the learning rate goes on after warm-up."
    )
    restarts: int = Field(default=2, ge=1, description="Cycles of the schedule 'cosine_with_restarts'.")
    warmup_steps: float = Field(
        default=0.06, ge=0, description="Linear warm-up: below 1 a share of all steps, from 1 on a number of steps."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW weight decay.")
    loss: Literal["cross_entropy", "focal"] = Field(
        default="cross_entropy", description="'focal' gives rows that are right already less weight."
    )
    focal_gamma: float = Field(default=2.0, ge=0, description="Exponent of the focal loss; 0 is cross entropy.")
    class_weight_power: float = Field(
        default=0.5, ge=0, le=1, description="Loss weight of a class: (1 / its share) to this power; 0 turns it off."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the loss.")
    auxiliary_weight: float = Field(
        default=10.0, ge=0, description="Weight of the fine-label loss (GoEmotions' 28 labels); 0 turns it off."
    )
    average_decay: float = Field(
        default=0.995, ge=0, lt=1, description="Decay of the running average of weights that is kept; 0: last weights."
    )
    evaluations: int = Field(default=1, ge=1, description="Evaluations on the validation split per epoch.")
    patience: int = Field(
        default=0, ge=0, description="Stop after so many evaluations without a better macro-F1; 0 never stops early."
    )
    checkpoints: int = Field(default=4, ge=1, description="Checkpoints per epoch, to go on from after a stop.")
    save_total_limit: int = Field(default=2, ge=1, description="Checkpoints that are kept.")
    long_texts: Literal["truncate", "windows"] = Field(
        default="truncate",
        description="Texts beyond lora.max_length: cut, or trained on as overlapping windows, as they are served.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Number format of the forward pass; 'auto' takes what is faster on this machine."
    )
    seed: int = Field(default=13, description="Seed of everything random.")


class DatasetSettings(_Section):
    """Where labelled rows come from."""

    source: Path | None = Field(default=None, description="Folder with <set>/{train,validation,test}.jsonl.gz.")


class DagSettings(_Section):
    """What the graph does with an answer."""

    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Below it an answer is doubted; None: fitted."
    )
    sarcasm_threshold: float = Field(default=0.5, ge=0, le=1, description="From it on a text counts as sarcastic.")
    sarcasm_screen: bool = Field(
        default=True,
        description="Whether the detector is spared texts that the primary's own pass shows to be hardly sarcastic.",
    )
    enable_backup: bool = Field(default=True, description="Whether doubtful answers go to the backups.")
    backups: tuple[str | dict[str, Any], ...] | None = Field(
        default=None, description="Backups in order, by name or as {kind: ..., options}; None: those of the artefact."
    )
    cheap_first: bool = Field(
        default=False, description="Whether a cheap model answers the texts that it is sure of, and no other is asked."
    )
    backup_timeout: float = Field(
        default=60.0, gt=0, description="Seconds that a backup of your own may take for a batch; then it is skipped."
    )
    backup_failures: int = Field(
        default=3, ge=0, description="Failures in a row after which a backup of your own is left out; 0: it never is."
    )
    backup_pause: float = Field(
        default=60.0, gt=0, description="Seconds for which it is left out; then one call tries it."
    )
    max_error: Annotated[float, Field(gt=0, lt=1)] | dict[str, Annotated[float, Field(gt=0, lt=1)]] | None = Field(
        default=None,
        description="Largest share of wrong answers among those that are given, of all or by label; None: no budget.",
    )
    certainty: float = Field(default=0.95, gt=0, lt=1, description="Certainty of that budget.")
    label_set: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="How often the right label is in the set of labels that comes with an answer; None: no set.",
    )
    human_review: bool = Field(default=False, description="Whether still doubtful answers wait for a person.")
    checkpointer: str | None = Field(
        default=None,
        description="Where they wait: a file for SQLite or a postgresql:// URL; None: in memory.",
    )
    condenser: Path | None = Field(
        default=None, description="Folder of a summarizer that shortens texts beyond the model's window; None: none."
    )
    max_chars: int = Field(default=100_000, ge=1, description="Longest text that is read, in characters.")


class LogSettings(_Section):
    """The decision log."""

    path: Path | None = Field(
        default=None,
        description="A .jsonl file, or a .db, .sqlite or .sqlite3 database, for every decision; None: none.",
    )
    text: Literal["store", "hash", "omit"] = Field(
        default="hash", description="What the log keeps of a text: all of it, its SHA-256, or nothing."
    )


class FeedbackSettings(_Section):
    """Corrections: where they are kept, and how they are remembered."""

    path: str | None = Field(
        default=None,
        description="A file for SQLite or a postgresql:// URL that keeps corrections; None: they end with the process.",
    )
    text: Literal["store", "hash"] = Field(
        default="hash",
        description="What is kept of a corrected text: all of it, or its SHA-256. Healing needs the texts.",
    )
    near_twins: bool = Field(
        default=True, description="Whether corrections hold for texts that say nearly the same, too."
    )
    memory_size: int = Field(
        default=10_000, ge=1, description="Corrected texts that are remembered; beyond, the oldest are forgotten."
    )


class LoggingSettings(_Section):
    """The library's logger; nothing is configured unless asked for."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="WARNING", description="Level of 'healdag'.")


class Settings(_Section):
    """All settings. Every key is optional; unknown keys are errors."""

    model: ModelSettings = ModelSettings()
    lora: LoraSettings = LoraSettings()
    training: TrainingSettings = TrainingSettings()
    dataset: DatasetSettings = DatasetSettings()
    dag: DagSettings = DagSettings()
    log: LogSettings = LogSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    logging: LoggingSettings = LoggingSettings()


@dataclass(frozen=True)
class Environment:
    """What healdag reads from environment variables."""

    config: Path | None
    models: Path | None
    base_dir: Path | None

    @classmethod
    def read(cls) -> Environment:
        """Reads the variables now; nothing is cached."""

        def path(name: str) -> Path | None:
            value = os.environ.get(name)
            return Path(value).expanduser() if value else None

        return cls(path("HEALDAG_CONFIG"), path("HEALDAG_MODELS"), path("HEALDAG_BASE_DIR"))


def cache_folder() -> Path:
    """Where things are kept that can be made anew, such as ONNX exports."""
    if own := os.environ.get("HEALDAG_CACHE"):
        return Path(own).expanduser()
    if (models := Environment.read().models) is not None:
        return models / ".cache"
    users = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(users).expanduser() / "healdag"


def asked_threads() -> int | None:
    """Threads of one forward pass that OMP_NUM_THREADS asks for; None: as many as there are processors."""
    # OpenMP allows a list, one number per nested level; the first is what counts here.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def load_settings(config_path: str | Path | None = None, **overrides: dict[str, Any]) -> Settings:
    """Defaults, then the file, then ``overrides`` (one dict per section; None values are passed over).

    Args:
        config_path: A YAML file; None takes HEALDAG_CONFIG, or no file at all. Relative paths in it are relative
            to its folder.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is not allowed; the message names the key,
            its line, what was given and what is allowed.

    >>> load_settings(dag={"threshold": 0.8}).dag.threshold
    0.8
    """
    path = Path(config_path).expanduser() if config_path is not None else Environment.read().config
    content, lines = _read_yaml(path) if path is not None else ({}, {})
    for section, values in overrides.items():
        given = {key: value for key, value in values.items() if value is not None}
        current = content.get(section, {})
        if isinstance(current, dict):  # anything else is refused below
            content[section] = {**current, **given}
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_explain(error, path, lines)) from None


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    if not path.is_file():
        raise ConfigError(f"no configuration file at {str(path)!r}; give the path of a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not valid YAML: {error}") from None
    if content is None:
        return {}, {}
    if not isinstance(content, dict):
        raise ConfigError(f"{str(path)!r} must hold sections ({', '.join(Settings.model_fields)}), not {content!r}")
    lines: dict[tuple[str, ...], int] = {}
    _collect_lines(node, (), lines)
    # An empty section ("dag:") means its defaults.
    content = {key: {} if value is None else value for key, value in content.items()}
    _anchor_paths(content, path.resolve().parent)
    return content, lines


def _anchor_paths(content: dict[str, Any], folder: Path) -> None:
    """Relative paths in a file are relative to it; names, of tasks and of bases on the Hub, stay names."""
    places = (
        *(("model", "base_path"), ("model", "task"), ("dataset", "source")),
        *(("lora", "base"), ("dag", "condenser"), ("dag", "checkpointer"), ("log", "path")),
        ("feedback", "path"),
    )
    for section, key in places:
        values = content.get(section)
        value = values.get(key) if isinstance(values, dict) else None
        if isinstance(value, str) and (
            (key in {"base_path", "source", "condenser", "path", "checkpointer"} and not _is_url(value))
            or value.startswith((".", "~"))
        ):
            content[section][key] = str(folder / Path(value).expanduser())


def _is_url(place: str) -> bool:
    return "://" in place or place == ":memory:"


def _collect_lines(node: yaml.Node | None, prefix: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*prefix, str(key.value))
            lines[place] = key.start_mark.line + 1
            _collect_lines(value, place, lines)


def _explain(error: ValidationError, path: Path | None, lines: dict[tuple[str, ...], int]) -> str:
    problems = []
    for item in error.errors():
        place = tuple(str(part) for part in item["loc"])
        key = ".".join(place[:2])
        line = lines.get(place[:2])
        where = f" (line {line} of {path})" if line is not None else ""
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {key!r}{where}; {_allowed(place)}")
        else:
            problems.append(f"{key!r}{where}: {item['msg']}, got {item['input']!r}{_meaning(place)}")
    return "; ".join(dict.fromkeys(problems))


def _section_fields(place: tuple[str, ...]) -> dict[str, Any]:
    if len(place) > 1 and place[0] in Settings.model_fields:
        section = Settings.model_fields[place[0]].annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            return dict(section.model_fields)
    return dict(Settings.model_fields)


def _allowed(place: tuple[str, ...]) -> str:
    names = list(_section_fields(place))
    close = difflib.get_close_matches(place[-1], names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def _meaning(place: tuple[str, ...]) -> str:
    field = _section_fields(place).get(place[1] if len(place) > 1 else place[0])
    return f" ({field.description})" if field is not None and field.description else ""
