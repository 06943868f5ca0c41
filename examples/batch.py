"""Classifies the texts of texts.txt in one call, and says how many were doubted and why."""

from collections import Counter
from pathlib import Path

from healdag import create_classifier

texts = (Path(__file__).parent / "texts.txt").read_text(encoding="utf-8").splitlines()
results = create_classifier().classify_many(texts)

for result in results:
    shown = result.text if len(result.text) <= 60 else result.text[:57] + "..."
    confidence = "" if result.confidence is None else f"{result.confidence:.2f}"
    print(f"{result.final_label or '-':<9} {confidence:<4} {result.source:<7} {shown}  {' '.join(result.reasons)}")

print(f"\n{len(results)} texts")
print("answered by:", dict(Counter(result.source for result in results)))
print("doubted for:", dict(Counter(reason for result in results for reason in result.reasons)))
