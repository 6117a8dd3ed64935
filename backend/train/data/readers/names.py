"""Keys of samples from names of files."""

from __future__ import annotations

import hashlib
import re

LONGEST, DIGEST = 120, 12  # characters of a key, and of what tells apart keys that were cut


def key_of(*parts: object) -> str:
    """A key of letters, digits, - and _; the parts with hyphens between them, cut where it gets too long."""
    whole = "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", str(part)).strip("-") for part in parts)
    if len(whole) <= LONGEST:
        return whole
    return f"{whole[: LONGEST - DIGEST - 1]}-{hashlib.sha256(whole.encode()).hexdigest()[:DIGEST]}"
