"""Seeds of what is drawn."""

import hashlib
import json
from typing import Any


def derive_seed(*parts: Any) -> int:
    """A seed from plain values, the same in every process."""
    digest = hashlib.sha256(json.dumps(parts, default=int).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
