"""The cluster that stages measure on: a tenant namespace, both doors to it, the simulated model, and its processes."""
