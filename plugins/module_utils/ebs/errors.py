# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, sorted by what to do about it.

Every message is a sentence for the person who started the run. `Transient` and its kinds are tried again, a bounded
number of times; everything else ends the run at once.
"""

from __future__ import annotations

from collections.abc import Sequence


class EngineError(Exception):
    """The run cannot go on. `failed_blocks`: indexes of the blocks that could not be had, the first cause first."""

    failed_blocks: Sequence[int] = ()


class BadInput(EngineError):
    """What was asked for makes no sense, or must be cleared up first; nothing was begun."""


class Missing(EngineError):
    """Python lacks a package that is needed for what was asked."""


class Cancelled(EngineError):
    """Somebody asked the run to end. What was got is kept for a resume."""


class CredentialsError(EngineError):
    """No credentials, or they ended and nobody renewed them."""


class CertificateError(EngineError):
    """The other side cannot prove who it is."""


class Refused(EngineError):
    """AWS said no, and will say it again: rights, keys, validation. `code` and `reason` are AWS's own words."""

    def __init__(self, message: str, code: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class SnapshotGone(Refused):
    """The snapshot does not exist (any more), or is no longer shared with this account."""


class NotImageable(Refused):
    """The snapshot exists, but EBS direct cannot read it in its present state."""


class ProtocolError(EngineError):
    """An answer that AWS documents otherwise: it is not believed."""


class Exhausted(EngineError):
    """A request failed as often as it may. The cause is chained (`__cause__`)."""


class SinkError(EngineError):
    """A target refused to take or to give back what was written: disk full, device error, bucket policy."""


class ManifestError(EngineError):
    """A manifest is damaged, incomplete, or of another snapshot."""


class SegmentError(EngineError):
    """A segment is damaged or of another snapshot."""


class Mismatch(EngineError):
    """What is stored is not what its manifest says. `failed_blocks` names the blocks."""


class Transient(EngineError):
    """One request failed in a way that a fresh request may cure. `kind` is counted in the manifest."""

    kind = "transient"


class Throttled(Transient):
    """A quota is used up: of the account in the region (ThrottlingException), or of one snapshot
    (RequestThrottledException)."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind  # throttled_account | throttled_snapshot


class ServerFault(Transient):
    """5xx."""

    kind = "server_error"


class ConnectionLost(Transient):
    """Reset, refused, closed within an answer."""

    kind = "connection_lost"


class TimedOut(Transient):
    """Nothing came for too long."""

    kind = "timed_out"


class CorruptBlock(Transient):
    """Length, algorithm or digest of a block are not what the answer says of it."""

    kind = "corrupt"


class TokenExpired(Transient):
    """A page or block token is not valid any more: list again, then ask with the new one."""

    kind = "token_expired"


class CredentialsExpired(Transient):
    """The credentials of a request had ended: ask for fresh ones."""

    kind = "credentials_expired"


class ClockSkewed(Transient):
    """This machine's clock is wrong by minutes: sign with the time that AWS' answer states."""

    kind = "clock_skewed"
