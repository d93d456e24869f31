"""Hands: what a turn can act on, each behind one protocol (design §6)."""
