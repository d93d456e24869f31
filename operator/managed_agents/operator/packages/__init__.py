"""Environment packages: installed once per hash by a Job and kept at the server (docs/packages.md)."""
