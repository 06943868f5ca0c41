"""A backup of your own: anything with a name, labels, a version and predict_proba is one."""

import re
from collections.abc import Sequence

import numpy as np

from healdag import create_classifier


class HouseRules:
    """Knows one thing about our tickets: "charged twice" is anger. To everything else it gives no answer."""

    name = "house_rules"
    version = "house_rules/1"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.full((len(texts), len(self.labels)), np.nan)  # NaN: "could not answer"
        for row, text in zip(rows, texts, strict=True):
            if re.search(r"\bcharged\b.*\btwice\b", text, re.IGNORECASE):
                row[:] = 0.02 / (len(self.labels) - 1)
                row[self.labels.index("anger")] = 0.98
        return rows


labels = create_classifier().labels
# A backup is asked about doubtful texts only; a high threshold makes nearly all of them doubtful.
classifier = create_classifier(backups=[HouseRules(labels)], threshold=0.97)

for result in classifier.classify_many(["I was charged twice this month.", "Where can I find the invoice?"]):
    print(f"{result.final_label} ({result.confidence:.2f}), by {result.source}: {result.text}")
    for attempt in result.attempts:
        print(f"    {attempt.by}: {attempt.label or attempt.error}")
