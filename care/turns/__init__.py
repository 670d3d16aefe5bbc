"""The way of one message: store, accept, turn, replies."""
