# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mails that the sink has written, for people (`status`) and tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path


@dataclass(frozen=True)
class Mail:
    """One stored mail. `sender` and `recipients` are the envelope's, not the header's."""

    number: int
    path: Path
    received: datetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    attachments: tuple[str, ...]
    message: EmailMessage


def list_mails(folder: Path) -> list[Mail]:
    """All mails in the folder, in the order in which they came; none when the folder is not there."""
    if not folder.is_dir():
        return []
    return sorted((read_mail(path) for path in folder.glob("[0-9]*.eml")), key=lambda mail: mail.number)


def read_mail(path: Path) -> Mail:
    """Parse one file that the sink wrote."""
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    if not isinstance(message, EmailMessage) or "X-Envelope-From" not in message:
        raise ValueError(f"{path} was not written by the lab's mail sink: it has no X-Envelope headers")
    body = message.get_body(preferencelist=("plain", "html"))
    return Mail(
        number=int(path.name.partition("-")[0]),
        path=path,
        received=datetime.fromisoformat(str(message["X-Envelope-Received"]).replace("Z", "+00:00")),
        sender=str(message["X-Envelope-From"]),
        recipients=tuple(str(value) for value in message.get_all("X-Envelope-To", [])),
        subject=str(message.get("Subject", "")),
        text=str(body.get_content()) if body is not None else "",
        attachments=tuple(part.get_filename() or "unnamed" for part in message.iter_attachments()),
        message=message,
    )
