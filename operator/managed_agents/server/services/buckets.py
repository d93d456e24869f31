"""Token buckets: how often somebody may do something, for one and for many whom nobody has listed before."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Holds `per_minute` tokens and refills evenly."""

    per_minute: int
    tokens: float
    at: float

    def take(self, now: float) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        self.tokens = min(float(self.per_minute), self.tokens + (now - self.at) * self.per_minute / 60)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) * 60 / self.per_minute


@dataclass(slots=True)
class Buckets:
    """A bucket for each key. Beyond `keys_max` the one that was silent longest is forgotten: it begins full again."""

    keys_max: int
    _buckets: OrderedDict[Hashable, TokenBucket] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, per_minute: int, now: float) -> float:
        """Take a token of a key; return 0, or the seconds until there is one."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(per_minute, float(per_minute), now)
            if len(self._buckets) > self.keys_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.take(now)
