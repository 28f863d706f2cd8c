"""Forms in pieces: however they are cut, the wanted fields come out whole, and bounded."""

from __future__ import annotations

import hashlib

import pytest

from outreach.core.form_data import FormReader

TYPE = 'multipart/form-data; boundary="xYzZY"'
MAIL = b"From: a@b.example\r\n\r\n--xYzZ is no boundary\r\n--\r\nand binary \x00\xff\r\n"


def form(*fields: tuple[str, bytes], end: bytes = b"--xYzZY--\r\n") -> bytes:
    each = [
        b'--xYzZY\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (name.encode(), text)
        for name, text in fields
    ]
    return b"".join(each) + end


BODY = form(("headers", b"x" * 50), ("email", MAIL), ("to", b""), ("envelope", b'{"to":["a@b"]}'))


def read(body: bytes, *, piece: int, keep: int = 1000, kind: str = TYPE) -> FormReader:
    reader = FormReader(kind, {"email": keep, "envelope": 100, "to": 100})
    for start in range(0, len(body), piece):
        reader.feed(body[start : start + piece])
    return reader


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 10_000])
def test_the_fields_come_out_whole(piece: int) -> None:
    reader = read(BODY, piece=piece)
    assert {name: field.head for name, field in reader.fields.items()} == {
        "email": MAIL,
        "to": b"",
        "envelope": b'{"to":["a@b"]}',
    }
    assert reader.has_ended


@pytest.mark.parametrize("piece", [1, 13, 10_000])
def test_a_long_field_is_cut_and_known_whole(piece: int) -> None:
    field = read(BODY, piece=piece, keep=10).fields["email"]
    assert field.head == MAIL[:10]
    assert (field.length, field.digest) == (len(MAIL), hashlib.sha256(MAIL).digest())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", TYPE),
        (b"no form", TYPE),
        (BODY, "multipart/form-data"),
        (BODY, "multipart/form-data; boundary=other"),
        (b"--xYzZY\r\n" + b"h" * 9000 + b"\r\n\r\nx\r\n--xYzZY--", TYPE),
        (b"--xYzZY\r\n\r\nwithout a name\r\n--xYzZY--", TYPE),
        (form(("", b"x")), TYPE),
    ],
)
def test_what_is_no_form_has_no_fields(body: bytes, kind: str) -> None:
    assert read(body, piece=11, kind=kind).fields == {}


def test_the_first_of_a_name_counts_and_parts_have_an_end() -> None:
    reader = read(form(("to", b"one"), ("to", b"two")), piece=5)
    assert reader.fields["to"].head == b"one"
    many = form(*[("x", b"")] * 1001, ("to", b"late"))
    assert read(many, piece=4096).fields == {}


def test_a_form_that_breaks_off_keeps_what_came() -> None:
    reader = read(form(("email", MAIL), end=b""), piece=9)
    head = reader.fields["email"].head
    assert len(head) > 20
    assert MAIL.startswith(head)
    assert not reader.has_ended
