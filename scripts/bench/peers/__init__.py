"""Peers side by side with us, in an environment of their own, kept in the user's cache folder."""
