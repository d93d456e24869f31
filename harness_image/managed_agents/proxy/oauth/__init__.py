"""OAuth grants of a session's vaults: how their access tokens are renewed, and where a renewed one is kept."""
