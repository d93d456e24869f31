"""Agents, Environments and ModelProviders: what Sessions refer to. Pure cores and one thin reconciler."""
