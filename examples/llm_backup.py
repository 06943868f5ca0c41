"""A chat model as the backup for doubtful texts. The model is a fake without a key; put your own in its place."""

from langchain_core.language_models.fake_chat_models import FakeListChatModel

from healdag import create_classifier

ANSWER = """{"joy": 0.01, "sadness": 0.06, "anger": 0.88, "fear": 0.01,
             "love": 0.01, "surprise": 0.01, "neutral": 0.01, "disgust": 0.01}"""
model = FakeListChatModel(responses=[ANSWER])  # or a name: "model": "openai:gpt-5-mini"
backup = {"kind": "llm", "model": model, "timeout": 10}

# Only texts below the threshold, or that look sarcastic, leave for the chat model.
classifier = create_classifier(backups=[backup], threshold=0.95)
result = classifier.classify("Oh great, another Monday. Just perfect.")

print(f"{result.final_label} ({result.confidence:.2f}), by {result.source}, because of {', '.join(result.reasons)}")
for attempt in result.attempts:
    print(f"    {attempt.by}: {attempt.label or attempt.error} {'(taken)' if attempt.accepted else ''}")
