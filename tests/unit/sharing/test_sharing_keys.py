# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What KMS' answers to dry runs mean: yes, no, or nothing at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.sharing import keys
from ansible_collections.dfir.aws.plugins.module_utils.sharing.words import (
    NOT_CHECKABLE,
    OK,
    OPEN,
    REFUSED,
    SEAL,
    refusal,
)
from botocore.exceptions import ClientError, ParamValidationError

MEMBER, FORENSIC = "210987654321", "123456789012"
KEY = f"arn:aws:kms:eu-west-1:{MEMBER}:key/0"
WHO = f"arn:aws:iam::{FORENSIC}:user/dfir-controller"
BY_KEY = f"User: {WHO} is not authorized to perform: it on resource: {KEY} because no resource-based policy allows it"
BY_IDENTITY = f"User: {WHO} is not authorized to perform: it because no identity-based policy allows it"
DENY = f"User: {WHO} is not authorized to perform: it with an explicit deny in a resource-based policy"


def error(code: str, message: str = "as AWS says it") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Decrypt")


@pytest.mark.parametrize(("answer", "action", "tied", "wanted"), [
    (None, "kms:DescribeKey", [], OK),
    (error("DryRunOperationException"), "kms:Decrypt", [], OK),
    (error("AccessDeniedException", BY_KEY), "kms:Decrypt", [], REFUSED),
    (error("AccessDeniedException", DENY), "kms:Decrypt", [], REFUSED),
    # The usual policy of a key ties grants, and nothing else, to AWS' services.
    (error("AccessDeniedException", BY_KEY), "kms:Decrypt", ["kms:creategrant"], REFUSED),
    (error("AccessDeniedException", BY_KEY), "kms:CreateGrant", ["kms:creategrant"], NOT_CHECKABLE),
    (error("AccessDeniedException", BY_KEY), "kms:GenerateDataKeyWithoutPlaintext", ["kms:generate*"], NOT_CHECKABLE),
    (error("AccessDeniedException", BY_KEY), "kms:Decrypt", None, NOT_CHECKABLE),
    (error("AccessDeniedException", BY_IDENTITY), "kms:Decrypt", [], NOT_CHECKABLE),
    (error("DisabledException"), "kms:Decrypt", [], REFUSED),
    (error("KMSInvalidStateException"), "kms:Decrypt", None, REFUSED),
    (error("ThrottlingException"), "kms:Decrypt", [], NOT_CHECKABLE),
    (error("InvalidCiphertextException"), "kms:Decrypt", [], NOT_CHECKABLE),
    (ParamValidationError(report="Unknown parameter in input: DryRun"), "kms:Decrypt", [], NOT_CHECKABLE),
])
def test_p35_what_an_answer_means(answer: Exception | None, action: str, tied: list[str] | None, wanted: str) -> None:
    said, why = keys.verdict(answer, action, tied)
    assert said == wanted and bool(why) == (wanted != OK)


class Kms:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, []

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.asked.append((name, arguments))
            answer = self.answers.get(name, error("DryRunOperationException"))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def about(**more: Any) -> Kms:
    return Kms(describe_key={"KeyMetadata": {"Arn": KEY, "KeyManager": "CUSTOMER", "KeyState": "Enabled", **more}})


@pytest.mark.parametrize(("more", "words"), [
    ({}, ""), ({"KeyState": "Disabled"}, "is Disabled"), ({"KeyState": "PendingDeletion"}, "is PendingDeletion"),
    ({"KeyState": "PendingImport"}, "is PendingImport"), ({"KeyUsage": "SIGN_VERIFY"}, "is for SIGN_VERIFY"),
    ({"KeySpec": "RSA_2048"}, "RSA_2048"),
])
def test_the_state_of_a_key_is_known_before_it_is_used(more: dict[str, str], words: str) -> None:
    found = keys.look(about(**more), KEY)
    assert found["known"] and found["account"] == MEMBER and words in found["problem"]
    assert bool(found["problem"]) == bool(words)


def test_a_key_that_may_not_be_looked_at_is_unknown_and_no_problem() -> None:
    found = keys.look(Kms(describe_key=error("AccessDeniedException", BY_KEY)), KEY)
    assert (found["known"], found["problem"], found["account"]) == (False, "", MEMBER) and BY_KEY in found["why"]


def test_an_alias_that_is_not_there_is_a_problem() -> None:
    found = keys.look(Kms(describe_key=error("NotFoundException")), "alias/gone")
    assert "There is no key alias/gone" in found["problem"]


def test_every_question_is_a_dry_run_and_one_that_cannot_be_asked_is_said() -> None:
    kms = about()
    found = keys.check(kms, KEY, purpose=OPEN, account=FORENSIC, principal=WHO, tied=[])
    assert {one["action"]: one["verdict"] for one in found} == {
        "kms:DescribeKey": OK, "kms:CreateGrant": OK, "kms:Decrypt": NOT_CHECKABLE, "kms:ReEncryptFrom": NOT_CHECKABLE}
    assert all(arguments.get("DryRun") for name, arguments in kms.asked if name != "describe_key")
    kms = about()
    found = keys.check(kms, KEY, purpose=SEAL, account=FORENSIC, principal=WHO, tied=[])
    assert keys.all_ok(found, SEAL, KEY, FORENSIC) and not keys.all_ok(found, OPEN, KEY, FORENSIC)
    assert not keys.refused(found, SEAL, KEY, FORENSIC)


def test_one_refusal_is_enough_and_has_the_sentence_that_comes_later_too() -> None:
    kms = Kms(decrypt=error("AccessDeniedException", BY_KEY), describe_key={})
    found = keys.check(kms, KEY, purpose=OPEN, account=FORENSIC, principal=WHO, tied=[], ciphertext=b"x")
    assert keys.refused(found, OPEN, KEY, FORENSIC) == refusal(OPEN, KEY, FORENSIC)
    assert not keys.refused(found, OPEN, KEY, MEMBER) and not keys.refused(found, SEAL, KEY, FORENSIC)


@pytest.mark.parametrize(("policy", "tied"), [
    ({"Statement": [{"Effect": "Allow", "Action": "kms:*"}]}, []),
    ({"Statement": {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:CreateGrant"],
                    "Condition": {"StringEquals": {"kms:ViaService": "ec2.eu-west-1.amazonaws.com"}}}},
     ["kms:decrypt", "kms:creategrant"]),
    ({"Statement": [{"Effect": "Allow", "Action": "kms:CreateGrant",
                     "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}]}, ["kms:creategrant"]),
    ({"Statement": [{"Effect": "Allow", "Action": "kms:*", "Condition": {"StringEquals": {"kms:CallerAccount": "1"}}}]},
     []),
])
def test_what_a_policy_ties_to_services(policy: dict[str, Any], tied: list[str]) -> None:
    assert keys.policy_of(Kms(get_key_policy={"Policy": json.dumps(policy)}), KEY) == tied


@pytest.mark.parametrize("answer", [error("AccessDeniedException"), {"Policy": "no JSON"}, {"Policy": "[]"}, {}])
def test_a_policy_that_cannot_be_read_says_nothing(answer: Any) -> None:
    assert keys.policy_of(Kms(get_key_policy=answer), KEY) is None
