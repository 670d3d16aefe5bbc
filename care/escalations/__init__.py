"""Escalations: what a coordinator must act on, by when, and what came of it."""
