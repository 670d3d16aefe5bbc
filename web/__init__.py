"""The edge: webhooks, web chat, console, API."""
