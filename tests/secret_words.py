# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must appear nowhere: in no output at any verbosity, no process, no tag, no user data and no artifact."""

from __future__ import annotations

from lab.aws.account import CONTROLLER
from lab.config import LabConfig


def secrets(lab: LabConfig) -> dict[str, list[str]]:
    """Each secret that a run handles, as pieces that the width of a line does not cut."""
    private = (lab.keys / "controller").read_text().splitlines()[1:-1]
    return {
        "the controller's AWS secret": [CONTROLLER[2][:24]],
        "the controller's private key": [line[at:at + 20] for line in private[2:4] for at in (0, 20, 40)],
        "the signature of an address": ["X-Amz-Signature=", "X-Amz-Credential="],
    }


def shown(lab: LabConfig, text: str) -> list[str]:
    """Which of them a text shows."""
    return [what for what, words in secrets(lab).items() if any(word in text for word in words)]
