"""Repositories that the session has a token for: git and the REST API of their host, for its sandbox."""
