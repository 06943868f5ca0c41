"""Doubtful texts wait in a file while the others are answered; a web page or an agent answers them later.

Run: python examples/review_queue.py
"""

import tempfile
from pathlib import Path

from healdag import create_classifier

QUEUE = Path(tempfile.mkdtemp()) / "review.db"  # yours: a place that stays
TICKETS = ["Thank you so much, it works!", "well, that happened", "Oh great, another Monday. Just perfect.", "hmm"]


def service() -> None:
    """Answers at once what is clear."""
    classifier = create_classifier(threshold=0.9, human_review=True, checkpointer=QUEUE)
    for result in classifier.classify_many(TICKETS):
        print(f"{result.source}: {result.text} -> {result.final_label}")


def page() -> None:
    """Another process, maybe days later: shows the questions that are worth the most, and hands in what was chosen."""
    classifier = create_classifier(threshold=0.9, human_review=True, checkpointer=QUEUE)
    for question in classifier.pending(limit=2):
        guesses = ", ".join(f"{guess.label} {guess.probability:.2f}" for guess in question.top)
        print(f"asked: {question.text} ({guesses}; {', '.join(question.reasons)})")
        result = classifier.answer(question.decision_id, "sadness", by="ann")  # what the person has chosen
        print(f"answered by a {result.source}: {result.final_label}")
    print(f"{len(classifier.pending())} still waiting")
    print(f"next time: {classifier.classify(result.text).source}")


service()
page()
