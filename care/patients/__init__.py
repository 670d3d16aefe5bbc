"""Patients: who they are, how they are found, what they agreed to."""
