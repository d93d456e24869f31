"""The life cycle of a Session: observe, then one step a file, then apply."""
