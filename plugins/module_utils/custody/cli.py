# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a case from the command line: `custody-verify FOLDER --key public.pem`. Needs nothing but Python."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import aws, rsa, stores
from . import verify as checking
from .errors import BadInput, CustodyError

CODES = {checking.VALID: 0, checking.INVALID: 1, checking.UNSIGNED: 3}
COULD_NOT = 2
MOST_KEY = 1 << 16


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="custody-verify", description="Check a case's custody ledger, its signatures and its artifacts.",
        epilog="Ends with 0 when everything fits, 1 when something does not, 2 when it could not be checked, 3 when "
               "the last entries are not signed.")
    parser.add_argument("case", help="the folder that holds 'custody/' and the incident's folder, or s3://BUCKET")
    parser.add_argument("--key", required=True, type=Path,
                        help="the public key, PEM or DER: from its owner, not from the case")
    parser.add_argument("--incident", help="which one, when there are several")
    parser.add_argument("--head", help="NUMBER:SHA256 of an entry, as somebody noted it outside the case")
    parser.add_argument("--ledger-only", action="store_true", help="do not read the artifacts")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        try:
            with given.key.open("rb") as file:
                key = rsa.read_key(file.read(MOST_KEY))
        except OSError as error:
            raise BadInput(f"The public key {given.key} cannot be read: {error.strerror}.") from error
        store = _store(given.case)
        verdict = checking.verify(store, given.incident or _only(store), key, artifacts=not given.ledger_only,
                                  noted=checking.Noted.read(given.head) if given.head else None)
    except CustodyError as error:
        if given.json:
            _say(json.dumps({"state": "unknown", "problem": str(error)}))
        else:
            sys.stderr.write(f"{error}\n")
        return COULD_NOT
    if given.json:
        _say(json.dumps(checking.as_data(verdict), indent=1))
    else:
        _say("\n".join([*checking.lines(verdict), f"Key: SHA-256 {key.fingerprint}"]))
    return CODES[verdict.state]


def run() -> None:
    """Entry point of the stand-alone file."""
    raise SystemExit(main())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _store(case: str) -> stores.Store:
    if not case.startswith("s3://"):
        return stores.FolderStore(Path(case))
    aws.need_boto3()
    import boto3

    client: Any = boto3.client("s3")
    return aws.BucketStore(client, case.removeprefix("s3://").rstrip("/"))


def _only(store: stores.Store) -> str:
    found = sorted({name.split("/")[1] for name in store.names(stores.ROOT) if name.count("/") > 1})
    if len(found) != 1:
        raise BadInput(f"There are {len(found)} incidents in {store.place(stores.ROOT)}: name one with --incident.")
    return found[0]
