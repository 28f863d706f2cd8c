"""Importing contacts: exact counts, whatever the file's size, order and faults."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from uuid import UUID

import pytest

from outreach.core.errors import Invalid
from outreach.core.states import SuppressionReason
from outreach.db import Database, Role
from outreach.services import contact_spool, contacts
from outreach.services.contacts import ImportReport, export_csv, import_contacts
from outreach.services.suppress import SuppressionEntry, add, suppress
from tests.support.people import ACTOR, ask, new_contact, new_tenant
from tests.support.waiting import eventually


async def load(
    db: Database,
    tenant_id: UUID,
    text: str | bytes,
    *,
    dry_run: bool = False,
    ndjson: bool = False,
    errors: io.StringIO | None = None,
    mapping: dict[str, str] | None = None,
) -> ImportReport:
    return await import_contacts(
        db,
        tenant_id,
        io.BytesIO(text if isinstance(text, bytes) else text.encode()),
        format="ndjson" if ndjson else "csv",
        mapping=mapping,
        dry_run=dry_run,
        errors=errors,
        actor=ACTOR,
    )


def counts(report: ImportReport) -> dict[str, int]:
    return {name: value for name, value in asdict(report).items() if value and name != "seconds"}


async def stored(db: Database, tenant_id: UUID, columns: str = "email, first_name") -> list[Any]:
    async with db.transaction(Role.APP, tenant_id) as tx:
        query = f"select {columns} from contacts order by email_key"
        return await (await tx.execute(query.encode())).fetchall()


async def test_contacts_are_made_changed_and_left(db: Database) -> None:
    tenant_id = await new_tenant(db)
    first = await load(db, tenant_id, "email,first_name\na@x.com,Ann\nb@x.com,Bob\nc@x.com,Cy\n")
    assert counts(first) == {"rows": 3, "created": 3}
    again = await load(db, tenant_id, "email,first_name\na@x.com,Anna\nB@X.com,Bob\nc@x.com,\n")
    assert counts(again) == {"rows": 3, "updated": 1, "unchanged": 2}
    assert await stored(db, tenant_id) == [
        ("a@x.com", "Anna"),
        ("b@x.com", "Bob"),
        ("c@x.com", "Cy"),
    ]


async def test_the_last_of_two_rows_wins_whole(db: Database) -> None:
    tenant_id = await new_tenant(db)
    text = "email,first_name,title\nann@x.com,Ann,CEO\nbob@x.com,Bob,\nANN@x.com,Anna,\n"
    assert counts(await load(db, tenant_id, text)) == {"rows": 3, "created": 2, "duplicates": 1}
    rows = await stored(db, tenant_id, "email, first_name, title")
    assert rows == [("ANN@x.com", "Anna", None), ("bob@x.com", "Bob", None)]


async def test_all_fields_leads_and_attributes_arrive(db: Database) -> None:
    tenant_id = await new_tenant(db)
    header = (
        "email,first_name,last_name,title,company,lead_url,phone,timezone,locale,country,"
        "consent_basis,consent_source,plan,seats"
    )
    row = (
        'a@x.com,Ann,Lee,"CEO, Founder",Acme,https://Acme.example/,+49 30 1,Europe/Berlin,de-DE,de,'
        "consent,form,pro,3"
    )
    await load(db, tenant_id, f"{header}\n{row}\n")
    await load(db, tenant_id, "email,company,plan\nb@x.com,acme gmbh,\na@x.com,,free\n")
    assert await stored(
        db,
        tenant_id,
        "first_name, last_name, title, company, phone, timezone, locale, country,"
        " consent_basis, consent_source, attributes,"
        " (select key from leads l where l.id = lead_id)",
    ) == [
        (
            *("Ann", "Lee", "CEO, Founder", "Acme", "+49 30 1", "Europe/Berlin", "de-DE", "DE"),
            *("consent", "form", {"plan": "free", "seats": "3"}, "https://acme.example"),
        ),
        (*(None, None, None, "acme gmbh"), *(None,) * 6, {}, "acme gmbh"),
    ]
    leads = await ask(db, tenant_id, "select name, url from leads order by key")
    assert leads == [("acme gmbh", None), ("Acme", "https://Acme.example")]


async def test_bad_rows_are_rejected_with_reasons_and_the_rest_goes_on(db: Database) -> None:
    tenant_id = await new_tenant(db)
    errors = io.StringIO()
    text = (
        "email,country,notes\n"
        "a@x.com,DE,\n"
        "nobody,123,\n"
        "=cmd()@x,DE,\n"
        'b@x.com,DE,"two\nlines"\n'
        "c@x.com\n"
        ",,\n"
        "d@x.com,FR,\n"
    )
    report = await load(db, tenant_id, text, errors=errors)
    assert counts(report) == {"rows": 7, "created": 3, "rejected": 4}
    assert list(csv.reader(io.StringIO(errors.getvalue()))) == [
        ["row", "column", "reason", "value"],
        ["2", "email", "is not an email address", "nobody"],
        ["2", "country", "is longer than 2 characters", "123"],
        ["3", "email", "is not an email address", "'=cmd()@x"],
        ["5", "", "has 1 cells, the header has 3", "c@x.com"],
        ["6", "email", "is missing", ""],
    ]


async def test_a_dry_run_counts_and_leaves_nothing(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await load(db, tenant_id, "email,first_name\na@x.com,Ann\n")
    text = "email,first_name,company\na@x.com,Anna,\nb@x.com,Bob,Acme\nb@x.com,Bo,\nno,,\n"
    report = await load(db, tenant_id, text, dry_run=True)
    expected = {"rows": 4, "created": 1, "updated": 1, "duplicates": 1, "rejected": 1}
    assert counts(report) == expected
    assert await stored(db, tenant_id) == [("a@x.com", "Ann")]
    assert await ask(db, tenant_id, "select count(*) from leads") == [(0,)]
    assert counts(await load(db, tenant_id, text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"first_name\nAnn\n",
        b"email,email\na@x.com,b@x.com\n",
        "email,first_name\na@x.com,Ann\n".encode("utf-16"),
        b"email,Gr\xf6\xdfe\na@x.com,1\n",
        b"PK\x03\x04\x00\x00binary",
        b'"email' + b"x" * 200_000,
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_whole(db: Database, text: bytes) -> None:
    tenant_id = await new_tenant(db)
    with pytest.raises(Invalid):
        await load(db, tenant_id, text)
    assert await stored(db, tenant_id) == []


async def test_other_encodings_delimiters_and_line_ends(db: Database) -> None:
    tenant_id = await new_tenant(db)
    text = "\ufeffE-Mail;first_name\r\na@x.com;Änn\r\n".encode() + b"b@x.com;M\xfcller\r\n"
    errors = io.StringIO()
    report = await load(db, tenant_id, text, mapping={"E-Mail": "email"}, errors=errors)
    assert counts(report) == {"rows": 2, "created": 1, "rejected": 1}
    assert "2,first_name,is not UTF-8 text" in errors.getvalue()
    assert await stored(db, tenant_id) == [("a@x.com", "Änn")]
    tabs = await load(db, tenant_id, "email\tfirst_name\na@x.com\tÄnn\n")
    assert counts(tabs) == {"rows": 1, "unchanged": 1}


async def test_endless_lines_and_open_quotes_are_one_bad_row_each(db: Database) -> None:
    tenant_id = await new_tenant(db)
    text = f'email,x\na@x.com,1\n{"y" * 3_000_000}\nb@x.com,2\nc@x.com,"{"z" * 140_000}\n'
    report = await load(db, tenant_id, text + "d@x.com,4\n")
    assert counts(report) == {"rows": 5, "created": 3, "rejected": 2}


@pytest.mark.parametrize("rest", [3, 40_000])
async def test_a_quote_that_nothing_closes_costs_its_own_row(db: Database, rest: int) -> None:
    tenant_id = await new_tenant(db)
    errors = io.StringIO()
    text = 'email,first_name\na@x.com,"Ann"\nb@x.com,"Bo\n'
    text += "".join(f"c{number}@x.com,Cy\n" for number in range(rest))
    report = await load(db, tenant_id, text, errors=errors)
    assert counts(report) == {"rows": rest + 2, "created": rest + 1, "rejected": 1}
    assert errors.getvalue().splitlines()[1].startswith("2,,")


async def test_json_lines(db: Database) -> None:
    tenant_id = await new_tenant(db)
    rows: Iterable[object] = [
        {"email": "a@x.com", "First Name": "Ann", "seats": 3, "attributes": {"plan": "pro"}},
        {"email": "b@x.com", "first_name": None},
        ["email"],
        {"email": {"x": 1}},
    ]
    text = "\n".join(json.dumps(row) for row in rows) + '\n{"email": \n\n'
    report = await load(db, tenant_id, text, ndjson=True)
    assert counts(report) == {"rows": 5, "created": 2, "rejected": 3}
    assert await stored(db, tenant_id, "email, first_name, attributes") == [
        ("a@x.com", "Ann", {"plan": "pro", "seats": 3}),
        ("b@x.com", None, {}),
    ]


@pytest.mark.parametrize("text", ["", "\n", "email\na@x.com\n", "[]\n", "\x00"])
async def test_what_holds_no_json_object_is_refused(db: Database, text: str) -> None:
    tenant_id = await new_tenant(db)
    with pytest.raises(Invalid):
        await load(db, tenant_id, text, ndjson=True)


async def test_new_contacts_carry_the_suppression_in_force(db: Database) -> None:
    tenant_id = await new_tenant(db)
    reasons = [SuppressionReason.BOUNCE, SuppressionReason.COMPLAINT]
    for reason in reasons:
        await add(db, tenant_id, [SuppressionEntry("A@x.com", reason, "test")], actor=ACTOR)
    await load(db, tenant_id, "email\na@x.com\nb@x.com\n")
    flags = await stored(db, tenant_id, "email, suppressed_reason::text, suppressed_at is null")
    assert flags == [("a@x.com", "complaint", False), ("b@x.com", None, True)]


async def test_a_suppression_under_way_reaches_the_new_contact(db: Database) -> None:
    tenant_id = await new_tenant(db)
    entry = SuppressionEntry("a@x.com", SuppressionReason.UNSUBSCRIBE, "test")
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await suppress(tx, tenant_id, [entry])  # before there is such a contact
        importing = asyncio.create_task(load(db, tenant_id, "email\na@x.com\n"))
        await eventually(lambda: ask(db, None, "select from pg_locks where not granted"))
    assert counts(await importing) == {"rows": 1, "created": 1}
    flags = await stored(db, tenant_id, "suppressed_reason::text")
    assert flags == [("unsubscribe",)]


async def test_counts_are_exact_over_spool_files_and_batches(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a dictionary: rows at random, many for one address, some known before."""
    monkeypatch.setattr(contact_spool, "ROWS_IN_MEMORY_MAX", 50)
    monkeypatch.setattr(contact_spool, "PARTS", 7)
    monkeypatch.setattr(contacts, "BATCH_ROWS", 30)
    monkeypatch.setattr(contacts, "SLICE_ROWS", 40)
    tenant_id = await new_tenant(db)
    seed = random.randrange(2**32)
    print("seed", seed)
    draw = random.Random(seed)
    known = {f"n{n}@x.com": "0" for n in range(0, 400, 2)}
    await load(db, tenant_id, "\n".join(["email,first_name", *(f"{e},0" for e in known)]))
    rows = [(f"n{draw.randrange(400)}@x.com", str(draw.randrange(3))) for _ in range(1_000)]
    last = dict(rows)
    report = await load(
        db, tenant_id, "\n".join(["email,first_name", *(f"{e},{v}" for e, v in rows)])
    )
    created = [e for e in last if e not in known]
    updated = [e for e in last if e in known and last[e] != known[e]]
    assert (report.created, report.updated) == (len(created), len(updated))
    assert report.unchanged == len(last) - len(created) - len(updated)
    assert report.duplicates == len(rows) - len(last)
    assert dict(await stored(db, tenant_id)) == {**known, **last}


async def test_a_killed_import_is_completed_by_the_next(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contacts, "BATCH_ROWS", 10)
    tenant_id = await new_tenant(db)
    text = "\n".join(["email", *(f"n{n}@x.com" for n in range(35))])
    written: list[int] = []

    def killed(phase: str, rows: int) -> None:
        if phase == "write":
            written.append(rows)
            if rows >= 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await import_contacts(
            db, tenant_id, io.BytesIO(text.encode()), actor=ACTOR, progress=killed
        )
    assert written == [10, 20]
    assert counts(await load(db, tenant_id, text)) == {"rows": 35, "created": 15, "unchanged": 20}


async def test_tenants_do_not_meet(db: Database) -> None:
    ours, theirs = await new_tenant(db, "ours"), await new_tenant(db, "theirs")
    await new_contact(db, theirs, "a@x.com")
    assert counts(await load(db, ours, "email\na@x.com\n")) == {"rows": 1, "created": 1}
    assert await stored(db, theirs, "first_name") == [(None,)]


async def test_what_is_exported_can_be_imported_and_runs_nowhere(db: Database) -> None:
    tenant_id, other = await new_tenant(db), await new_tenant(db, "other")
    row = "=a@x.com,=HYPERLINK(),+49 30 1,@SUM(1),https://x.com/?a=1"
    await load(db, tenant_id, f"email,first_name,phone,plan,lead_url\n{row}\nb@x.com,,,,\n")
    target = io.StringIO()
    assert await export_csv(db, tenant_id, target) == 2
    cells = [cell for line in csv.reader(io.StringIO(target.getvalue())) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert counts(await load(db, tenant_id, target.getvalue())) == {"rows": 2, "unchanged": 2}
    assert counts(await load(db, other, target.getvalue())) == {"rows": 2, "created": 2}
    columns = "email, first_name, phone, attributes"
    assert await stored(db, other, columns) == await stored(db, tenant_id, columns)
