"""The file tools, equal to those of `anthropic.lib.tools.agent_toolset` (tests/contract/sandbox holds them to it)."""
