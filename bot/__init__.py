"""The Rasa dialogue manager: what patients are asked and told."""
