"""SendGrid's words become ours, whatever else a body holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.delivery import DropReason
from outreach.core.provider_events import (
    AccountEvent,
    BadEvent,
    ProviderEvent,
    read_event,
)
from outreach.core.states import EventType
from outreach.core.webhook_body import DEPTH_MAX, EVENTS_MAX, BadBody, read_body, storable

TENANT = "0192f0c4-7b1e-7c7d-9d0e-2f5f0b0f9a10"
MESSAGE = "6f1d7c2e-0b7a-5c7e-9a53-6d1f0e1f7a11"

BASE: dict[str, Any] = {
    "email": "sam@cust.example",
    "timestamp": 1764000001,
    "sg_event_id": "cHJvY2Vzc2Vk",
    "sg_message_id": "Xj5LmN.recvd-85abf8d92c-3qfgp-1-6923C0A1-2F.0",
    "outreach_tenant": TENANT,
    "outreach_message_id": MESSAGE,
    "outreach_attempt": "2",
}


def read(**fields: object) -> ProviderEvent:
    event = read_event(BASE | fields)
    assert isinstance(event, ProviderEvent)
    return event


def bad(element: object) -> str:
    event = read_event(element)
    assert isinstance(event, BadEvent)
    return event.reason


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event": "processed"}, EventType.PROCESSED),
        ({"event": "deferred", "attempt": "1"}, EventType.DEFERRED),
        ({"event": "delivered", "tls": 1}, EventType.DELIVERED),
        ({"event": "bounce", "type": "bounce"}, EventType.BOUNCED),
        ({"event": "bounce"}, EventType.BOUNCED),
        ({"event": "bounce", "type": "blocked"}, EventType.BLOCKED),
        ({"event": "bounce", "type": "expired"}, EventType.BLOCKED),
        ({"event": "dropped"}, EventType.DROPPED),
        ({"event": "open"}, EventType.OPENED),
        ({"event": "click", "url": "https://acme.example/"}, EventType.CLICKED),
        ({"event": "spamreport"}, EventType.SPAM_REPORT),
        ({"event": "unsubscribe"}, EventType.UNSUBSCRIBED),
        ({"event": "group_unsubscribe", "asm_group_id": 10}, EventType.GROUP_UNSUBSCRIBED),
        ({"event": "group_resubscribe"}, EventType.GROUP_RESUBSCRIBED),
    ],
)
def test_every_event_has_our_word(fields: dict[str, Any], expected: EventType) -> None:
    event = read(**fields)
    assert event.type is expected
    assert event.at == datetime(2025, 11, 24, 16, 0, 1, tzinfo=UTC)
    assert (event.tenant_id, event.message_id, event.attempt) == (UUID(TENANT), UUID(MESSAGE), 2)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Bounced Address", DropReason.BOUNCED),
        ("Unsubscribed Address", DropReason.UNSUBSCRIBED),
        ("Spam Reporting Address", DropReason.SPAM_REPORT),
        ("Invalid", DropReason.INVALID),
        (" invalid address ", DropReason.INVALID),
        ("Spam Content", DropReason.OTHER),
        ("Recipient List over Package Quota", DropReason.OTHER),
        (None, DropReason.OTHER),
        (7, DropReason.OTHER),
    ],
)
def test_a_drop_is_called_by_its_reason(words: object, reason: DropReason) -> None:
    assert read(event="dropped", reason=words).reason == reason


@pytest.mark.parametrize(
    ("fields", "is_machine"),
    [
        ({"event": "open", "sg_machine_open": True}, True),
        ({"event": "open", "sg_machine_open": "true"}, True),
        ({"event": "open", "sg_machine_open": False}, False),
        ({"event": "open"}, False),
        ({"event": "open", "useragent": "GoogleImageProxy"}, False),
        ({"event": "click", "useragent": "Mozilla/5.0 (iPhone)"}, False),
        ({"event": "click", "useragent": "Barracuda Sentinel (EE)"}, True),
        ({"event": "click", "useragent": "python-requests/2.31"}, True),
        ({"event": "click", "useragent": ["Barracuda"]}, False),
        ({"event": "delivered", "sg_machine_open": True}, False),
    ],
)
def test_machines_are_marked(fields: dict[str, Any], is_machine: bool) -> None:
    assert read(**fields).is_machine is is_machine


@pytest.mark.parametrize("timestamp", [1764000001, "1764000001", 1764000001.0])
def test_a_moment_comes_as_a_number_or_as_text(timestamp: object) -> None:
    assert read(event="open", timestamp=timestamp).at.year == 2025


@pytest.mark.parametrize(
    "timestamp", [None, True, "soon", 0, -1, 10**12, "1e400", "nan", [], {}, 1e30]
)
def test_no_moment_is_bad(timestamp: object) -> None:
    assert bad(BASE | {"event": "open", "timestamp": timestamp}) == "bad_timestamp"


@pytest.mark.parametrize("name", [None, "", "opened", 7, [], {"a": 1}])
def test_an_unknown_name_is_bad(name: object) -> None:
    assert bad(BASE | {"event": name}) == "unknown_event"


@pytest.mark.parametrize("element", [None, 7, "open", [BASE], True])
def test_what_is_no_object_is_bad(element: object) -> None:
    assert bad(element) == "not_an_object"


def test_what_is_too_deep_is_bad_and_keeps_its_plain_fields() -> None:
    deep: Any = 1
    for _ in range(DEPTH_MAX + 2):
        deep = [deep]
    event = read_event(BASE | {"event": "open", "deep": deep})
    assert isinstance(event, BadEvent)
    assert event.reason == "too_deep"
    assert event.payload == BASE | {"event": "open"}
    assert event.id == BASE["sg_event_id"]


def test_custom_args_that_are_none_of_ours_are_no_ids() -> None:
    event = read(event="open", outreach_tenant="acme", outreach_message_id=7, outreach_attempt="x")
    assert (event.tenant_id, event.message_id, event.attempt) == (None, None, None)


def test_an_id_may_have_dots_so_each_prefix_is_tried() -> None:
    event = read(event="open", sg_message_id="14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0")
    assert event.provider_ids[:3] == (
        "14c5d75ce93",
        "14c5d75ce93.dfd",
        "14c5d75ce93.dfd.64b469",
    )


def test_the_smtp_id_is_the_answers_id_up_to_the_at() -> None:
    fields = {"smtp-id": "<Xj5LmNkWSO@geopod-ismtpd-12>", "sg_message_id": "filter0093.9128.5717.0"}
    event = read(event="dropped", **fields)
    assert event.provider_ids[0] == event.accepted_as == "Xj5LmNkWSO"


def test_an_event_without_an_id_gets_one_of_its_content() -> None:
    fields = {"event": "open", "sg_event_id": None}
    assert read(**fields).id == read(**fields).id != read(**fields, ip="203.0.113.9").id
    assert read(**fields).id.startswith("sha256:")
    assert read(event="open", sg_event_id="x" * 4_000).id.startswith("sha256:")


def test_neither_address_nor_client_is_kept() -> None:
    event = read(event="click", url="https://a.example/", ip="203.0.113.9", useragent="Mozilla")
    assert event.detail == {"url": "https://a.example/", "useragent": "Mozilla"}


def test_news_of_the_account_is_no_messages_event() -> None:
    event = read_event(
        {"event": "account_status_change", "type": "compliance_suspend", "sg_event_id": "a"}
    )
    assert isinstance(event, AccountEvent)
    assert event.forbids_sending
    back = read_event({"event": "account_status_change", "type": "reactivate"})
    assert isinstance(back, AccountEvent)
    assert not back.forbids_sending


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
NAMES = st.sampled_from(["open", "bounce", "click", "dropped", "account_status_change", "?"])


@given(st.dictionaries(st.sampled_from([*BASE, "event", "type", "reason", "url"]), JSON), NAMES)
def test_whatever_an_object_holds_it_is_one_of_three(fields: dict[str, Any], name: str) -> None:
    event = read_event(BASE | fields | {"event": name})
    assert isinstance(event, ProviderEvent | AccountEvent | BadEvent)
    assert 0 < len(event.id) <= 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"null", b'"x"', b"[1, 2]", b"[[]]", b"[{}", b"\xff\xfe", b"[" * 10**5],
)
def test_a_body_that_is_no_array_of_objects_is_bad(body: bytes) -> None:
    with pytest.raises(BadBody):
        read_body(body)


def test_a_body_of_too_many_elements_is_bad() -> None:
    assert len(read_body(b"[" + b"{}," * (EVENTS_MAX - 1) + b"{}]")) == EVENTS_MAX
    with pytest.raises(BadBody):
        read_body(b"[" + b"{}," * EVENTS_MAX + b"{}]")


def test_an_empty_array_is_no_trouble() -> None:
    assert read_body(b"[]") == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"a":"\\u0000x"}]', [{"a": "\ufffdx"}]),
        (b'[{"a":"\x00x"}]', [{"a": "\ufffdx"}]),
        (b'[{"a":"\\ud800x"}]', [{"a": "\ufffdx"}]),
        (b'[{"a":"\\ud83d\\ude00"}]', [{"a": "\U0001f600"}]),
        (b'[{"a":"\xff"}]', [{"a": "\ufffd"}]),
        (b'[{"a":NaN,"b":-Infinity}]', [{"a": "NaN", "b": "-Infinity"}]),
        (b'[{"a":1,"a":2}]', [{"a": 2}]),
        (b'\xef\xbb\xbf[{"a":1},\r\n{"b":2}]\r\n', [{"a": 1}, {"b": 2}]),
        (b'[{"a":' + b"9" * 5_000 + b"}]", [{"a": "9" * 5_000}]),
        (b'[{"a":1},2]', [{"a": 1}, 2]),
    ],
)
def test_odd_values_spare_their_neighbours(body: bytes, expected: list[Any]) -> None:
    assert read_body(body) == expected


@given(JSON)
def test_what_is_storable_is_json_without_what_jsonb_refuses(value: Any) -> None:
    text = json.dumps(storable(value), allow_nan=False)
    assert "\\u0000" not in text
    text.encode()
