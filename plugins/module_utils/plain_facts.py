# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let numbers and enumerations through, and nothing else.

An analysis host may run what it analyzes. What it writes is read on the controller and ends in mails and job output,
so it is reduced to words that can be nothing but words: no white space, no quotes, no braces, no escapes.
"""

from __future__ import annotations

import re
from typing import Any

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,199}")
DEPTH = 6
ITEMS = 5000


def numbers_and_words(value: Any, depth: int = DEPTH) -> Any:
    """The same structure with everything left out that is neither number, boolean, null nor a plain word."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if WORD.fullmatch(value) else None
    if depth <= 0:
        return None
    if isinstance(value, list):
        kept = [(item, numbers_and_words(item, depth - 1)) for item in value[:ITEMS]]
        return [clean for item, clean in kept if clean is not None or item is None]
    if isinstance(value, dict):
        pairs = list(value.items())[:ITEMS]
        return {key: numbers_and_words(item, depth - 1) for key, item in pairs
                if isinstance(key, str) and WORD.fullmatch(key)}
    return None
