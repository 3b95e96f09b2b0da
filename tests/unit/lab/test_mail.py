# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mail sink, spoken to by a real SMTP client."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from lab.contracts import Fault
from lab.mail.reader import list_mails, read_mail
from lab.mail.sink import Sink


class OneFault:
    """Arms one fault for a number of connections."""

    def __init__(self) -> None:
        self.times = 0
        self.args: dict[str, Any] = {}

    def take(self, name: str, **context: Any) -> Fault | None:
        if name != "smtp.refuse" or self.times == 0:
            return None
        self.times -= 1
        return Fault(name, self.args)


@pytest.fixture
def faults() -> OneFault:
    return OneFault()


@pytest.fixture
def sink(tmp_path: Path, faults: OneFault) -> Iterator[Sink]:
    running = Sink(tmp_path / "mails", faults)
    running.start("127.0.0.1", 0)
    yield running
    running.stop()


def message(subject: str = "Analysis ready: INC-1", text: str = "connect with ssh\n") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "dfir@example.org"
    mail["To"] = "alice@example.org"
    mail["Subject"] = subject
    mail.set_content(text)
    return mail


def send(sink: Sink, mail: EmailMessage, recipients: list[str] | None = None) -> None:
    with smtplib.SMTP("127.0.0.1", sink.port, timeout=10) as client:
        client.send_message(mail, from_addr="bounce@example.org", to_addrs=recipients or ["alice@example.org"])


def test_a_mail_becomes_a_file_with_its_envelope(sink: Sink) -> None:
    mail = message()
    mail.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="facts.bin")
    send(sink, mail, ["alice@example.org", "hidden@example.org"])
    [found] = list_mails(sink.folder)
    assert found.number == 1
    assert found.path.name.startswith("0001-") and found.path.name.endswith("Z-Analysis-ready-INC-1.eml")
    assert found.sender == "bounce@example.org"
    assert found.recipients == ("alice@example.org", "hidden@example.org")
    assert found.subject == "Analysis ready: INC-1"
    assert found.text == "connect with ssh\n"
    assert found.attachments == ("facts.bin",)
    assert found.received.utcoffset() is not None


def test_mails_keep_their_order_also_after_a_restart(sink: Sink, faults: OneFault) -> None:
    for subject in ("one", "two"):
        send(sink, message(subject))
    sink.stop()
    sink.start("127.0.0.1", 0)
    send(sink, message("three"))
    assert [(mail.number, mail.subject) for mail in list_mails(sink.folder)] == [(1, "one"), (2, "two"), (3, "three")]


def test_a_hostile_subject_stays_inside_the_folder(sink: Sink) -> None:
    send(sink, message("../../etc/cron.d/x; $(reboot) \u00fc" + "a" * 300))
    [path] = sink.folder.iterdir()
    assert path.parent == sink.folder and len(path.name) < 100
    assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
    assert read_mail(path).subject.startswith("../../etc/cron.d/x")


@pytest.mark.parametrize("stage", ["connect", "helo", "mail", "rcpt", "data"])
def test_p32_a_refusing_server_refuses_once_and_then_accepts(sink: Sink, faults: OneFault, stage: str) -> None:
    faults.times, faults.args = 1, {"stage": stage, "code": 452, "text": "disk\r\nfull"}
    with pytest.raises(smtplib.SMTPException) as raised:
        send(sink, message())
    assert "452" in str(raised.value) and "disk full" in str(raised.value)
    assert list_mails(sink.folder) == []
    send(sink, message())
    assert len(list_mails(sink.folder)) == 1


def test_starting_the_sink_takes_no_fault(tmp_path: Path, faults: OneFault) -> None:
    faults.times = 1
    other = Sink(tmp_path / "other", faults)
    other.start("127.0.0.1", 0)
    try:
        assert faults.times == 1
    finally:
        other.stop()
    other.stop()


def test_a_file_that_is_no_mail_of_the_sink_is_refused(tmp_path: Path) -> None:
    stray = tmp_path / "0001-stray.eml"
    stray.write_text("Subject: hello\n\nbody\n")
    with pytest.raises(ValueError, match="not written by the lab's mail sink"):
        read_mail(stray)
