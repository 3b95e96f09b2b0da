# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SMTP server that delivers nowhere: each mail becomes one file that people and tests can read."""

from __future__ import annotations

import re
import threading
from datetime import datetime, timezone
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from lab.contracts import Fault, Faults

HOSTNAME = "mail.lab.invalid"
MAX_SIZE = 32 * 1024 * 1024
FAULT_ATTRIBUTE = "lab_fault"  # a session remembers the fault that it met


class Sink:
    """Accepts every mail and writes it to `folder` as `<number>-<UTC time>-<subject>.eml`.

    The fault `smtp.refuse` refuses one whole connection. Its args: `stage` (connect, helo, mail, rcpt or data;
    default rcpt), `code` (default 550) and `text`.
    """

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.folder = folder
        self.serving = False
        self._faults = faults
        self._controller: Controller | None = None
        self._lock = threading.Lock()

    def start(self, host: str, port: int) -> None:
        """Listen on `host`:`port`, in a thread of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        controller = _Controller(self, host, port)
        controller.start()
        self._controller = controller
        self.serving = True  # only now: the controller's first connection is its own, and takes no fault

    @property
    def port(self) -> int:
        """The port really listened on (useful when started on port 0)."""
        if self._controller is None or self._controller.server is None:
            raise RuntimeError("the mail sink is not running: call start() first")
        return int(self._controller.server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Stop listening. Stopping a sink that does not run is fine."""
        self.serving = False
        controller, self._controller = self._controller, None
        if controller is not None:
            controller.stop()

    def refusal(self, session: Session) -> Fault | None:
        """The fault that this connection meets, if one is armed."""
        if not self.serving:
            return None
        return self._faults.take("smtp.refuse", peer=str(session.peer[0] if session.peer else ""))

    def store(self, envelope: Envelope, peer: str) -> Path:
        """Write one mail; it appears complete or not at all, and never replaces an earlier one."""
        now = datetime.now(timezone.utc)
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content or "").encode()
        headers = [("X-Envelope-From", envelope.mail_from or "<>")]
        headers += [("X-Envelope-To", recipient) for recipient in envelope.rcpt_tos]
        headers += [("X-Envelope-Peer", peer), ("X-Envelope-Received", now.strftime("%Y-%m-%dT%H:%M:%SZ"))]
        head = "".join(f"{name}: {_one_line(value)}\n" for name, value in headers).encode()
        content = content.replace(b"\r\n", b"\n")  # lines as text tools on this machine expect them
        subject = str(message_from_bytes(content, policy=policy.default).get("Subject", ""))
        with self._lock:
            number = 1 + max((_number(path) for path in self.folder.glob("*.eml")), default=0)
            target = self.folder / f"{number:04d}-{now:%Y%m%dT%H%M%SZ}-{_slug(subject)}.eml"
            partial = target.with_name(f".partial-{target.name}")
            partial.write_bytes(head + content)
            partial.rename(target)
        return target


def _one_line(value: str) -> str:
    """An envelope address is the client's text: it must not start a header of its own."""
    return re.sub(r"[^\x21-\x7e]", "?", value)


def _slug(subject: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", subject).strip("-")[:60] or "no-subject"


def _number(path: Path) -> int:
    head = path.name.partition("-")[0]
    return int(head) if head.isdecimal() else 0


def _answer(fault: Fault) -> str:
    text = str(fault.args.get("text") or "refused by the lab (fault smtp.refuse)")
    return f"{int(fault.args.get('code') or 550)} {_line(text)}"


def _line(text: str) -> str:
    return re.sub(r"[\r\n]+", " ", text)


class _Controller(Controller):
    def __init__(self, sink: Sink, host: str, port: int) -> None:
        super().__init__(_Handler(sink), hostname=host, port=port, server_hostname=HOSTNAME,
                         data_size_limit=MAX_SIZE, ident="lab mail sink")
        self._sink = sink

    def factory(self) -> SMTP:
        return _Smtp(self._sink, self.handler, hostname=HOSTNAME, data_size_limit=MAX_SIZE, enable_SMTPUTF8=True,
                     ident="lab mail sink", loop=self.loop)

    def _trigger_server(self) -> None:
        if self.port == 0:  # any free port: the base class would connect to 0
            self.port = int(self.server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
        super()._trigger_server()


class _Smtp(SMTP):
    """The library's server, plus a fault asked for once a connection."""

    def __init__(self, sink: Sink, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sink = sink

    async def _handle_client(self) -> None:
        session = self.session
        if session is None or self.transport is None:
            return
        fault = self._sink.refusal(session)
        setattr(session, FAULT_ATTRIBUTE, fault)
        if fault is not None and fault.args.get("stage") == "connect":
            await self.push(_answer(fault))
            self.transport.close()
            return
        await super()._handle_client()


class _Handler:
    """aiosmtpd calls these by name; each refuses when the connection's fault names its stage."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    @staticmethod
    def _refusal(session: Session, stage: str) -> str | None:
        fault: Fault | None = getattr(session, FAULT_ATTRIBUTE, None)
        if fault is None or str(fault.args.get("stage") or "rcpt") != stage:
            return None
        return _answer(fault)

    async def handle_HELO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str) -> str:
        session.host_name = hostname
        return self._refusal(session, "helo") or f"250 {HOSTNAME}"

    async def handle_EHLO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str,
                          responses: list[str]) -> list[str]:
        refused = self._refusal(session, "helo")
        session.host_name = hostname
        return [refused] if refused else responses

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str,
                          options: list[str]) -> str:
        refused = self._refusal(session, "mail")
        if refused:
            return refused
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str,
                          options: list[str]) -> str:
        refused = self._refusal(session, "rcpt")
        if refused:
            return refused
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        refused = self._refusal(session, "data")
        if refused:
            return refused
        peer = str(session.peer[0]) if session.peer else ""
        stored = self._sink.store(envelope, peer)
        return f"250 OK: stored as {stored.name.partition('-')[0]}"
