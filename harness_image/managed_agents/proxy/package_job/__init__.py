"""Our two containers in a Job that installs packages: its network, and the way of its archive (docs/packages.md)."""
