"""Event dictionaries as they stand in the log: types, and who may send which."""
