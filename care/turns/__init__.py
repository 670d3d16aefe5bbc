"""The way of one message: accept, turn, replies."""
