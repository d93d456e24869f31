"""The append-only event log: one Protocol, a file per backend."""
