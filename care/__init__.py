"""The domain core: patients, consent, protocols, campaigns, turns, red flags, triage, escalations, knowledge, audit."""
