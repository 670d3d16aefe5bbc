"""The action server: one module a capability. Actions decide and say; they write nothing, the turn does."""
