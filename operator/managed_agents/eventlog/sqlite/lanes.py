"""A queue that serves its lanes in turn: who has much to do waits behind itself, not in front of everybody else."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """Items in lanes. Those of one lane leave in their order, and no lane gives a second before every other gave one.

    Adding and taking cost the same however many lanes and items there are.
    """

    __slots__ = ("_items", "_turns")

    def __init__(self) -> None:
        self._items: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, lane: str, item: T) -> None:
        """Put an item at the end of its lane; a lane that was empty is served last."""
        waiting = self._items.get(lane)
        if waiting is not None:
            waiting.append(item)
            return
        self._items[lane] = deque((item,))
        self._turns.append(lane)

    def take(self) -> T:
        """Take the oldest item of the lane whose turn it is. Raises: IndexError when there is none."""
        lane = self._turns.popleft()
        waiting = self._items[lane]
        item = waiting.popleft()
        if waiting:
            self._turns.append(lane)
        else:
            del self._items[lane]
        return item
