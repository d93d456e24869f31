"""Credentials that are environment variables: placeholders in the sandbox, values on the way out (docs/egress.md)."""
