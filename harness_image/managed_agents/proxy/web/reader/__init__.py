"""Text of what somebody else wrote, in a process of its own that has little memory, little time and no files.

Standard library and pypdf only, both in Python: the proxy's container holds keys, and no C parser beyond Python's own
meets a hostile page there. lxml, and trafilatura on it, would also cost 16 and 36 MiB against 10 MiB of `html.parser`.
"""
