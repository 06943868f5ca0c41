"""A chat model as the backup for doubtful texts. The model is a fake without a key; put your own in its place."""

from langchain_core.language_models.fake_chat_models import FakeListChatModel

from healdag import create_classifier

ANSWER = """{"joy": 0.002, "sadness": 0.008, "anger": 0.97, "fear": 0.002,
             "love": 0.002, "surprise": 0.002, "neutral": 0.002, "disgust": 0.012}"""
model = FakeListChatModel(responses=[ANSWER])  # or a name: "model": "openai:gpt-5-mini"
backup = {"kind": "llm", "model": model, "timeout": 10}

# Only texts below the threshold, or that look sarcastic, leave for the chat model.
classifier = create_classifier(backups=[backup], threshold=0.95)
result = classifier.classify("Sure, because what I needed today was a flat tire in the rain.")

print(f"{result.final_label} ({result.confidence:.2f}), by {result.source}, because of {', '.join(result.reasons)}")
for attempt in result.attempts:
    print(f"    {attempt.by}: {attempt.label or attempt.error} {'(taken)' if attempt.accepted else ''}")
