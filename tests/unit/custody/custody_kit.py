# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A case in a folder, a key that signs, and what a forger without that key can do to them."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.custody import rsa
from ansible_collections.dfir.aws.plugins.module_utils.custody.canonical import canonical, digest, parsed
from ansible_collections.dfir.aws.plugins.module_utils.custody.ledger import Artifact, Ledger
from ansible_collections.dfir.aws.plugins.module_utils.custody.stores import FolderStore
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa as keys

INCIDENT = "INC-2026-0042"
ACTOR = {"kind": "cli", "name": "alice", "arn": "arn:aws:iam::123456789012:user/alice"}
TOOL = {"name": "dfir.aws", "version": "0.1.0"}


class Key:
    """An RSA key that signs as KMS does (a Signer), by another implementation than the one that checks."""

    def __init__(self, name: str, bits: int = 2048) -> None:
        self.name = f"arn:aws:kms:eu-west-1:123456789012:key/{name}"
        self.private = keys.generate_private_key(65537, bits)

    def public_key(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def pem(self) -> bytes:
        return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(self.public_key()) + b"-----END PUBLIC KEY-----\n"

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def read(self) -> rsa.PublicKey:
        return rsa.read_key(self.public_key())


@cache
def key(name: str = "one") -> Key:
    """A key that several tests share: to make one takes time."""
    return Key(name)


def told(number: int = 1, **other: Any) -> dict[str, Any]:
    """What somebody has to say."""
    return {"event": f"event-{number}", "phase": "record", "action": "note", "actor": ACTOR, "tool": TOOL,
            "result": "ok", "object": {"kind": "snapshot", "id": "snap-0123456789abcdef0", "sha256": None,
                                       "place": "eu-west-1"}, "details": {"number": number}, **other}


class Case:
    """A case in a folder."""

    def __init__(self, root: Path, incident: str = INCIDENT) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.incident = root, incident
        self.store = FolderStore(root)
        self.ledger = Ledger(self.store, incident)

    def artifact(self, name: str, content: bytes, number: int) -> dict[str, Any]:
        """Put an artifact into the case; returns what is to be recorded of it."""
        path = self.root / self.incident / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return told(number, action="artifact", object={
            "kind": "artifact", "id": f"{self.incident}/{name}", "sha256": hashlib.sha256(content).hexdigest(),
            "place": "bucket"})

    def fill(self, entries: int = 6, *, sign: bool = True) -> Case:
        """Entries, two of them about artifacts, signed in the middle and, if wanted, at the end."""
        for number in range(1, entries + 1):
            self.ledger.append(self.artifact(f"snap-1/a{number}.txt", b"content %d" % number, number)
                               if number in (2, 4) else told(number))
            if number == entries // 2 or (number == entries and sign):
                self.ledger.sign(key())
        return self

    def close(self) -> Case:
        """Close the case and sign."""
        names = self.store.names(f"{self.incident}/")
        found = [Artifact(name, *self.measured(name)) for name in names]
        self.ledger.close(found, ACTOR, TOOL)
        self.ledger.sign(key())
        return self

    def measured(self, name: str) -> tuple[int, str]:
        found = self.store.measure(name)
        assert found is not None
        return found

    def entry(self, number: int) -> Path:
        return self.root / f"custody/{self.incident}/entries/{number:09d}.json"

    def signature(self, number: int) -> Path:
        return self.root / f"custody/{self.incident}/signatures/{number:09d}.json"

    def change(self, number: int, **values: Any) -> None:
        """Rewrite an entry, in the right form."""
        path = self.entry(number)
        path.write_bytes(canonical({**parsed(path.read_bytes()), **values}))

    def rechain(self, begin: int = 1) -> None:
        """Number and chain all entries anew from one on, as a careful forger would."""
        folder = self.entry(1).parent
        bodies = [path.read_bytes() for path in sorted(folder.iterdir())]
        for path in list(folder.iterdir()):
            path.unlink()
        before = "0" * 64
        for number, body in enumerate(bodies, 1):
            new = canonical({**parsed(body), "number": number, "before": before}) if number >= begin else body
            self.entry(number).write_bytes(new)
            before = digest(new)
