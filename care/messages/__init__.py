"""Messages: the inbox that accepts, the outbox that sends."""
