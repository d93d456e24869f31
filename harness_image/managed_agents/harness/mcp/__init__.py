"""MCP servers for a turn: a lean client of the methods that an agent needs, and the hand that it makes (docs/mcp.md).

Not the official package: importing its client costs a second of CPU and 30 MB in every harness (measured, mcp 2.3),
for its types come with the server side. Tests hold this client to real servers of it.
"""
