"""The hands: a supervisor that owns port and journal, and a runner that starts processes. Standard library only."""
