"""The trainer: loss, checkpoints, memory, alarms, the weights that are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model

from healdag.config import LoraSettings, TrainingSettings
from healdag.errors import HealdagError, UsageError
from healdag.predictors.lora import load_base
from healdag.training.checkpoints import COMPLETE, last_checkpoint
from healdag.training.datasets import Example
from healdag.training.finetuning.callbacks import Alarms, DivergedError
from healdag.training.finetuning.finetune import Plan, fine_tune, lora_config, pick_precision
from healdag.training.finetuning.losses import IGNORED, class_weights, classification_loss
from healdag.training.finetuning.on_cpu import PooledDropout, QuickLora, cheapen_dropout, restore, speed_up
from healdag.training.finetuning.trainer import FineTuner
from healdag.training.finetuning.weights import BestWeights, WeightAverage, trained_weights
from healdag.training.profiles import PROFILES, apply_profile
from healdag.training.tasks import load_task

SHAPE = LoraSettings(r=4, alpha=8, max_length=16)
WORDS = {"happy": "happy joy", "sad": "sad text"}


def settings(**changes: Any) -> TrainingSettings:
    usual: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 2e-2,
        "warmup_steps": 0,
        "average_decay": 0.0,
        "auxiliary_weight": 0.0,
        "precision": "fp32",
    }
    return TrainingSettings(**{**usual, **changes})


def rows(n: int = 32) -> list[Example]:
    labels = list(WORDS)
    return [
        Example(f"{WORDS[labels[i % 2]]} {chr(97 + i % 26)} {chr(97 + i // 26)}", (labels[i % 2],)) for i in range(n)
    ]


def weights_of(trained: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trained_weights(trained.model).items()}


# loss


def test_class_weights_reach_the_loss() -> None:  # fault 11: weights set and never used
    weights = class_weights(torch.tensor([0, 0, 0, 1, IGNORED]), 2, power=1.0)
    assert weights[1] / weights[0] == pytest.approx(3.0)
    assert class_weights(torch.tensor([0, 0, 0, 1]), 2, power=0.0).tolist() == [1.0, 1.0]

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            from transformers.modeling_outputs import SequenceClassifierOutput

            return SequenceClassifierOutput(logits=torch.tensor([[2.0, 0.0], [2.0, 0.0]]) + self.anchor)

    def loss(given: list[float], kind: str = "cross_entropy") -> float:
        trainer = object.__new__(FineTuner)
        trainer._weights, trainer._auxiliary, trainer._settings = torch.tensor(given), None, settings(loss=kind)
        ids, labels = torch.zeros(2, 1, dtype=torch.long), torch.tensor([0, 1])
        inputs = {"input_ids": ids, "labels": labels, "fine": torch.zeros(2, 0)}
        return float(trainer.compute_loss(Model(), inputs).detach())

    # The second row is wrong: the more its class weighs, the larger the loss.
    assert loss([1.0, 5.0]) > loss([1.0, 1.0]) + 0.1
    assert loss([1.0, 1.0], "focal") < loss([1.0, 1.0])


def test_the_focal_loss_agrees_with_its_formula() -> None:
    logits, targets = torch.tensor([[2.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 1])
    right = logits.softmax(dim=1)[torch.arange(2), targets]
    expected = float(((1 - right) ** 2 * -right.log()).mean())
    found = classification_loss(logits, targets, torch.ones(2), kind="focal", gamma=2.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    plain = classification_loss(logits, targets, torch.ones(2))
    assert float(classification_loss(logits, targets, torch.ones(2), kind="focal", gamma=0.0)) == pytest.approx(
        float(plain)
    )


def test_the_multi_label_loss_weighs_rare_labels_and_leaves_out_rows_without_any() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [float("nan"), float("nan")]])
    weights = class_weights(targets, 2, power=1.0)
    assert weights.tolist() == pytest.approx([1 / 3, 3.0])
    logits = torch.zeros(5, 2)
    known = classification_loss(logits[:4], targets[:4], weights)
    assert float(classification_loss(logits, targets, weights)) == pytest.approx(float(known))
    assert float(classification_loss(logits[4:], targets[4:], weights)) == 0.0
    easy = torch.tensor([[4.0, -4.0]])
    focal = classification_loss(easy, targets[:1], torch.ones(2), kind="focal")
    assert float(focal) < 0.01 * float(classification_loss(easy, targets[:1], torch.ones(2)))


# dropout


def test_pooled_dropout_drops_its_share_and_keeps_the_mean() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.25))
    cheapen_dropout(model, seed=1)
    layer = model[1]
    assert isinstance(layer, PooledDropout)
    torch.manual_seed(0)
    values = layer(torch.ones(1000, 100))
    assert float((values == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(values.mean()) == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(layer(torch.ones(1000)), layer(torch.ones(1000)))
    model.eval()
    assert torch.equal(layer(torch.ones(10)), torch.ones(10))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_quick_lora_layers_and_attention_give_pefts_outputs_and_gradients(tiny_base: Path) -> None:
    model, untrained = load_base(tiny_base, ("a", "b"))
    fresh = sorted({name.rsplit(".", 1)[0] for name in untrained})
    model = get_peft_model(
        model, lora_config(SHAPE.model_copy(update={"dropout": 0.0}), "SEQ_CLS", modules_to_save=fresh)
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])

    def step() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
        logits.square().sum().backward()
        return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    logits, gradients = step()
    speed_up(model, seed=0)
    assert any(isinstance(module.forward, QuickLora) for module in model.modules())
    quick_logits, quick_gradients = step()
    torch.testing.assert_close(quick_logits, logits)
    torch.testing.assert_close(quick_gradients, gradients)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = step()
    torch.testing.assert_close(half.float(), logits, atol=0.05, rtol=0.05)
    restore(model)
    assert model.config._attn_implementation == "sdpa"
    assert not any(isinstance(module.forward, QuickLora) for module in model.modules())
    torch.testing.assert_close(step(), (logits, gradients))


# weights


def test_the_average_and_the_best_weights_are_what_they_say() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average, best = WeightAverage(0.5), BestWeights()
    for step, value in enumerate([0.0, 1.0, 3.0]):
        model.weight.data.fill_(value)
        average.update(model, step + 1000, 3)
        best.update(model, score=[0.1, 0.9, 0.5][step], step=step)
    assert average.weights is not None
    assert float(average.weights["weight"]) == pytest.approx(0.5 * (0.5 * 0 + 0.5 * 1) + 0.5 * 3)
    with average.applied(model):
        assert float(model.weight.detach()) == pytest.approx(1.75)
    assert float(model.weight.detach()) == 3.0
    assert best.weights is not None
    assert (float(best.weights["weight"]), best.step, best.waited) == (1.0, 1, 1)


def test_the_average_of_a_short_training_is_not_made_of_its_beginning() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(0.995)
    for step in range(1, 61):
        model.weight.data.fill_(float(step > 10))
        average.update(model, step, 60)
    assert average.weights is not None
    assert float(average.weights["weight"]) > 0.95


def test_training_learns_and_keeps_the_best_epoch(tiny_base: Path) -> None:
    plans: list[Plan] = []
    trained = fine_tune(
        tiny_base, list(WORDS), rows(), SHAPE, settings(epochs=24), validation=rows(12), announce=plans.append
    )
    scores = [entry["eval_macro_f1"] for entry in trained.history if "eval_macro_f1" in entry]
    assert len(scores) == 24
    assert max(scores) > 0.9
    assert trained.best_step == 4 * (scores.index(max(scores)) + 1)
    assert (plans[0].rows, plans[0].steps, plans[0].precision) == (32, 96, "fp32")
    assert 0 < plans[0].trained < plans[0].weights
    assert plans[0].seconds > 0


def test_patience_stops_early(tiny_base: Path) -> None:
    still = settings(epochs=20, learning_rate=1e-9, patience=2)
    trained = fine_tune(tiny_base, list(WORDS), rows(), SHAPE, still, validation=rows(12))
    assert len([entry for entry in trained.history if "eval_macro_f1" in entry]) == 3


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = settings(epochs=4, average_decay=0.5, checkpoints=2, save_total_limit=20)
    whole = fine_tune(tiny_base, list(WORDS), rows(), SHAPE, run, validation=rows(12), checkpoints=tmp_path / "whole")
    step = FineTuner.training_step

    def killed(self: FineTuner, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 7:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(FineTuner, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(tiny_base, list(WORDS), rows(), SHAPE, run, validation=rows(12), checkpoints=tmp_path / "part")
    monkeypatch.undo()
    # In the middle of an epoch of four steps; the next one was being written when the process died.
    shutil.copytree(tmp_path / "part" / "checkpoint-6", tmp_path / "part" / "checkpoint-8")
    (tmp_path / "part" / "checkpoint-8" / COMPLETE).unlink()
    assert last_checkpoint(tmp_path / "part") == tmp_path / "part" / "checkpoint-6"
    plans: list[Plan] = []
    resumed = fine_tune(
        tiny_base,
        list(WORDS),
        rows(),
        SHAPE,
        run,
        validation=rows(12),
        checkpoints=tmp_path / "part",
        announce=plans.append,
    )
    assert plans[0].done == 6
    expected, found = weights_of(whole), weights_of(resumed)
    assert all(torch.allclose(expected[name], found[name], atol=1e-5) for name in expected)
    assert resumed.best_step == whole.best_step


def test_a_row_that_stands_there_several_times_counts_as_often(tiny_base: Path) -> None:
    once = fine_tune(tiny_base, list(WORDS), rows(16), SHAPE, settings(epochs=1))
    often = fine_tune(tiny_base, list(WORDS), [*rows(16), *rows(16)[:4] * 3], SHAPE, settings(epochs=1))
    assert (once.plan.rows, often.plan.rows) == (16, 28)


def test_an_anchor_keeps_a_share_of_the_weights_that_a_training_starts_from(tiny_base: Path, tmp_path: Path) -> None:
    def weights(start: Path | None, anchor: float) -> dict[str, Any]:
        more = {"start": start, "keep_head": start is not None, "anchor": anchor}
        model = fine_tune(tiny_base, list(WORDS), rows(16), SHAPE, settings(epochs=2), **more).model
        model.save_pretrained(str(start or tmp_path / "start"), safe_serialization=True) if start is None else None
        return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}

    first = weights(None, 0.0)
    last, between = weights(tmp_path / "start", 0.0), weights(tmp_path / "start", 0.4)
    for name, value in between.items():
        assert torch.allclose(value, 0.4 * first[name] + 0.6 * last[name], atol=1e-6), name
    assert any(not torch.allclose(value, first[name], atol=1e-4) for name, value in last.items())


def test_out_of_memory_halves_the_batch_and_keeps_the_effective_size(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = FineTuner.training_step

    def small_only(self: FineTuner, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if len(inputs["input_ids"]) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(FineTuner, "training_step", small_only)
    trained = fine_tune(tiny_base, list(WORDS), rows(16), SHAPE, settings(epochs=1))
    assert (trained.plan.batch_size, trained.plan.accumulation, trained.plan.steps) == (2, 4, 2)
    assert "batch 4 instead, 2 passes per step" in caplog.text
    monkeypatch.setattr(
        FineTuner,
        "training_step",
        lambda *_a, **_k: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.")),
    )
    with pytest.raises(HealdagError, match="not even one row"):
        fine_tune(tiny_base, list(WORDS), rows(16), SHAPE, settings(epochs=1))


def test_accumulated_passes_give_the_step_of_one_large_batch(tiny_base: Path) -> None:
    calm = LoraSettings(r=2, alpha=4, max_length=16, dropout=0.0)
    model = rows(8)
    one = fine_tune(tiny_base, list(WORDS), model, calm, settings(epochs=1, batch_size=8, class_weight_power=0.0))
    two = fine_tune(
        tiny_base,
        list(WORDS),
        model,
        calm,
        settings(epochs=1, batch_size=4, gradient_accumulation=2, class_weight_power=0.0),
    )
    assert one.plan.steps == two.plan.steps == 1
    norms = [next(e["grad_norm"] for e in t.history if "grad_norm" in e) for t in (one, two)]
    # The base's own dropout draws other masks: alike, and not twice as large.
    assert norms[0] == pytest.approx(norms[1], rel=0.5)


def test_a_loss_that_is_no_number_stops_the_training(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "healdag.training.finetuning.trainer.classification_loss", lambda logits, *_a, **_k: logits.sum() * float("nan")
    )
    with pytest.raises(DivergedError, match="learning_rate"):
        fine_tune(tiny_base, list(WORDS), rows(), SHAPE, settings())


def test_alarms_ring_for_a_flat_loss_and_for_divergence() -> None:
    class State:
        global_step, max_steps = 90, 100

        def __init__(self, history: list[dict[str, float]]) -> None:
            self.log_history = history

    def said(history: list[dict[str, float]], *, falling: bool = True) -> list[str]:
        alarms = Alarms(falling=falling)
        state = State(history)
        alarms.on_log(None, state, None, logs={"loss": history[-1].get("loss", 1.0)})
        alarms.on_evaluate(None, state, None)
        return alarms.said

    falling = [{"loss": 2.0 - 0.2 * i} for i in range(8)]
    assert said(falling) == []
    assert "does not fall" in said([{"loss": 2.0}] * 8)[0]
    assert said([{"loss": 2.0}] * 8, falling=False) == []  # a heal goes on with rows that the model mostly knows
    worse = [*falling, *({"eval_loss": value} for value in (1.0, 1.1, 1.2))]
    assert "diverge" in said(worse)[0]
    better = [*falling, *({"eval_loss": value} for value in (1.2, 1.1, 1.0))]
    assert said(better) == []


def test_long_texts_are_trained_on_as_windows_where_asked(tiny_base: Path) -> None:
    long = [Example("happy joy " * 40, ("happy",)), Example("sad text " * 40, ("sad",))]
    cut = fine_tune(tiny_base, list(WORDS), long, SHAPE, settings(epochs=1)).plan.rows
    windows = fine_tune(tiny_base, list(WORDS), long, SHAPE, settings(epochs=1, long_texts="windows")).plan.rows
    assert cut == 2
    assert windows > 6


def test_a_multi_label_model_learns_labels_that_stand_together(tiny_base: Path) -> None:
    texts = {"happy": ("h",), "sad": ("s",), "happy sad": ("h", "s"), "text .": ()}
    train = [Example(f"{text} {chr(97 + i)}", labels) for i in range(16) for text, labels in texts.items()]
    trained = fine_tune(
        tiny_base, ["h", "s"], train, SHAPE, settings(epochs=30, batch_size=16), validation=train[:20], multi_label=True
    )
    assert max(e["eval_accuracy"] for e in trained.history if "eval_accuracy" in e) > 0.9


def test_full_fine_tuning_changes_every_weight_and_is_served(tiny_base: Path) -> None:
    trained = fine_tune(tiny_base, list(WORDS), rows(), SHAPE, settings(method="full", learning_rate=1e-3))
    assert trained.plan.trained == trained.plan.weights


def test_fp16_needs_a_gpu_and_auto_measures(tiny_base: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match="needs a GPU"):
        fine_tune(tiny_base, list(WORDS), rows(), SHAPE, settings(precision="fp16"))
    trained = fine_tune(tiny_base, list(WORDS), rows(), SHAPE, settings(epochs=1, precision="auto"))
    assert trained.plan.precision in {"fp32", "bf16"}
    assert callable(pick_precision)


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_change_what_they_name_only(name: str) -> None:
    task = load_task("sarcasm")
    changed = apply_profile(task, name)
    profile = PROFILES[name]
    assert all(getattr(changed.training, key) == value for key, value in profile.training.items())
    assert changed.training.class_weight_power == task.training.class_weight_power
    TrainingSettings.model_validate(changed.training.model_dump())
    with pytest.raises(UsageError, match="fullscale"):
        apply_profile(task, "slow")


def test_a_checkpoint_says_how_far_the_best_was(tmp_path: Path, tiny_base: Path) -> None:
    run = settings(epochs=2, checkpoints=1)
    fine_tune(tiny_base, list(WORDS), rows(), SHAPE, run, validation=rows(12), checkpoints=tmp_path)
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    progress = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    assert np.isfinite(progress["best"]["score"])
    # A run that stopped after its last step ends as it would have, without another one.
    again = fine_tune(tiny_base, list(WORDS), rows(), SHAPE, run, validation=rows(12), checkpoints=tmp_path)
    assert max(entry["step"] for entry in again.history) == 8
    assert again.seconds > progress["seconds"]


def test_the_last_weights_are_looked_at_too(tiny_base: Path) -> None:
    run = settings(epochs=1.5)
    trained = fine_tune(tiny_base, list(WORDS), rows(), SHAPE, run, validation=rows(12))
    assert [entry["step"] for entry in trained.history if "eval_macro_f1" in entry] == [4, 6]
