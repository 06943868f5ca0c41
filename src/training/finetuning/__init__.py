"""Fine-tuning of a pretrained base by the Hugging Face Trainer: loss, checkpoints, alarms, averaged weights."""
