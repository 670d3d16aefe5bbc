"""The commands that are longer than a call."""
