"""Writes the README's tables from benchmarks/results/*.json, between ``<!-- figures:NAME -->`` marks.

Usage: python benchmarks/tables.py [--check]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Rewrites the README; with ``--check`` only says whether that would change it."""
    before = README.read_text(encoding="utf-8")
    after = re.sub(r"(<!-- figures:(\w+) -->\n).*?(<!-- /figures -->)", fill, before, flags=re.DOTALL)
    if "--check" in sys.argv:
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


def fill(match: re.Match[str]) -> str:
    """One marked block with its table."""
    return f"{match[1]}{TABLES[match[2]]()}\n{match[3]}"


def load(name: str) -> Any:
    """A results file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def accuracy() -> str:
    """Primary alone and whole graph on goemotions_8."""
    figures = load("evaluation")["goemotions_8"]
    rows = ["| | accuracy (95 % interval) | macro-F1 | worst class F1 | ECE |", "|---|---|---|---|---|"]
    for key, name in (
        ("tfidf", "TF-IDF, logistic regression"),
        ("primary", "LoRA adapter alone"),
        ("whole_graph", "whole graph"),
    ):
        f = figures[key]
        low, high = f["accuracy_interval_95"]
        label, worst = min(((k, c["f1"]) for k, c in f["per_class"].items()), key=lambda item: item[1])
        rows.append(
            f"| {name} | {f['accuracy']:.3f} ({low:.3f} to {high:.3f}) | {f['macro_f1']:.3f} "
            f"| {worst:.3f} ({label}) | {f['ece']:.3f} |"
        )
    backup = figures["backup"]
    rows.append("")
    rows.append(
        f"`goemotions_8` test, n = {figures['primary']['n']:,}. The backups changed {backup['changed']} answers: "
        f"{backup['fixed']} wrong ones became right, {backup['broke']} right ones wrong."
    )
    return "\n".join(rows)


def sarcasm() -> str:
    """The sarcasm detector on two test sets."""
    figures = load("evaluation")
    rows = ["| test set | n | F1 (95 % interval) | F1 of always yes | ROC-AUC |", "|---|---|---|---|---|"]
    for name in ("isarcasmeval", "tweeteval_irony"):
        f = figures[name]
        low, high = f["f1_interval_95"]
        rows.append(
            f"| {name} | {f['n']:,} | {f['f1']:.3f} ({low:.3f} to {high:.3f}) | {f['f1_of_always_yes']:.3f} "
            f"| {f['roc_auc']:.3f} |"
        )
    return "\n".join(rows)


def shift() -> str:
    """Another domain."""
    f = load("evaluation")["shift"]["dair_emotion"]
    return (
        f"In another domain (`dair_emotion` test, n = {f['n']:,}, six of the labels, never trained on) the accuracy is "
        f"{f['accuracy']:.3f}, and {f['accuracy_restricted']:.3f} with the answers restricted to that set's labels "
        f"(`create_classifier(labels=[...])`).\n\n{_ironic(load('evaluation')['authored']['sarcastic'])}"
    )


def _ironic(f: dict[str, Any]) -> str:
    return (
        f"On our own held-out ironic texts (n = {f['n']}) the emotion that is meant is found in "
        f"{f['whole_graph']:.3f}, by the adapter alone in {f['primary']:.3f}; always naming their commonest emotion "
        f"would be right in {f['commonest_label']:.3f}."
    )


def emoji() -> str:
    """What reading emoji as words brings."""
    figures = load("emoji_effect")
    emotion, irony = figures["tweeteval_emotion"], figures["tweeteval_irony"]
    rows = [
        f"| emoji reach the model | emotion: accuracy (n = {emotion['n']}) | irony: ROC-AUC (n = {irony['n']}) |",
        "|---|---|---|",
    ]
    rows += [
        f"| {way} | {emotion[way]['accuracy']:.3f} | {irony[way]['roc_auc']:.3f} |"
        for way in ("as words", "as they are", "removed")
    ]
    return "\n".join(rows)


def toxicity() -> str:
    """Primary alone and whole graph on Jigsaw's comments."""
    figures = load("evaluation")["jigsaw_toxic_partial"]
    rows = ["| comments | | n | mean ROC-AUC | macro-F1 | every label right | ECE |", "|---|---|---|---|---|---|---|"]
    for name, shown in (("all", "all"), ("as_written", "as written, not lower-cased and stripped")):
        for way in ("primary", "whole_graph"):
            f = figures[name][way]
            rows.append(
                f"| {shown} | {way.replace('_', ' ')} | {f['n']:,} | {f['roc_auc']:.3f} | {f['macro_f1']:.3f} "
                f"| {f['accuracy']:.3f} | {f['ece']:.3f} |"
            )
    return "\n".join(rows)


def hate() -> str:
    """Primary alone and whole graph on Davidson's tweets."""
    rows = ["| | n | accuracy (95 % interval) | macro-F1 | weighted F1 | F1 of hate speech | ECE |"]
    rows.append("|---|---|---|---|---|---|---|")
    for way, f in load("evaluation")["davidson_hate"].items():
        low, high = f["accuracy_interval_95"]
        rows.append(
            f"| {way.replace('_', ' ')} | {f['n']:,} | {f['accuracy']:.3f} ({low:.3f} to {high:.3f}) "
            f"| {f['macro_f1']:.3f} | {f['weighted_f1']:.3f} | {f['per_class']['hate_speech']['f1']:.3f} "
            f"| {f['ece']:.3f} |"
        )
    return "\n".join(rows)


def tasks() -> str:
    """What the other tasks reach, by benchmarks/tasks.py."""
    rows = ["| task | test rows | accuracy | macro-F1 | command |", "|---|---|---|---|---|"]
    for name, found in load("tasks").items():
        first = found["runs"][0]
        figures, several = found.get("mean", first.get("graph", first["test"])), len(found["runs"])
        command = first["command"].replace(" --source DATA --models DIR", "")
        note = f" (mean of {several} seeds)" if several > 1 else ""
        if "graph" in first:
            note = f" (whole graph; the adapter alone {first['test']['accuracy']:.3f})"
        rows.append(
            f"| {name}{note} | {first['test']['n']:,} | {figures['accuracy']:.3f} | {figures['macro_f1']:.3f} "
            f"| `{command}` |"
        )
    return "\n".join(rows)


def speed() -> str:
    """How fast a LoRA adapter is trained, by benchmarks/training_speed.py."""
    f = load("training_speed")
    whole, beside = f["whole"], f["side_by_side"]
    runs = beside["runs"]
    scores = {name: " and ".join(f"{run['macro_f1']:.3f}" for run in found) for name, found in runs.items()}
    return (
        f"Training speed on {f['machine']['cores']} CPU cores: {whole['rows']:,} short texts x {whole['epochs']:g} "
        f"epochs in {whole['minutes']:.1f} minutes ({whole['texts_per_second']:.0f} texts/s). Beside a plain Hugging "
        f"Face Trainer script (fp32, padded to 128 tokens) in the same run, on {beside['rows']:,} rows: "
        f"{beside['ratio']:.1f} times its texts per second; validation macro-F1 {scores['healdag']} against "
        f"{scores['plain']}."
    )


PEERS = {
    "hf 1": "Hugging Face pipeline, one by one",
    "hf 8": "Hugging Face pipeline, batches of 8",
    "hf 32": "Hugging Face pipeline, batches of 32",
    "hf 32 sorted": "Hugging Face pipeline, batches of 32, texts sorted by length",
    "torch loop": "plain torch loop, batches of 32",
    "embedding": "MiniLM embeddings, logistic regression",
    "tfidf": "TF-IDF, logistic regression",
}
OURS = {
    "invoke": "whole graph, LangGraph's `graph.invoke` per text",
    "classify": "whole graph, `classify` per text",
    "whole": "whole graph, `classify_many`",
    "sarcasm": "with sarcasm, without backups",
    "alone": "without sarcasm and backups",
    "bare": "the model without a graph",
}
ENGINE_NAMES = {"int8": "ONNX int8", "onnx": "ONNX", "fp32": "ONNX fp32", "torch": "torch"}


def peers() -> str:
    """Other ways to classify the same texts, and ours, by benchmarks/peers.py."""
    found = load("peers")
    bulk, single = found["bulk"], found["single"]
    rows = ["| | texts/s | share of the fp32 ceiling | macro-F1 |", "|---|---|---|---|"]
    names = {
        **PEERS,
        **{
            f"{way} {engine}": f"healdag, {ENGINE_NAMES[engine]}: {name}"
            for way, name in OURS.items()
            for engine in ENGINE_NAMES
        },
    }
    for key, name in names.items():
        if (f := bulk["ways"].get(key)) is not None:
            share = f"{f['share_of_ceiling']['median']:.2f}" if "share_of_ceiling" in f else "-"
            rows.append(f"| {name} | {f['texts_per_second']:,.0f} | {share} | {f['macro_f1']:.3f} |")
    fastest = next(iter(found["engines"]))
    whole, alone = f"whole {fastest}", f"alone {fastest}"
    ratio = {name: f["median"] for name, f in bulk["ratios"].items()}
    one = {name: f["p50_ms"] for name, f in single["ways"].items()}
    rows += [
        "",
        f"{bulk['texts']:,} texts of `{found['data']}` ({bulk['mean_tokens']:.1f} tokens on average) on "
        f"{found['machine']['cores']} CPU cores, medians of {bulk['rounds']} rounds in which the ways take turns; "
        f"matrix products reach {bulk['gflops_ceiling_fp32']['median']:.0f} GFLOP/s in fp32. In the same round the "
        f"whole graph ({ENGINE_NAMES[fastest]}) answers {ratio[f'{whole} over hf 32']:.1f} times as many texts as the "
        f"pipeline in batches of 32 and {ratio[f'{whole} over hf 1']:.1f} times its default; without sarcasm and "
        f"backups {ratio[f'{alone} over hf 32']:.1f} and {ratio[f'{alone} over hf 1']:.1f} times. It keeps "
        f"{ratio[f'{whole} over bare {fastest}']:.0%} of the bare model's speed, without sarcasm and backups "
        f"{ratio[f'{alone} over bare {fastest}']:.0%}. One text takes {one[whole]:.1f} ms, the pipeline "
        f"{one['hf']:.1f} ms.",
    ]
    return "\n".join(rows)


def serving() -> str:
    """What the graph costs beside the models, and callers at once, by benchmarks/serving.py."""
    found = load("serving")
    one, callers, bulk = found["single"], found["callers"], found["bulk"]
    rows = ["| callers at once | texts/s | p50 ms | p99 ms |", "|---|---|---|---|"]
    for kind in ("threads", "coroutines"):
        for count in (1, 4, 32):
            f = callers[f"{count} {kind}, batching on"]
            rows.append(f"| {count} {kind} | {f['texts_per_second']:,.0f} | {f['p50_ms']:.1f} | {f['p99_ms']:.1f} |")
    peak, everything = bulk["peak_mib"], one["classify with sarcasm and a backup, batching on"]
    rows += [
        "",
        f"The graph itself takes {one['classify alone, batching on']['p50_ms']:.2f} ms for one text, and "
        f"{everything['p50_ms']:.2f} ms with sarcasm and a backup (p50, models that answer at once). 100,000 texts "
        f"take {bulk['100000_over_ten_times_10000']:.2f} times as long as ten times 10,000, and `classify_iter` holds "
        f"{peak['iter 100000']:.0f} MiB at most, for 1,000 texts {peak['iter 1000']:.0f} MiB.",
    ]
    return "\n".join(rows)


def startup() -> str:
    """What a start costs, by benchmarks/startup.py."""
    found = load("startup")
    rows = ["| | seconds | of the processor | MiB |", "|---|---|---|---|"]
    for name, f in found["ways"].items():
        rows.append(f"| {name} | {f['seconds']:.2f} | {f['processor_seconds']:.2f} | {f['mib']:.0f} |")
    return "\n".join(rows)


def trust() -> str:
    """Coverage at risks, by benchmarks/trust.py."""
    ways = {
        "primary_raw": "primary, raw softmax",
        "primary_calibrated": "primary, calibrated",
        "with_backups": "primary + backups",
        "whole_graph": "whole graph, fitted confidence",
        "oracle": "oracle",
    }
    found = load("trust")
    risks = list(next(iter(found.values()))["ways"]["oracle"]["coverage_at_risk"])
    head = " | ".join(f"{float(risk):.0%}" for risk in risks)
    rows = [f"| test set | confidence of | accuracy | AURC | ECE | {head} |", f"|{'---|' * (5 + len(risks))}"]
    for name, f in found.items():
        for key, way in ways.items():
            one = f["ways"][key]
            cells = " | ".join(f"{one['coverage_at_risk'][risk]:.1%}" for risk in risks)
            first = f"{name} (n = {f['n']:,})" if key == "primary_raw" else ""
            rows.append(f"| {first} | {way} | {one['accuracy']:.3f} | {one['aurc']:.4f} | {one['ece']:.3f} | {cells} |")
    rows += ["", "The last columns: share of texts that can be answered at that share of wrong answers, on these rows."]
    for name, f in found.items():
        ratio = f["whole_graph_to_primary_raw"]["aurc"]
        low, high = ratio["interval_95"]
        rows.append(f"AURC on {name}: {ratio['ratio']:.2f} of the raw softmax's ({low:.2f} to {high:.2f}).")
    return "\n".join(rows)


def budgets() -> str:
    """Certified budgets on 200 random halves, and foreign texts, by benchmarks/trust.py."""
    found = load("trust")
    rows = [
        "| test set | budget | certified | mean coverage | risk above it | above it on the other half |",
        "|---|---|---|---|---|---|",
    ]
    for name, f in found.items():
        for budget, half in f["halves"].items():
            rows.append(
                f"| {name} | {float(budget):.0%} | {half['certified']} of {half['of']} | {half['mean_coverage']:.1%} "
                f"| {half['violations']} | {half['violations_on_other_half']} |"
            )
    foreign = {name: f["foreign"] for name, f in found.items() if f["foreign"]}
    if foreign:
        rows += ["", "| test set | AUROC against foreign texts | mean confidence: its texts | foreign ones |"]
        rows.append("|---|---|---|---|")
        for name, f in foreign.items():
            mean = f["mean_confidence"]
            rows.append(f"| {name} | {f['auroc']:.3f} | {mean['own']:.2f} | {mean['foreign']:.2f} |")
    return "\n".join(rows)


def healing() -> str:
    """Streams from other domains, repeated errors, poison and screening, by benchmarks/healing.py."""
    found = load("healing")
    rows = [
        "| stream | texts, corrections | heals promoted | last third: model alone | with memory | with heals "
        "| its test split | goemotions_8 test |",
        f"|{'---|' * 8}",
    ]
    for name, f in found.get("stream", {}).items():
        late, promoted = f["late"], sum(one["outcome"] == "promoted" for one in f["heals"])
        cells = (f"{f[key]['before']:.3f} → {f[key]['after']:.3f} ({_points(f[key])})" for key in _TESTS)
        rows.append(
            f"| `{name}` | {f['texts']:,}, {f['corrections']:,} | {promoted} of {len(f['heals'])} "
            f"| {late['alone']:.3f} | {late['memory']:.3f} | {late['heals']:.3f} | {' | '.join(cells)} |"
        )
    if found.get("stream"):
        rows += [
            "",
            "In brackets the change in points, with its 95 % interval; the test splits are answered without memory.",
        ]
    if "repeats" in found:
        f = found["repeats"]
        rows.append(
            f"Corrected texts that come again are answered as corrected in {f['same_text']['as_corrected']:.1%} of "
            f"{f['same_text']['n']:,}, near twins in {f['near_twins']['right']:.1%} of {f['near_twins']['n']:,}; "
            f"{f['other_texts']['changed']:.2%} of {f['other_texts']['n']:,} other texts get another answer."
        )
    if "poison_summary" in found:
        f = found["poison_summary"]
        rows.append(
            f"Poison: in {f['trials']} heals from corrections of which 30 % are wrong, or all of one reviewer of four, "
            f"{f['promoted']} candidates were promoted and {f['harmful_promoted']} of these were harmful."
        )
    return "\n".join(rows)


_TESTS = ("test", "goemotions_8_test")


def _points(change: dict[str, Any]) -> str:
    low, high = change["interval_95"]
    return f"{100 * change['difference']:+.1f}, {100 * low:+.1f} to {100 * high:+.1f}"


def augmentation() -> str:
    """What each augmentation method changes, by benchmarks/augmentation.py."""
    f = load("augmentation")
    sizes = f["sample_sizes"]
    rows = [
        f"| augmentation | TF-IDF, {sizes['tfidf']:,} rows: goemotions_8 | dair_emotion "
        f"| MiniLM, {sizes['minilm']:,} rows: goemotions_8 | dair_emotion |",
        "|---|---|---|---|---|",
    ]
    for way in f["tfidf"]:
        cells = (f[model][way][name] for model in ("tfidf", "minilm") for name in ("goemotions_8", "dair_emotion"))
        shown = (f"{cell['mean']:.1f} ({min(cell['gains']):+.1f} to {max(cell['gains']):+.1f})" for cell in cells)
        rows.append(f"| {way.replace('_', ' ')} | {' | '.join(shown)} |")
    rows.append("")
    rows.append(
        "Macro-F1 x 100 on validation splits, mean of three seeds, and the smallest and largest change against none. "
        "`repeat` adds copies instead of new rows. Only emoji, in another domain, helped every time; the shipped "
        "models use none of them."
    )
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "sarcasm": sarcasm,
    "shift": shift,
    "emoji": emoji,
    "tasks": tasks,
    "speed": speed,
    "peers": peers,
    "serving": serving,
    "startup": startup,
    "toxicity": toxicity,
    "hate": hate,
    "augmentation": augmentation,
    "healing": healing,
    "trust": trust,
    "budgets": budgets,
}

if __name__ == "__main__":
    sys.exit(main())
