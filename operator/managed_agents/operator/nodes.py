"""Counts the cluster's nodes, by which the number of Pods that may start at once grows."""

import asyncio

import structlog

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import NODES
from managed_agents.operator.starts import Starts

INTERVAL_SECONDS = 60.0
"""A cluster that grows under load is noticed within a minute; the request reads one object's metadata."""


async def count_nodes(kube: Kube, starts: Starts) -> None:
    """Count at each interval until cancelled; without an answer the last number stands."""
    while True:
        try:
            starts.resize(await kube.count(NODES))
        except ManagedAgentsError as failure:
            structlog.get_logger().warning("nodes_not_counted", error=failure.message)
        await asyncio.sleep(INTERVAL_SECONDS)
