"""Warm pools: blank harnesses and sandboxes, kept ready before a session needs one."""
