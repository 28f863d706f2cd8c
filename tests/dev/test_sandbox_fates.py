"""A contact's fate is a function of seed, address and count, and the shares are as told."""

from collections import Counter
from dataclasses import replace

from outreach.dev.sandbox import FateRates, public_key_of
from outreach.dev.sandbox.events import Mail, body_of, event_bytes, event_of, link_in
from outreach.dev.sandbox.fates import Fate, Happening, Suppressed, fate_of
from tests.dev.sandbox_support import mail_to

ADDRESSES = [f"person{n}@cust.example" for n in range(1_000)]
RATES = FateRates()


def fates(seed: int, rates: FateRates = RATES, nth: int = 1) -> list[Fate]:
    return [fate_of(seed, address, nth, rates) for address in ADDRESSES]


def share(found: list[Fate], what: Happening) -> float:
    return sum(any(step.what is what for step in fate.steps) for fate in found) / len(found)


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    assert fates(7) == fates(7)
    assert fates(7) != fates(8)
    assert fates(7) != fates(7, nth=2)
    assert fate_of(7, " Sam@Cust.Example", 1, RATES) == fate_of(7, "sam@cust.example", 1, RATES)


def test_shares_come_near_their_rates() -> None:
    found = fates(1)
    assert abs(share(found, Happening.BOUNCED) - RATES.bounce) < 0.012
    assert abs(share(found, Happening.OPENED) - RATES.open) < 0.05
    assert abs(share(found, Happening.OPENED_BY_MACHINE) - RATES.machine_open) < 0.04
    assert share(fates(1, replace(RATES, open=1.0)), Happening.OPENED) > 0.9
    assert share(fates(1, replace(RATES, open=0.0)), Happening.OPENED) == 0


def test_one_rate_changes_no_other_answer() -> None:
    more = fates(1, replace(RATES, unsubscribe=0.5))
    assert share(more, Happening.UNSUBSCRIBED) > 0.4
    for what in (Happening.OPENED, Happening.CLICKED, Happening.BOUNCED, Happening.BLOCKED):
        assert share(more, what) == share(fates(1), what)


def test_stories_are_in_order_and_begin_with_processed() -> None:
    for fate in fates(3):
        times = [step.happens_after for step in fate.steps]
        names = [step.what for step in fate.steps]
        assert times == sorted(times)
        assert names[0] is Happening.PROCESSED
        ends = Counter(names)
        landed = ends[Happening.DELIVERED] + ends[Happening.BOUNCED] + ends[Happening.BLOCKED]
        assert landed == 1
        if Happening.CLICKED in names:
            assert names.index(Happening.OPENED) < names.index(Happening.CLICKED)


def test_what_ends_an_address_drops_its_later_mails() -> None:
    bounced = fate_of(1, "a@b.example", 1, replace(RATES, bounce=1.0))
    assert bounced.suppresses is Suppressed.BOUNCED
    later = fate_of(1, "a@b.example", 2, RATES, bounced.suppresses)
    assert [step.what for step in later.steps] == [Happening.DROPPED]
    blocked = fate_of(1, "a@b.example", 1, replace(FateRates.quiet(), block=1.0))
    assert [step.what for step in blocked.steps][-1] is Happening.BLOCKED
    assert blocked.suppresses is None
    left = fate_of(1, "a@b.example", 1, replace(FateRates.quiet(), unsubscribe=1.0))
    assert left.suppresses is Suppressed.UNSUBSCRIBED
    angry = fate_of(1, "a@b.example", 1, replace(FateRates.quiet(), spam=1.0, unsubscribe=1.0))
    assert angry.suppresses is Suppressed.SPAM


def test_a_repeat_is_posted_twice_and_disorder_later_than_it_happened() -> None:
    quiet = FateRates.quiet()
    assert all(step.posted_after == (step.happens_after,) for step in fates(1, quiet)[0].steps)
    for step in fates(1, replace(quiet, repeat=1.0))[0].steps:
        first, second = step.posted_after
        assert first == step.happens_after < second
    for step in fates(1, replace(quiet, disorder=1.0))[0].steps:
        assert step.posted_after[0] > step.happens_after


def mail_with(custom_args: dict[str, str], categories: tuple[str, ...] = ()) -> Mail:
    return Mail(
        "LRzXl_NHStOGhQ4kofSm_A", 0, "sam@cust.example", "ana@acme.example", custom_args,
        categories, 1_764_000_000.0, "https://acme.example/demo", None,
    )  # fmt: skip


def test_every_kind_of_event_is_written_and_reserved_names_win() -> None:
    everything = replace(FateRates(), open=1, click=1, machine_open=1, defer=1, unsubscribe=1)
    steps = [step for fate in fates(1, everything) for step in fate.steps]
    steps += fate_of(1, "a@b.example", 2, everything, Suppressed.SPAM).steps
    steps += fate_of(1, "a@b.example", 2, replace(FateRates.quiet(), spam=1)).steps
    mail = mail_with({"outreach_message_id": "m1", "event": "forged"}, ("campaign",))
    seen = set()
    for step in steps:
        event = event_of(mail, step, 1_764_000_001.9)
        seen.add(step.what)
        assert event["outreach_message_id"] == "m1"
        assert event["event"] != "forged"
        assert event["timestamp"] == 1_764_000_001
        assert event["category"] in ("campaign", ["campaign"])
        prefixed = event["sg_message_id"].startswith(mail.message_id + ".")
        assert prefixed is (step.what is not Happening.DROPPED)
    assert seen == set(Happening)


def test_event_ids_differ_between_steps_and_copies_only() -> None:
    steps = fates(1)[0].steps
    mail, copy = mail_with({}), replace(mail_with({}), copy=1)
    ids = [event_of(mail, step, 1.0)["sg_event_id"] for step in steps]
    assert ids == [event_of(mail, step, 9.0)["sg_event_id"] for step in steps]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {event_of(copy, step, 1.0)["sg_event_id"] for step in steps}
    assert all(len(id) <= 100 for id in ids)


def test_a_body_has_crlf_between_its_events_and_at_its_end() -> None:
    body = body_of([event_bytes({"a": 1}), event_bytes({"b": 2})])
    assert body == b'[{"a":1},\r\n{"b":2}]\r\n'


def test_a_click_goes_to_the_first_link() -> None:
    assert link_in(mail_to()) == "https://acme.example/demo"
    assert link_in({"content": [{"type": "text/plain", "value": "none"}]}).startswith("https://")
    assert link_in({}).startswith("https://")


def test_the_key_follows_from_the_seed() -> None:
    assert public_key_of(1) == public_key_of(1) != public_key_of(2)
    assert public_key_of(1).startswith("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
