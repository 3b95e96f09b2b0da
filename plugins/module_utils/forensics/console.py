# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs of the toolbox image say: whole lines, at once, since a journal reads them."""

from __future__ import annotations

import sys


def tell(text: str, *, error: bool = False) -> None:
    """One line on standard output, or on standard error."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()
