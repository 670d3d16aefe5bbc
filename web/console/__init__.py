"""The coordinators' console: server-rendered, and live where script runs."""
