"""A search engine of its own kind: it speaks SearXNG's JSON, and finds the addresses that a question names. Pure.

So a script decides what a search brings, as it decides everything else.
"""

import re
from typing import Any, Final

_ADDRESS: Final = re.compile(r"https?://[^\s()<>\"]+")

HITS_MAX: Final = 20


def search(question: str) -> dict[str, Any]:
    """Answer as SearXNG does: a hit for each address in the question, in order; without one, a hit of example.com."""
    addresses = list(dict.fromkeys(_ADDRESS.findall(question)))[:HITS_MAX] or ["https://example.com/"]
    words = " ".join(_ADDRESS.sub(" ", question).split()) or "nothing"
    hits = [
        {"url": address, "title": f"Result {number}", "content": f"About {words}.", "engine": "simulated"}
        for number, address in enumerate(addresses, start=1)
    ]
    return {"query": question, "number_of_results": 0, "results": hits, "answers": [], "suggestions": []}
