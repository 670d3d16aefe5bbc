"""How good the service is at understanding and triage, measured on labelled messages: a table, JSON and a page."""
