# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SSH host keys that cloud-init prints on an instance's console at its first boot."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]{40,2000}={0,2})(?=\s|$)")


@dataclass(frozen=True)
class HostKey:
    """One public host key."""

    type: str
    key: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` and SSH clients show it."""
        digest = hashlib.sha256(base64.b64decode(self.key)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def as_dict(self) -> dict[str, str]:
        return {"type": self.type, "key": self.key, "fingerprint": self.fingerprint}


def host_keys(console: str) -> list[HostKey]:
    """The keys of the first complete block, in its order; an empty list while there is none.

    The first block: it was written before any evidence was attached. Whoever takes the host over later could write
    another one.
    """
    block = BLOCK.search(console.replace("\r", ""))
    if block is None:
        return []
    found = []
    for match in KEY.finditer(block.group(1)):
        kind, encoded = match.group(1), match.group(2)
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        # The blob repeats its type: a line cut or mixed by the serial console does not pass.
        if raw[4:4 + len(kind)] == kind.encode() and int.from_bytes(raw[:4], "big") == len(kind):
            found.append(HostKey(kind, encoded))
    return found
