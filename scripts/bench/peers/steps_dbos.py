"""Durable steps of a DBOS workflow on SQLite: `steps_dbos.py FOLDER COUNT` prints their milliseconds as JSON.

Runs with the peers' interpreter, and imports nothing of ours.
"""

import importlib
import json
import logging
import sys
import time
from typing import Any


def main(folder: str, count: int) -> list[float]:
    """Run a workflow of that many steps, each of which returns a thousand characters."""
    dbos: Any = importlib.import_module("dbos")
    config = {"name": "bench", "system_database_url": f"sqlite:///{folder}/dbos.sqlite", "log_level": "ERROR"}
    dbos.DBOS(config=config)
    found: list[float] = []

    @dbos.DBOS.step()  # type: ignore[untyped-decorator] # a library that is not installed here
    def step(number: int) -> str:
        return f"{number:1000}"

    @dbos.DBOS.workflow()  # type: ignore[untyped-decorator] # as above
    def flow() -> int:
        for number in range(count):
            started = time.perf_counter()
            step(number)
            found.append((time.perf_counter() - started) * 1000)
        return count

    dbos.DBOS.launch()
    flow()
    dbos.DBOS.destroy()
    return found


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
