"""Campaigns: a protocol run for a cohort, and its contacts in time."""
