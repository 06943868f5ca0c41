"""Which version is in use: checked, moved in one step, on record, and taken over by classifiers that run."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from healdag import create_classifier
from healdag.artifacts import (
    Change,
    champions,
    covered_files,
    current_version,
    find_artifact,
    make_current,
    promote,
    read_history,
    read_manifest,
    rollback,
    root_of,
)
from healdag.artifacts.pointer import locked
from healdag.cli import app
from healdag.errors import ArtifactError, LockedError, UsageError
from healdag.training.artifact_writer import set_current

Make = Callable[..., Path]
WARM, COLD = {"red": "warm", "blue": "cold"}, {"red": "cold", "blue": "warm"}
BOTH = {"mood/1.0.0": "warm", "mood/1.1.0": "cold"}
"""What each of the two versions answers to 'red'."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_artifact: Make) -> Path:
    """A folder of models with three versions of a task whose files are not loaded; the first is in use."""
    root = tmp_path / "models"
    for version in ("1.0.0", "1.1.0", "1.10.0"):
        folder = root / "mood" / version
        folder.mkdir(parents=True)
        (folder / "weights").write_text(f"of {version}", encoding="utf-8")
        make_artifact(folder, "tfidf", ("warm", "cold"))
    (root / "mood" / "current").write_text("1.0.0\n", encoding="utf-8")
    monkeypatch.setenv("HEALDAG_MODELS", str(root))
    monkeypatch.delenv("HEALDAG_CONFIG", raising=False)
    return root


@pytest.fixture
def loadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tfidf: Make) -> Path:
    """A folder of models with two versions that can be loaded; the first is in use."""
    root = tmp_path / "models"
    make_tfidf(root / "mood" / "1.0.0", WARM)
    make_tfidf(root / "mood" / "1.1.0", COLD)
    (root / "mood" / "current").write_text("1.0.0\n", encoding="utf-8")
    monkeypatch.setenv("HEALDAG_MODELS", str(root))
    monkeypatch.delenv("HEALDAG_CONFIG", raising=False)
    return root


def in_use(models: Path) -> str | None:
    return current_version(models / "mood")


def register(models: Path) -> dict[str, str]:
    content: dict[str, str] = json.loads((models / "MODEL_VERSION.json").read_text(encoding="utf-8"))
    return content


def steps(models: Path) -> list[tuple[str, str | None, str]]:
    return [(change.action, change.old, change.new) for change in read_history(models / "mood")]


def leftovers(models: Path) -> list[str]:
    return [path.name for path in (*models.glob(".*"), *models.glob("mood/.*"))]


# Promotion and rollback


def test_promote_and_roll_back(models: Path) -> None:
    change = promote(models, "mood", "1.1.0", by="ann", why="better on irony")
    assert change is not None
    assert (change.action, change.old, change.new, change.by) == ("promote", "1.0.0", "1.1.0", "ann")
    assert (in_use(models), register(models)) == ("1.1.0", {"mood": "1.1.0"})
    assert promote(models, "mood", "1.1.0") is None
    promote(models, "mood", "1.10.0")
    assert rollback(models, "mood", why="worse").new == "1.1.0"
    assert rollback(models, "mood").new == "1.0.0"  # further back, not forth again
    with pytest.raises(UsageError, match=r"no version of 'mood' was in use before 1\.0\.0"):
        rollback(models, "mood")
    assert (in_use(models), register(models)) == ("1.0.0", {"mood": "1.0.0"})
    assert steps(models) == [
        ("promote", "1.0.0", "1.1.0"),
        ("promote", "1.1.0", "1.10.0"),
        ("rollback", "1.10.0", "1.1.0"),
        ("rollback", "1.1.0", "1.0.0"),
    ]
    assert [change.why for change in read_history(models / "mood")] == ["better on irony", "", "worse", ""]
    assert leftovers(models) == []


def test_the_history_is_only_added_to(models: Path) -> None:
    path = models / "mood" / "history.jsonl"
    promote(models, "mood", "1.1.0", by="ann")
    first = path.read_bytes()
    with path.open("ab") as stream:
        stream.write(b'{"time": "2026-01-0')  # cut short
    rollback(models, "mood", by="bob")
    assert path.read_bytes().startswith(first)
    assert [(change.by, change.new) for change in read_history(models / "mood")] == [("ann", "1.1.0"), ("bob", "1.0.0")]
    assert set(json.loads(first)) == {"time", "action", "from", "to", "by", "why"}


def test_an_older_version_replaces_a_newer_one_on_purpose_only(models: Path) -> None:
    promote(models, "mood", "1.10.0")
    with pytest.raises(UsageError, match=r"mood 1\.1\.0 is older than 1\.10\.0, which is in use; .*--allow-older"):
        promote(models, "mood", "1.1.0")
    assert in_use(models) == "1.10.0"
    promote(models, "mood", "1.1.0", allow_older=True)
    assert in_use(models) == "1.1.0"


def test_versions_that_cannot_be_compared_need_the_same_flag(models: Path, make_artifact: Make) -> None:
    make_artifact(models / "mood" / "tuesday", "tfidf", ("warm", "cold"))
    with pytest.raises(UsageError, match="cannot be compared"):
        promote(models, "mood", "tuesday")
    promote(models, "mood", "tuesday", allow_older=True)
    assert in_use(models) == "tuesday"


@pytest.mark.parametrize(
    ("labels", "fields", "said"),
    [
        (("warm", "cool"), {}, r"without \['cold'\], with \['cool'\] besides"),
        (("warm", "cold"), {"multi_label": True}, "with several labels per text"),
    ],
)
def test_other_labels_need_force(models: Path, make_artifact: Make, labels: Any, fields: Any, said: str) -> None:
    make_artifact(models / "mood" / "2.0.0", "tfidf", labels, **fields)
    with pytest.raises(UsageError, match=said):
        promote(models, "mood", "2.0.0")
    assert in_use(models) == "1.0.0"
    promote(models, "mood", "2.0.0", force=True)
    assert in_use(models) == "2.0.0"
    assert rollback(models, "mood").new == "1.0.0"  # what was in use needs no force


def test_labels_in_another_order_are_the_same(models: Path, make_artifact: Make) -> None:
    make_artifact(models / "mood" / "1.11.0", "tfidf", ("cold", "warm"))
    promote(models, "mood", "1.11.0")
    assert in_use(models) == "1.11.0"


def test_a_damaged_version_is_not_put_into_use(models: Path, make_artifact: Make) -> None:
    place = models / "mood"
    (place / "1.1.0" / "weights").write_text("other", encoding="utf-8")
    with pytest.raises(ArtifactError, match="is not the file that was trained"):
        promote(models, "mood", "1.1.0")
    backup = place / "1.10.0" / "backups" / "tfidf"
    make_artifact(backup, "tfidf", ("warm", "cold"), files={"model.skops": "0" * 64})
    with pytest.raises(ArtifactError, match=r"model\.skops' is missing"):
        promote(models, "mood", "1.10.0")
    make_artifact(place / "1.2.0", "tfidf", ("warm", "cold"), version="1.1.0")
    with pytest.raises(ArtifactError, match=r"holds version '1\.1\.0'"):
        promote(models, "mood", "1.2.0")
    assert (in_use(models), read_history(place)) == ("1.0.0", [])


@pytest.mark.parametrize("version", ["9.9.9", "../mood/1.1.0", ".", ""])
def test_a_version_that_is_not_there(models: Path, version: str) -> None:
    with pytest.raises(UsageError, match=r"there are: 1\.0\.0, 1\.1\.0, 1\.10\.0"):
        promote(models, "mood", version)


def test_a_task_that_is_not_there(models: Path) -> None:
    for call in (lambda: promote(models, "moods", "1.0.0"), lambda: rollback(models, "../models/mood")):
        with pytest.raises(UsageError, match="no task"):
            call()


def test_a_champion_that_cannot_be_read_is_replaced_with_force(models: Path) -> None:
    (models / "mood" / "1.0.0" / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"labels of 1\.0\.0, which is in use, cannot be read"):
        promote(models, "mood", "1.1.0")
    promote(models, "mood", "1.1.0", force=True)
    with pytest.raises(ArtifactError):
        rollback(models, "mood")
    assert in_use(models) == "1.1.0"


def test_a_pointer_to_nothing_protects_nothing(models: Path) -> None:
    (models / "mood" / "current").write_text("3.0.0\n", encoding="utf-8")
    promote(models, "mood", "1.1.0")
    assert in_use(models) == "1.1.0"


def test_roll_back_to_a_version_of_before(models: Path) -> None:
    for version in ("1.1.0", "1.10.0"):
        promote(models, "mood", version)
    with pytest.raises(UsageError, match=r"'0\.9\.0' was not in use before; still there.*: 1\.1\.0, 1\.0\.0"):
        rollback(models, "mood", to="0.9.0")
    with pytest.raises(UsageError, match="in use already"):
        rollback(models, "mood", to="1.10.0")
    assert rollback(models, "mood", to="1.0.0").old == "1.10.0"
    assert in_use(models) == "1.0.0"


def test_roll_back_to_a_version_that_was_deleted(models: Path) -> None:
    for version in ("1.1.0", "1.10.0"):
        promote(models, "mood", version)
    (models / "mood" / "1.1.0" / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"mood 1\.1\.0, .* is not there any more; still there.*: 1\.0\.0"):
        rollback(models, "mood")
    assert rollback(models, "mood", to="1.0.0").new == "1.0.0"


def test_a_pointer_that_was_written_by_hand_is_remembered(models: Path) -> None:
    promote(models, "mood", "1.1.0")
    (models / "mood" / "current").write_text("1.10.0\n", encoding="utf-8")
    assert champions(read_history(models / "mood"), in_use(models)) == ["1.0.0", "1.1.0", "1.10.0"]
    assert rollback(models, "mood").new == "1.1.0"
    assert rollback(models, "mood").new == "1.0.0"


def certify(folder: Path, *errors: float, **fields: Any) -> None:
    """A certificate that covers the files that are there."""
    budgets = [
        {"max_error": error, "certainty": 0.95, "threshold": 0.5, "accepted": 9, "errors": 0, "bound": error}
        | {"coverage": 0.5}
        for error in errors
    ]
    content = {"task": "mood", "version": folder.name, "date": "2026-01-02", "method": "exact", "n": 40, "data": "own"}
    content |= {"data_sha256": "0", "covers": covered_files(folder, None), "budgets": budgets, **fields}
    (folder / "certificate.json").write_text(json.dumps(content), encoding="utf-8")


def test_promises_that_are_lost_are_said(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = models / "mood"
    scores = {"warm": [0.1], "cold": [0.2]}
    certify(place / "1.0.0", 0.05, 0.1, scores=scores)
    promote(models, "mood", "1.1.0", dry_run=True)
    assert caplog.messages[0].startswith(
        "mood 1.1.0 has no certificate for what 1.0.0 promises: max_error=0.05, max_error=0.1, label_set. "
    )
    assert "healdag certify mood@1.1.0 --data FILE" in caplog.messages[0]
    assert promote(models, "mood", "1.1.0") is not None  # it is said, and done
    caplog.clear()
    promote(models, "mood", "1.10.0")  # 1.1.0 had none to lose
    assert caplog.messages == []
    certify(place / "1.10.0", 0.04, scores=scores)
    rollback(models, "mood", to="1.0.0")
    assert ["1.10.0 promises: max_error=0.04. " in message for message in caplog.messages] == [True]
    caplog.clear()
    promote(models, "mood", "1.10.0")  # what keeps 0.04 keeps 0.05 and 0.1
    assert caplog.messages == []


def test_a_certificate_that_has_lapsed_promises_nothing(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    certify(models / "mood" / "1.0.0", 0.05, covers={"manifest.json": "0"})
    promote(models, "mood", "1.1.0")
    assert caplog.messages == []
    certify(models / "mood" / "1.1.0", 0.05)
    certify(models / "mood" / "1.10.0", 0.05, covers={"manifest.json": "0"})
    promote(models, "mood", "1.10.0")
    assert ["max_error=0.05" in message for message in caplog.messages] == [True]


def test_a_dry_run_writes_nothing(models: Path) -> None:
    before = sorted(models.rglob("*"))
    planned = promote(models, "mood", "1.1.0", dry_run=True)
    assert planned is not None
    assert planned.new == "1.1.0"
    assert (sorted(models.rglob("*")), in_use(models)) == (before, "1.0.0")
    promote(models, "mood", "1.10.0")
    with pytest.raises(UsageError, match="older"):
        promote(models, "mood", "1.1.0", dry_run=True)
    assert rollback(models, "mood", dry_run=True).new == "1.0.0"
    assert in_use(models) == "1.10.0"


def test_a_trial_that_fails_keeps_the_pointer(models: Path) -> None:
    asked: list[str] = []

    def trial(folder: Path) -> None:
        asked.append(folder.name)
        raise ArtifactError("cannot be loaded")

    with pytest.raises(ArtifactError, match="cannot be loaded"):
        promote(models, "mood", "1.1.0", trial=trial)
    assert (asked, in_use(models)) == (["1.1.0"], "1.0.0")


def test_the_champion_is_looked_at_again_after_the_trial(models: Path) -> None:
    def trial(_folder: Path) -> None:
        promote(models, "mood", "1.10.0")

    with pytest.raises(UsageError, match=r"older than 1\.10\.0"):
        promote(models, "mood", "1.1.0", trial=trial)
    with pytest.raises(UsageError, match="meanwhile"):
        rollback(models, "mood", trial=lambda _folder: rollback(models, "mood"))
    assert in_use(models) == "1.0.0"


# What a training does


def test_a_training_goes_the_same_way(models: Path) -> None:
    assert set_current(models, "mood", "1.1.0")
    assert set_current(models, "mood", "1.1.0")  # made once more in its place
    assert steps(models) == [("made", "1.0.0", "1.1.0")]
    assert register(models) == {"mood": "1.1.0"}
    assert rollback(models, "mood").new == "1.0.0"


def test_a_training_that_ends_late_does_not_replace_a_newer_version(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert make_current(models, "mood", "1.10.0")
    with caplog.at_level(logging.WARNING, logger="healdag"):
        assert not set_current(models, "mood", "1.1.0")
    assert "healdag models promote mood 1.1.0 --allow-older" in caplog.text
    assert (in_use(models), register(models)) == ("1.10.0", {"mood": "1.10.0"})


def test_the_register_has_all_tasks_and_no_others(models: Path, make_artifact: Make) -> None:
    (models / "MODEL_VERSION.json").write_text('{"gone": "1.0.0"', encoding="utf-8")
    make_artifact(models / "tone" / "3.0.0", "tfidf", ("a", "b"))
    make_current(models, "tone", "3.0.0")
    assert register(models) == {"mood": "1.0.0", "tone": "3.0.0"}


# Two at once


def test_the_message_says_who_holds_the_lock(models: Path) -> None:
    with locked(models, "promotes tone 2.0.0"), pytest.raises(LockedError, match=r"process \d+ on .*: promotes tone"):
        promote(models, "mood", "1.1.0", timeout=0.05)
    promote(models, "mood", "1.1.0")
    assert leftovers(models) == []


def test_promotions_at_once_do_not_interleave(models: Path) -> None:
    start = threading.Barrier(4)
    unexpected: list[BaseException] = []

    def go(version: str) -> None:
        start.wait()
        for _ in range(5):
            try:
                promote(models, "mood", version, timeout=60)
            except UsageError:  # the other was faster, and is newer
                pass
            except BaseException as error:
                unexpected.append(error)

    threads = [threading.Thread(target=go, args=(version,)) for version in ("1.1.0", "1.10.0") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unexpected == []
    assert (in_use(models), register(models)) == ("1.10.0", {"mood": "1.10.0"})
    chain = steps(models)
    assert chain in (
        [("promote", "1.0.0", "1.10.0")],
        [("promote", "1.0.0", "1.1.0"), ("promote", "1.1.0", "1.10.0")],
    )
    assert leftovers(models) == []


# Killed at every step

KILLED = """
import json, os, signal, sys
from pathlib import Path
from healdag.artifacts import champions, current_version, make_current, promote, read_history, rollback
from healdag.artifacts.pointer import locked

models, what = Path(sys.argv[1]), sys.argv[2]
place = models / "mood"
ACTIONS = {
    "promote": lambda: promote(models, "mood", "1.1.0"),
    "rollback": lambda: rollback(models, "mood"),
    "made": lambda: make_current(models, "mood", "1.1.0"),
}
BACK = rollback if what != "rollback" else (lambda models, task: promote(models, task, "1.1.0"))
START = current_version(place)
real = {name: getattr(os, name) for name in ("write", "fsync", "replace", "rename", "unlink")}


def deadly(n):
    passed = 0

    def point():
        nonlocal passed
        passed += 1
        if passed == n:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(name):
        def step(*arguments, **options):
            point()
            if name == "write":
                if passed + 1 == n:
                    real["write"](arguments[0], arguments[1][: len(arguments[1]) // 2])
                point()
            result = real[name](*arguments, **options)
            point()
            return result

        return step

    for name in real:
        setattr(os, name, wrap(name))


def state():
    history = read_history(place)
    return {
        "current": (place / "current").read_text(),
        "register": json.loads((models / "MODEL_VERSION.json").read_text())["mood"],
        "moving": json.loads((place / ".moving").read_text()) if (place / ".moving").exists() else None,
        "last": history[-1].new if history else None,
        "stack": champions(history, current_version(place)),
        "left": sorted(path.name for path in (*models.glob(".*"), *place.glob(".*"))),
    }


n = 0
while True:
    n += 1
    child = os.fork()
    if child == 0:
        deadly(n)
        ACTIONS[what]()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, status
    found = state()
    with locked(models, "looks"):
        pass
    print(json.dumps({"killed": killed, "found": found, "mended": state()}), flush=True)
    if current_version(place) != START:
        BACK(models, "mood")
    if not killed:
        break
"""


@contextmanager
def reading(models: Path) -> Iterator[list[str]]:
    """A reader in a loop; afterwards the list has the versions that it found, each of them whole."""
    found: list[str] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                found.append(read_manifest(find_artifact("mood")).version)
                assert register(models)["mood"] in BOTH_VERSIONS
                assert all(change.new in BOTH_VERSIONS for change in read_history(models / "mood"))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
    assert failed == []


BOTH_VERSIONS = {"1.0.0", "1.1.0"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("action", ["promote", "rollback", "made"])
def test_killed_at_every_step(models: Path, action: str) -> None:
    start, goal = ("1.1.0", "1.0.0") if action == "rollback" else ("1.0.0", "1.1.0")
    promote(models, "mood", "1.1.0")
    if action != "rollback":
        rollback(models, "mood")
    with reading(models) as versions:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(models), action], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert set(versions) <= BOTH_VERSIONS
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) > 30
    assert [run["killed"] for run in runs] == [True] * (len(runs) - 1) + [False]
    stacks = {"1.0.0": ["1.0.0"], "1.1.0": ["1.0.0", "1.1.0"]}
    for run in runs:
        found, mended = run["found"], run["mended"]
        version = found["current"].strip()
        assert found["current"] in ("1.0.0\n", "1.1.0\n")
        # Where the two differ, .moving says that current counts.
        assert found["register"] == version or found["moving"]["to"] == version
        assert found["last"] == version
        assert found["stack"] == stacks[version]
        assert (mended["current"], mended["register"], mended["last"]) == (version + "\n", version, version)
        assert (mended["moving"], mended["stack"]) == (None, stacks[version])
        assert [name for name in mended["left"] if not name.endswith(".new")] == []
    ways = [run["found"]["current"].strip() for run in runs]
    assert ways == sorted(ways, key=[start, goal].index)  # before one step the old version, after it the new one
    assert set(ways) == BOTH_VERSIONS
    assert leftovers(models) == []  # what was half written was written over


def test_a_full_disk_changes_nothing(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(OSError, match="No space left"):
            promote(models, "mood", "1.1.0")
    assert (in_use(models), read_history(models / "mood"), leftovers(models)) == ("1.0.0", [], [])


# Classifiers that run


@pytest.mark.parametrize("step", ["may_fall_back", "settle", "read_policy"])
def test_a_swap_while_a_graph_is_built_mixes_no_versions(
    step: str, loadable: Path, make_tfidf: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from healdag.graph import factory

    for version in ("1.0.0", "1.1.0"):
        path = loadable / "mood" / version / "manifest.json"
        path.write_text(path.read_text(encoding="utf-8").replace('"kind"', '"sarcasm": true, "kind"'), encoding="utf-8")
        make_tfidf(loadable / "sarcasm" / version, {"oh great": "sarcastic", "fine": "not_sarcastic"}, task="sarcasm")
    make_current(loadable, "sarcasm", "1.0.0")
    genuine = getattr(factory, step)

    def swapping(*arguments: Any) -> Any:
        found = genuine(*arguments)
        for task in ("mood", "sarcasm"):
            promote(loadable, task, "1.1.0")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(factory, step, swapping)
        classifier = create_classifier("mood")
    detector = classifier.nodes.sarcasm.detector
    assert (classifier.model_version, classifier.nodes.classify.primary.version) == ("mood/1.0.0", "mood/1.0.0")
    assert detector is not None
    # Of both what was in use when it was looked up, once.
    assert detector.version == ("sarcasm/1.1.0" if step == "may_fall_back" else "sarcasm/1.0.0")
    assert classifier.reload_if_changed()
    assert classifier.model_version == "mood/1.1.0"


def test_running_classifiers_take_it_over_without_dropping_a_call(loadable: Path) -> None:
    classifier = create_classifier("mood")
    single = create_classifier("mood", batching=False)
    results: list[tuple[str, Any]] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def ask(call: Callable[[], list[Any]]) -> None:
        try:
            while not done.is_set():
                results.extend((result.model_version, result.final_label) for result in call())
        except BaseException as error:
            failed.append(error)

    calls: list[Callable[[], list[Any]]] = [
        lambda: [classifier.classify("red")],
        lambda: classifier.classify_many(["red", "red"]),
        lambda: [single.classify("red")],
        lambda: [single.classify("red")] if single.reload_if_changed() in (True, False) else [],
    ]
    threads = [threading.Thread(target=ask, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    taken = []
    for step in range(8):
        if step % 2 == 0:
            promote(loadable, "mood", "1.1.0")
        else:
            rollback(loadable, "mood")
        classifier.reload()
        taken.append(classifier.classify("red").model_version)
        seen, patience = len(results), time.monotonic() + 60
        while taken[-1] not in dict(results[seen:]) and not failed and time.monotonic() < patience:
            time.sleep(0.01)  # the threads go on asking
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert taken == ["mood/1.1.0", "mood/1.0.0"] * 4
    assert len(results) > 20
    assert all(BOTH[version] == label for version, label in results)
    assert {version for version, _ in results} == set(BOTH)


def test_reload_if_changed(loadable: Path) -> None:
    classifier = create_classifier("mood")
    assert not classifier.reload_if_changed()
    promote(loadable, "mood", "1.1.0")
    assert classifier.classify("red").final_label == "warm"
    assert classifier.reload_if_changed()
    assert classifier.classify("red").final_label == "cold"
    assert not classifier.reload_if_changed()
    set_current(loadable, "mood", "1.1.0")  # trained once more in its place
    assert classifier.reload_if_changed()


def test_what_changes_while_the_models_are_read_is_seen(loadable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from healdag.graph import factory

    load = factory.load_predictor

    def slow(kind: str, spec: Any) -> Any:
        made = load(kind, spec)
        if in_use(loadable) == "1.0.0":
            promote(loadable, "mood", "1.1.0")
        return made

    monkeypatch.setattr(factory, "load_predictor", slow)
    classifier = create_classifier("mood")
    assert classifier.model_version == "mood/1.0.0"
    assert classifier.reload_if_changed()
    assert classifier.model_version == "mood/1.1.0"


def test_the_detectors_pointer_is_looked_at_too(loadable: Path, make_tfidf: Make) -> None:
    from healdag.predictors.fake import FakePredictor

    detector = FakePredictor(("sarcastic", "not_sarcastic"), default="not_sarcastic")
    alone, both = create_classifier("mood"), create_classifier("mood", sarcasm=detector)
    given = create_classifier(primary=FakePredictor(("a", "b"), default="a"), sarcasm=detector)
    make_tfidf(loadable / "sarcasm" / "9.0.0", {"oh great": "sarcastic", "fine": "not_sarcastic"}, task="sarcasm")
    make_current(loadable, "sarcasm", "9.0.0")
    assert [classifier.reload_if_changed() for classifier in (alone, both, given)] == [False, True, True]


def test_a_version_that_does_not_load_is_said_once(loadable: Path) -> None:
    classifier = create_classifier("mood")
    promote(loadable, "mood", "1.1.0")
    (loadable / "mood" / "1.1.0" / "model.skops").write_bytes(b"broken")
    with pytest.raises(ArtifactError):
        classifier.reload_if_changed()
    assert not classifier.reload_if_changed()
    assert classifier.classify("red").final_label == "warm"
    rollback(loadable, "mood")
    assert classifier.reload_if_changed()


def test_while_another_thread_reloads_it_returns_at_once(loadable: Path) -> None:
    classifier = create_classifier("mood")
    promote(loadable, "mood", "1.1.0")
    with classifier._reloading:
        assert not classifier.reload_if_changed()
    assert classifier.reload_if_changed()


# Where a task is


def test_the_folder_whose_pointer_decides(models: Path, make_artifact: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    other = models.parent / "other"
    make_artifact(other / "mood" / "2.0.0", "tfidf", ("warm", "cold"))
    make_artifact(other / "tone" / "1.0.0", "tfidf", ("warm", "cold"))
    make_current(other, "mood", "2.0.0")
    monkeypatch.setattr("healdag.artifacts.places.models_roots", lambda: [models, other])
    assert root_of("mood") == root_of("mood", "1.1.0") == models
    with pytest.raises(UsageError, match="decides which is used"):
        root_of("mood", "2.0.0")
    assert root_of("tone", "1.0.0") == other
    with pytest.raises(UsageError, match="no model for task 'tone'"):
        root_of("tone")
    with pytest.raises(UsageError, match="no version"):
        root_of("mood", "7.0.0")


# Command line


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "120"})
    assert result.exit_code == code, result.output
    return result


def test_cli_promote_and_rollback(loadable: Path) -> None:
    assert run("promote", "mood", "1.1.0", "--dry-run").stdout == "would change mood: 1.0.0 -> 1.1.0\n"
    assert in_use(loadable) == "1.0.0"
    said = json.loads(run("promote", "mood", "1.1.0", "--why", "better", "--by", "ann", "--json").stdout)
    assert (said["task"], said["changed"], said["dry_run"], said["action"]) == ("mood", True, False, "promote")
    assert (said["from"], said["to"], said["by"], said["why"]) == ("1.0.0", "1.1.0", "ann", "better")
    assert run("promote", "mood", "1.1.0", "--no-load").stdout == "mood 1.1.0 is in use already\n"
    assert "is older than 1.1.0" in run("promote", "mood", "1.0.0", "--no-load", code=2).stderr
    assert run("rollback", "mood", "--why", "worse").stdout == "mood: 1.1.0 -> 1.0.0\n"
    assert "was in use before" in run("rollback", "mood", code=2).stderr
    assert run("promote", "mood", "1.1.0", "--models", str(loadable), "--no-load").stdout == "mood: 1.0.0 -> 1.1.0\n"
    assert [change.why for change in read_history(loadable / "mood")] == ["better", "worse", ""]


def test_cli_promote_loads_the_model_first(loadable: Path, make_artifact: Make) -> None:
    folder = loadable / "mood" / "1.1.0"
    (folder / "model.skops").write_bytes((loadable / "mood" / "1.0.0" / "model.skops").read_bytes())
    make_artifact(folder, "tfidf", ("warm", "cool"))  # every file is the one that the manifest names
    assert "the pipeline knows" in run("promote", "mood", "1.1.0", "--force", code=1).stderr
    assert in_use(loadable) == "1.0.0"


def test_cli_says_who_holds_the_lock(models: Path) -> None:
    with locked(models, "promotes tone 2.0.0"):
        said = run("promote", "mood", "1.1.0", "--no-load", "--wait", "0", code=1).stderr
    assert "promotes tone 2.0.0" in said


def test_cli_show(models: Path) -> None:
    folder = models / "mood" / "1.1.0"
    figures = {"n": 40, "accuracy": 0.75, "macro_f1": 0.7, "per_class": {}}
    (folder / "metrics.json").write_text(json.dumps({"test": figures}), encoding="utf-8")
    info = {"command": "healdag train mood", "rows": 300, "seconds": 7, "packages": {"scikit-learn": "1.9"}}
    (folder / "training_info.json").write_text(json.dumps(info), encoding="utf-8")
    budgets = [
        {"max_error": 0.1, "certainty": 0.95, "label": None, "threshold": 0.8}
        | {"accepted": 20, "errors": 0, "bound": 0.1, "coverage": 0.5}
    ]
    certificate = {"task": "mood", "version": "1.1.0", "date": "2026-01-02", "method": "exact", "n": 40, "data": "own"}
    (folder / "certificate.json").write_text(
        json.dumps({**certificate, "data_sha256": "0", "covers": {"manifest.json": "0"}, "budgets": budgets}),
        encoding="utf-8",
    )
    promote(models, "mood", "1.1.0", by="ann", why="better on irony")
    said = json.loads(run("show", "mood", "--json").stdout)
    assert (said["version"], said["in_use"], said["labels"], said["error"]) == ("1.1.0", True, ["warm", "cold"], None)
    assert said["figures"] == {"n": 40, "accuracy": 0.75, "macro_f1": 0.7}
    assert said["made_by"] == info
    assert said["certificate"]["n"] == 40
    assert "manifest.json" in said["certificate"]["lapsed"]
    assert [(row["version"], row["in_use"]) for row in said["versions"]] == [
        ("1.0.0", False),
        ("1.1.0", True),
        ("1.10.0", False),
    ]
    assert [(line["from"], line["to"], line["why"]) for line in said["history"]] == [
        ("1.0.0", "1.1.0", "better on irony")
    ]
    assert said["size"] == sum(path.stat().st_size for path in folder.iterdir())
    shown = run("show", "mood").stdout
    for part in ("mood 1.1.0 (in use)", "warm, cold", "accuracy 0.75", "lapsed", "healdag train mood", "ann"):
        assert part in shown
    other = json.loads(run("show", "mood@1.0.0", "--json", "--models", str(models)).stdout)
    assert (other["version"], other["in_use"], other["certificate"]) == ("1.0.0", False, None)
    assert "no version" in run("show", "mood@7.0.0", code=2).stderr
    assert "no model in" in run("show", "moods", "--models", str(models), code=2).stderr


def test_cli_shows_a_damaged_model(models: Path) -> None:
    (models / "mood" / "1.0.0" / "weights").unlink()
    result = run("show", "mood", "--json", code=1)
    assert "is missing" in json.loads(result.stdout)["error"]
    assert "is missing" in result.stderr
    assert "damaged" in run("show", "mood", code=1).stdout


def test_cli_list_is_what_models_shows(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healdag.artifacts.places.models_roots", lambda: [models])
    assert run("list").stdout == run().stdout
    assert run("list", "--json").stdout == run("--json").stdout
    assert json.loads(run("list", "--json").stdout)[0]["version"] == "1.0.0"


def test_a_line_says_who_and_when() -> None:
    change = Change.now("promote", None, "1.0.0")
    assert change.by
    assert change.time.endswith("+00:00")
    assert Change.model_validate_json(change.line()) == change
