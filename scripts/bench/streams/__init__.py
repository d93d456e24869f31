"""B7, B8, B9: many streams of one server on loopback, beside a raw asyncio server that does no more than it must."""
