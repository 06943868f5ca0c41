"""Drift: silent on draws from the same source, loud on those from another; and what it needs is in the log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healdag import create_classifier
from healdag.artifacts import PROFILE, Profile, read_profile
from healdag.errors import ArtifactError, UsageError
from healdag.store import Decision, DecisionLog, read_decisions
from healdag.trust.drift import Drift, find_drift, share_of, stability_index
from healdag.trust.profile import Seen, profile_of

from .tickets import COLUMNS, LABELS, invoke, run, tickets, write

START = datetime(2026, 1, 1, tzinfo=UTC)
MIX = {"joy": 0.4, "anger": 0.3, "neutral": 0.28, "fear": 0.02}


def decisions(n: int, seed: int, *, start: int = 0, **changes: Any) -> Iterator[Decision]:
    """Decisions of a made-up source, one a minute.

    Args:
        changes: ``mix`` of labels, ``length`` of texts, ``doubt`` (share), ``far`` (distance), or fields.
    """
    rng = np.random.default_rng(seed)
    mix, length = changes.pop("mix", MIX), changes.pop("length", 4.0)
    doubted = rng.random(n) < changes.pop("doubt", 0.2)
    far = changes.pop("far", 0.6)
    drawn = {
        "label": rng.choice(list(mix), size=n, p=list(mix.values())),
        "confidence": rng.beta(8, 2, n),
        "source": np.where(doubted & (rng.random(n) < 0.5), "backup", "model"),
        "sarcasm": rng.beta(1, 9, n),
        "unfamiliar": rng.gamma(20, far / 20, n),
        "chars": rng.lognormal(length, 0.6, n).astype(int) + 1,
    }
    columns = {name: values.tolist() for name, values in drawn.items()}
    for i in range(n):
        row: dict[str, Any] = {
            "id": f"run-{seed}.{i}",
            "time": START + timedelta(minutes=start + i),
            "reasons": ("low_confidence",) if doubted[i] else (),
            **{name: values[i] for name, values in columns.items()},
            **dict.fromkeys(("asked", "ms", "failed"), ()),
            "accepted": "model",
            "model_version": "mood/1.0.0",
        }
        yield Decision.model_construct(**{**row, **changes})


@pytest.fixture(scope="module")
def reference() -> Profile:
    return profile_of(decisions(2000, seed=999), "mood/1.0.0", "made up")


def latest(found: Drift) -> list[str]:
    return [figure.name for figure in found.windows[-1].drifted]


class TestFindDrift:
    def test_no_alarm_on_the_same_source(self, reference: Profile) -> None:
        found = [find_drift(decisions(400, seed), reference, 100) for seed in range(60)]
        windows = [window for one in found for window in one.windows]
        assert len(windows) == 240
        # The rate of false discoveries is 1 % per log, by design.
        assert sum(any(window.drifted for window in one.windows) for one in found) <= 2
        # The effects alone would have called out: chance makes some of so few decisions.
        assert sum(any(figure.strength > 1 for figure in window.figures) for window in windows) > 10
        quiet = next(one for one in found if not one.alarm)
        assert quiet.since is None
        assert "No drift" in " ".join(quiet.in_words("mood"))

    @pytest.mark.parametrize(
        ("change", "name", "kind"),
        [
            ({"mix": {"joy": 0.1, "anger": 0.7, "neutral": 0.2}}, "label", "prediction"),
            ({"length": 5.0}, "length", "input"),
            ({"far": 0.9}, "unfamiliar", "input"),
            ({"doubt": 0.6}, "reason low_confidence", "prediction"),
            ({"source": "abstain", "label": None, "confidence": None}, "source", "prediction"),
            ({"reasons": ("unreadable",)}, "reason unreadable", "input"),
        ],
    )
    def test_an_alarm_where_one_thing_changes(
        self, change: dict[str, Any], name: str, kind: str, reference: Profile
    ) -> None:
        found = find_drift([*decisions(400, 1), *decisions(400, 2, start=400, **change)], reference, 200)
        assert found.alarm
        assert name in latest(found)
        assert next(figure.kind for figure in found.windows[-1].figures if figure.name == name) == kind
        assert [bool(window.drifted) for window in found.windows] == [False, False, True, True]
        assert found.since == START + timedelta(minutes=400)
        assert f"{kind} (" in " ".join(found.in_words("mood"))

    def test_what_has_passed_is_shown_and_no_alarm(self, reference: Profile) -> None:
        rows = [*decisions(200, 1, length=6.0), *decisions(200, 2, start=200)]
        found = find_drift(rows, reference, 200)
        assert ([bool(window.drifted) for window in found.windows], found.alarm) == ([True, False], False)

    def test_a_long_log_makes_a_small_change_significant_but_no_alarm(self) -> None:
        wide = profile_of(decisions(10_000, seed=7), "mood/1.0.0", "made up")
        found = find_drift(decisions(10_000, 8, length=4.1), wide, 10_000)
        (length,) = (figure for figure in found.windows[0].figures if figure.name == "length")
        assert length.q < 1e-6
        assert 0.01 < length.effect < 0.1
        assert not found.alarm

    def test_what_people_answered_counts_for_the_input_alone(self, reference: Profile) -> None:
        rows = [*decisions(300, 1), *decisions(300, 2, source="memory", label="joy", confidence=1.0, reasons=())]
        found = find_drift(rows, reference, 600)
        assert latest(found) == []
        figures = {figure.name: figure.n for figure in found.windows[0].figures}
        assert (figures["label"], figures["confidence"], figures["length"]) == (300, 300, 600)

    def test_a_budget_hides_answers(self, reference: Profile) -> None:
        held = {"source": "abstain", "label": None, "confidence": None, "reasons": ("low_confidence", "budget")}
        budgeted = [*decisions(100, 1, **held), *decisions(200, 2)]
        found = find_drift(budgeted, reference, 300)
        assert set(found.left_out) == {"label", "source", "confidence"}
        assert not {"label", "source", "confidence", "reason budget"} & {f.name for f in found.windows[0].figures}
        same = find_drift(budgeted, profile_of(budgeted, "mood/1.0.0", "a log"), 300)
        assert (same.left_out, latest(same)) == ({}, [])

    def test_several_labels_are_looked_at_one_by_one(self) -> None:
        def rows(seed: int, share: float) -> Iterator[Decision]:
            for i, row in enumerate(decisions(300, seed)):
                label = ["insult"] * (i % 100 < 100 * share) + ["threat"] * (i % 10 == 0)
                yield row.model_copy(update={"label": label})

        profile = profile_of(rows(1, 0.1), "mood/1.0.0", "made up")
        assert latest(find_drift(rows(2, 0.1), profile, 300)) == []
        assert "label insult" in latest(find_drift(rows(3, 0.6), profile, 300))

    def test_a_log_from_before_has_no_distance(self, reference: Profile) -> None:
        found = find_drift(decisions(300, 1, unfamiliar=None), reference, 300)
        assert latest(found) == []
        assert "unfamiliar" not in {figure.name for figure in found.windows[0].figures}

    @pytest.mark.parametrize(("n", "sizes"), [(60, [60]), (340, [100, 100, 140]), (360, [100, 100, 100, 60])])
    def test_windows(self, n: int, sizes: list[int], reference: Profile) -> None:
        found = find_drift(decisions(n, 1), reference, 100)
        assert [window.counts.n for window in found.windows] == sizes
        assert found.windows[-1].end == START + timedelta(minutes=n - 1)

    def test_too_few(self, reference: Profile) -> None:
        with pytest.raises(UsageError, match="49 decisions are too few"):
            find_drift(decisions(49, 1), reference)
        with pytest.raises(UsageError, match="50 decisions or more, got 10"):
            find_drift(decisions(100, 1), reference, 10)

    def test_nothing_varies(self) -> None:
        rows = [Seen("joy", 0.5, "model", (), None, None, 7)] * 100
        profile = profile_of(rows, "mood/1.0.0", "made up")
        assert find_drift(decisions(100, 1), profile, 100).alarm
        assert share_of(profile, "length") == {"below 7": 0.0, "from 7": 1.0}


def test_the_index_is_that_of_the_definition() -> None:
    before, now = np.array([2000, 5000, 3000]), np.array([3000, 4000, 3000])
    expected = 0.1 * np.log(0.3 / 0.2) - 0.1 * np.log(0.4 / 0.5)
    assert stability_index(before, now) == pytest.approx(expected, abs=1e-3)
    assert stability_index(now, before) == pytest.approx(expected, abs=1e-3)
    assert np.isfinite(stability_index(np.array([10, 0]), np.array([0, 10])))


def write_log(path: Path, rows: Iterable[Decision]) -> Path:
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(row.model_dump_json() + "\n" for row in rows)
    return path


class TestTheLog:
    @pytest.mark.parametrize("name", ["log.jsonl", "log.db"])
    def test_keeps_the_distance(self, name: str, tmp_path: Path) -> None:
        row = self.result() | {"unfamiliar": 1.25}
        DecisionLog(tmp_path / name).append([row, self.result()])
        assert [one.unfamiliar for one in read_decisions(tmp_path / name)] == [1.25, None]

    def test_a_database_from_before_is_read_and_written_on(self, tmp_path: Path) -> None:
        path = tmp_path / "log.db"
        DecisionLog(path).append([self.result()])
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE decisions DROP COLUMN unfamiliar")
        connection.close()
        assert [one.unfamiliar for one in read_decisions(path)] == [None]
        DecisionLog(path).append([self.result() | {"unfamiliar": 0.5}])
        assert [one.unfamiliar for one in read_decisions(path)] == [None, 0.5]

    def result(self) -> dict[str, Any]:
        row = {"text": "hello", "final_label": "joy", "confidence": 0.9, "source": "model", "reasons": []}
        return {**row, "sarcasm": None, "attempts": [], "decision_id": "run-1.0", "model_version": "mood/1"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small real model of a noisy task, and a profile of its validation rows."""
    place = tmp_path_factory.mktemp("drift")
    data = write(place / "tickets.csv", tickets(1500, seed=1))
    run("train", "tickets", "--data", data, *COLUMNS, "--method", "tfidf_lr", "--models", place / "models")
    return place / "models"


@pytest.fixture
def at(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEALDAG_MODELS", str(models))
    return models / "tickets" / "1.0.0"


def logged(path: Path, texts: Iterable[str]) -> Path:
    create_classifier("tickets", log=path).classify_many(list(texts))
    return path


SAME = [text for text, _ in tickets(900, seed=5)]
OTHER = [f"Dear sir or madam, {text}; kind regards from the lighthouse keeper" for text, _ in tickets(300, seed=6)]


class TestAModel:
    def test_its_training_leaves_a_profile(self, at: Path) -> None:
        profile = read_profile(at)
        assert profile is not None
        assert (profile.model_version, profile.n) == ("tickets/1.0.0", 150)
        assert set(profile.shares["label"]) == set(LABELS)
        assert {"length", "confidence"} <= set(profile.numbers)
        assert sum(profile.numbers["confidence"].counts) == 150

    def test_its_profile_is_of_the_confidence_as_it_is_served(self, at: Path, tmp_path: Path) -> None:
        found = find_drift(read_decisions(logged(tmp_path / "log.jsonl", SAME)), read_profile(at), 900)  # type: ignore[arg-type]
        (confidence,) = (figure for figure in found.windows[0].figures if figure.name == "confidence")
        assert confidence.strength < 0.5

    def test_same_source_and_another(self, at: Path, tmp_path: Path) -> None:
        log = logged(tmp_path / "log.jsonl", SAME)
        quiet = json.loads(run("drift", "tickets", "--log", log, "--window", 300, "--format", "json"))
        assert (quiet["alarm"], quiet["since"], len(quiet["windows"])) == (False, None, 3)
        logged(log, OTHER)
        loud = json.loads(run("drift", "tickets", "--log", log, "--window", 300, "--format", "json"))
        assert loud["alarm"]
        assert "length" in loud["windows"][-1]["drifted"]
        assert loud["since"] == loud["windows"][3]["start"]

    def test_in_words_and_as_a_page(self, at: Path, tmp_path: Path) -> None:
        log, page = logged(tmp_path / "log.db", OTHER), tmp_path / "drift.html"
        shown = run("drift", "tickets", "--log", log, "--out", page)
        assert "Drift since" in shown
        assert "healdag heal tickets" in shown
        html = page.read_text(encoding="utf-8")
        assert html.count("<svg") >= 2
        assert "Drift since" in html
        assert "lighthouse" not in html

    def test_without_a_profile_a_log_is_the_reference(self, at: Path, tmp_path: Path) -> None:
        content = (at / PROFILE).read_bytes()
        (at / PROFILE).unlink()
        try:
            old, new = logged(tmp_path / "old.jsonl", SAME), logged(tmp_path / "new.jsonl", OTHER)
            refused = invoke("drift", "tickets", "--log", new)
            assert refused.exit_code == 2
            assert "tickets 1.0.0 has no profile of its held-out rows" in refused.stderr
            assert "Drift since" in run("drift", "tickets", "--log", new, "--reference", old)
            assert "No drift" in run("drift", "tickets@1.0.0", "--log", old, "--reference", old)
        finally:
            (at / PROFILE).write_bytes(content)

    def test_decisions_of_another_version_do_not_count(self, at: Path, tmp_path: Path) -> None:
        log = write_log(tmp_path / "log.jsonl", decisions(300, 1))
        refused = invoke("drift", "tickets", "--log", log)
        assert refused.exit_code == 2
        assert "0 decisions are too few" in refused.stderr
        assert "has decisions of mood/1.0.0 (300), and those of tickets/1.0.0 count" in refused.stderr

    def test_refuses_a_page_of_another_form(self, at: Path, tmp_path: Path) -> None:
        log = write_log(tmp_path / "log.jsonl", decisions(60, 1))
        refused = invoke("drift", "tickets", "--log", log, "--out", "drift.pdf")
        assert refused.exit_code == 2
        assert "ends in .html" in refused.stderr

    def test_a_damaged_profile(self, tmp_path: Path) -> None:
        (tmp_path / PROFILE).write_text('{"n": 1}', encoding="utf-8")
        with pytest.raises(ArtifactError, match="not a valid profile"):
            read_profile(tmp_path)
