# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's mail server got of a case, as JSON for a scenario: `python -m tests.scenarios.mails INCIDENT`."""

from __future__ import annotations

import json
import sys

from lab.config import load
from lab.mail.reader import list_mails


def main(incident: str) -> None:
    """Print a list: of each mail its kind, subject, recipients, and its text in one line."""
    print(json.dumps([
        {"kind": mail.message["X-DFIR-Mail"], "subject": mail.subject, "recipients": sorted(mail.recipients),
         "text": " ".join(mail.text.split())}
        for mail in list_mails(load().mails) if incident in mail.subject]))


if __name__ == "__main__":
    main(sys.argv[1])
