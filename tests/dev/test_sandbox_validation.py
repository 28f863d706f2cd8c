"""Every refusal of the sandbox stands beside the mail that differs only in being right."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.dev.sandbox import SandboxSettings
from outreach.dev.sandbox.app import Sandbox
from outreach.dev.sandbox.validation import problems_of, recipients_of
from outreach.dev.sandbox.wire import Answer, Request
from tests.dev.sandbox_support import HEADERS, SEND, mail_to

NOW = 1_764_000_000.0
Change = Callable[[dict[str, Any]], object]


def person(mail: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = mail["personalizations"][0]
    return first


def put(**fields: Any) -> Change:
    return lambda mail: mail.update(fields)


def put_person(**fields: Any) -> Change:
    return lambda mail: person(mail).update(fields)


def people(count: int) -> list[dict[str, Any]]:
    return [{"to": [{"email": f"p{n}@cust.example"}], "subject": "Hi"} for n in range(count)]


HTML_FIRST = [{"type": "text/html", "value": "<p>Hi"}, {"type": "text/plain", "value": "Hi"}]
TWICE = [{"email": "sam@cust.example"}, {"email": "SAM@cust.example"}]
TWO = [{"email": "sam@cust.example"}, {"email": "pat@cust.example"}]
MODE = {"sandbox_mode": {"enable": True}}

CASES: list[tuple[str, Change, Change, str | None]] = [
    ("personalizations", put(personalizations=people(1)), put(personalizations=[]), "pers"),
    ("recipients", put(personalizations=people(1000)), put(personalizations=people(1001)), "pers"),
    ("to", put_person(to=TWO), put_person(to=[]), "personalizations.0.to"),
    ("to twice", put_person(to=TWO), put_person(to=TWICE), "personalizations.0"),
    ("cc", put_person(cc=TWO[1:]), put_person(cc=TWO[:1]), "personalizations.0"),
    ("address", put_person(to=TWO), put_person(to=[{"email": "sam"}]), "personalizations.0.to.0"),
    ("from", put(**{"from": {"email": "a@b.example"}}), put(**{"from": {}}), "from.email"),
    ("no from", put(), lambda mail: mail.pop("from"), "from.email"),
    ("subject", put(subject="Hi"), lambda mail: person(mail).pop("subject"), "subject"),
    ("empty subject", put_person(subject="H"), put_person(subject=""), "personalizations.0.subj"),
    ("content", put(content=HTML_FIRST[::-1]), put(content=HTML_FIRST), "content"),
    (
        "content value",
        put(content=[{"type": "text/plain", "value": "x"}]),
        put(content=[{"type": "text/plain", "value": ""}]),
        "content.0.value",
    ),
    ("no content", put(content=[], template_id="d-1"), put(content=[]), "content"),
    ("args", put_person(custom_args={"a": "1"}), put_person(custom_args={"a": 1}), None),
    (
        "args size",
        put_person(custom_args={"a": "x" * 9998}),
        put_person(custom_args={"a": "x" * 9999}),
        "personalizations.0.custom_args",
    ),
    ("headers", put(headers={"X-A": "1"}), put(headers={"Reply-To": "a@b.example"}), "headers"),
    (
        "reserved",
        put_person(headers={"Message-ID": "<a@b>"}),
        put_person(headers={"DKIM-Signature": "v=1"}),
        "personalizations.0.headers",
    ),
    ("header value", put(headers={"X-A": "1"}), put(headers={"X-A": 1}), "headers"),
    (
        "reply_to",
        lambda mail: mail.update(reply_to_list=[mail.pop("reply_to")]),
        put(reply_to_list=[{"email": "a@b.example"}]),
        "reply_to",
    ),
    (
        "reply_to_list",
        lambda mail: mail.update(reply_to_list=[mail.pop("reply_to")]),
        lambda mail: mail.update(reply_to_list=[{"email": mail.pop("reply_to")["email"][5:]}]),
        "reply_to_list.0",
    ),
    ("send_at", put(send_at=int(NOW) + 72 * 3600), put(send_at=int(NOW) + 72 * 3600 + 1), "send"),
    ("send_at in ms", put(send_at=int(NOW)), put(send_at=int(NOW) * 1000), "send_at"),
    ("send_at past", put(send_at=1), put(send_at="1"), "send_at"),
    ("categories", put(categories=["a", "b"]), put(categories=["a", "a"]), "categories"),
    ("ten", put(categories=list("abcdefghij")), put(categories=list("abcdefghijk")), "categories"),
    ("ascii", put(categories=["e"]), put(categories=["é"]), "categories"),
    (
        "enable",
        put(mail_settings=MODE),
        put(mail_settings={"sandbox_mode": {"enable": "true"}}),
        "mail_settings.sandbox_mode.enable",
    ),
]


@pytest.mark.parametrize(
    ("good", "bad", "field"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_refused_names_its_field_and_what_is_right_passes(
    good: Change, bad: Change, field: str | None
) -> None:
    mail = mail_to()
    good(mail)
    assert problems_of(mail, NOW) == []
    mail = mail_to()
    bad(mail)
    problems = problems_of(mail, NOW)
    assert problems
    assert all(set(problem) == {"message", "field", "help"} for problem in problems)
    if field is None:
        assert problems == [{"message": "Bad Request", "field": None, "help": None}]
    else:
        assert any(str(problem["field"]).startswith(field) for problem in problems)


def test_all_problems_come_at_once() -> None:
    mail = mail_to()
    mail.update(content=HTML_FIRST, headers={"To": "x"}, categories=["a", "a"])
    fields = {problem["field"] for problem in problems_of(mail, NOW)}
    assert fields == {"content", "headers", "categories"}


@pytest.mark.parametrize("nonsense", [None, [], "x", 1, {}, {"personalizations": [None]}])
def test_nonsense_is_refused_without_a_crash(nonsense: Any) -> None:
    assert problems_of(nonsense, NOW)
    assert recipients_of(nonsense) == []


@pytest.mark.parametrize("key", ["from", "reply_to", "personalizations", "content", "categories"])
@pytest.mark.parametrize("value", [0, "x", [0], {"a": 0}, True])
def test_a_field_of_the_wrong_kind_is_refused_without_a_crash(key: str, value: Any) -> None:
    mail = mail_to()
    mail[key] = value
    assert problems_of(mail, NOW)
    recipients_of(mail)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["to", "email", "enable", "value", "type"]), inner)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "from",
        "reply_to",
        "reply_to_list",
        "personalizations",
        "content",
        "headers",
        "categories",
        "custom_args",
        "subject",
        "send_at",
        "template_id",
        "mail_settings",
        "tracking_settings",
    ]
)
INNER = st.sampled_from(["to", "cc", "bcc", "subject", "headers", "custom_args", "send_at"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(FIELDS, JSON, max_size=3), st.dictionaries(INNER, JSON, max_size=2))
def test_any_json_at_all_is_answered(outer: dict[str, Any], inner: dict[str, Any]) -> None:
    mail = mail_to()
    person(mail).update(inner)
    mail.update(outer)
    sandbox = Sandbox(SandboxSettings("http://127.0.0.1:9/"))
    headers = {"authorization": HEADERS["Authorization"], "content-type": "application/json"}
    answer = sandbox.handle(Request("POST", SEND, "", headers, orjson.dumps(mail), 1.0, NOW))
    assert isinstance(answer, Answer)
    assert answer.status in (200, 202, 400)
    assert sandbox.ledger.accepted_total == (answer.status == 202)
