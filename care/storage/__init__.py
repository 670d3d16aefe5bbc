"""The database: the truth about patients, messages, turns and escalations."""
