# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with a ledger. Every message is a sentence for whoever started the run."""

from __future__ import annotations


class CustodyError(Exception):
    """Nothing was done; the sentence says why, and what to do."""


class BadInput(CustodyError):
    """What was asked for makes no sense."""


class StoreError(CustodyError):
    """The place where the ledger lies could not be read or written."""


class Conflict(CustodyError):
    """The ledger says something else already: it is never changed."""


class Closed(Conflict):
    """The case is closed, so its ledger is."""
