"""Where a framework meets our code."""
