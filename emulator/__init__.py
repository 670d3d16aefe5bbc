"""Twilio, emulated over its own wire protocol, with a page of phones."""
