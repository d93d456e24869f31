"""Enforces NetworkPolicies on a single node with nftables; standard library only, runs inside the node image."""
