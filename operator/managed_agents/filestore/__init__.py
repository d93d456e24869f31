"""Files: what clients upload and sessions leave behind. Contents lie on the volume, what is known of them in SQLite."""
