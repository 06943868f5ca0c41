"""The embedded classifier: one text, several texts, and a correction that sticks."""

from healdag import create_classifier

classifier = create_classifier()

result = classifier.classify("I'm so happy today!")
print(f"{result.final_label} ({result.confidence:.2f}), by {result.source}: {result.text}")

for result in classifier.classify_many(["Oh great, another Monday. Just perfect.", "❤️", "I guess it's fine."]):
    doubts = ", ".join(result.reasons) or "no doubts"
    print(f"{result.final_label} ({result.confidence:.2f}), by {result.source}, {doubts}: {result.text}")
    for attempt in result.attempts:
        print(f"    {attempt.by}: {attempt.label}{' (taken)' if attempt.accepted else ''}")

classifier.correct("I guess it's fine.", "sadness", by="someone who knows the writer")
result = classifier.classify("I guess it's fine.")
print(f"after a correction: {result.final_label}, from {result.source}")
