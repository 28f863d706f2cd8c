"""Judges a mail-send body as SendGrid does: every problem at once, in its own words and shape.

Only what SendGrid checks before it answers 202. What it finds later (a template that does not
render, a suppressed address) becomes an event, not an answer.

Source: Twilio SendGrid, "Mail Send" reference and its error page; OpenAPI `tsg_mail_v3.json`.
"""

import re
from collections.abc import Iterator
from typing import Any

Problem = dict[str, str | None]

RECIPIENTS_MAX = 1_000
CUSTOM_ARGS_BYTES_MAX = 10_000
SEND_AHEAD_SECONDS_MAX = 72 * 3600
RESERVED_HEADERS = frozenset(
    {
        "x-sg-id",
        "x-sg-eid",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    }
)
_ADDRESS = re.compile(r"[^@\s<>,;\"]{1,64}@[^@\s<>,;\"]{1,255}")
_CONTENT_RANK = {"text/plain": 0, "text/html": 1}
_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message.{field}".format


def problem(message: str, field: str | None = None) -> Problem:
    """One entry of `errors`, with the help link that SendGrid adds for a field."""
    if field is None:
        return {"message": message, "field": None, "help": None}
    return {"message": message, "field": field, "help": _HELP(field=field.split(".")[0])}


def problems_of(mail: Any, now_unix: float) -> list[Problem]:
    """Everything SendGrid would refuse in this body; empty when it would be queued."""
    if not isinstance(mail, dict):
        return [problem("Bad Request")]
    return [
        *_personalizations(mail, now_unix),
        *_from(mail),
        *_reply_to(mail),
        *_subject(mail),
        *_content(mail),
        *_headers(mail.get("headers"), "headers"),
        *_custom_args(mail.get("custom_args"), "custom_args"),
        *_categories(mail.get("categories")),
        *_send_at(mail.get("send_at"), "send_at", now_unix),
        *_settings(mail),
    ]


def recipients_of(mail: Any) -> list[str]:
    """Every address of a body, well-formed or not, so far as there are any."""
    if not isinstance(mail, dict) or not isinstance(mail.get("personalizations"), list):
        return []
    return [
        person["email"]
        for group in mail["personalizations"]
        if isinstance(group, dict)
        for kind in ("to", "cc", "bcc")
        if isinstance(group.get(kind), list)
        for person in group[kind]
        if isinstance(person, dict) and isinstance(person.get("email"), str)
    ]


def _personalizations(mail: dict[str, Any], now_unix: float) -> Iterator[Problem]:
    groups = mail.get("personalizations")
    if not isinstance(groups, list) or not groups:
        yield problem(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
        return
    if len(groups) > RECIPIENTS_MAX or len(recipients_of(mail)) > RECIPIENTS_MAX:
        yield problem(
            "The personalizations field may not have more than 1000 recipients in all.",
            "personalizations",
        )
    for at, group in enumerate(groups):
        path = f"personalizations.{at}"
        if isinstance(group, dict):
            yield from _personalization(group, path, now_unix)
        else:
            yield problem("The personalization must be an object.", path)


def _personalization(group: dict[str, Any], path: str, now_unix: float) -> Iterator[Problem]:
    seen: set[str] = set()
    if not isinstance(group.get("to"), list) or not group["to"]:
        yield problem(
            "The to array is required for all personalization objects, and must have at least "
            "one email object with a valid email address.",
            f"{path}.to",
        )
    for kind in ("to", "cc", "bcc"):
        people = group.get(kind)
        if people is None:
            continue
        if not isinstance(people, list):
            yield problem(f"The {kind} field must be an array.", f"{path}.{kind}")
            continue
        for at, person in enumerate(people):
            yield from _address(person, f"{path}.{kind}.{at}.email")
            email = person.get("email") if isinstance(person, dict) else None
            if isinstance(email, str) and email.lower() in seen:
                yield problem(
                    "Each email address in the personalization block should be unique between "
                    f"to, cc, and bcc. We found the first duplicate instance of [{email}] in the "
                    f"{path}.{kind} field.",
                    path,
                )
            elif isinstance(email, str):
                seen.add(email.lower())
    if "subject" in group and not _is_text(group["subject"]):
        yield problem("The subject must be a string of at least one character.", f"{path}.subject")
    yield from _headers(group.get("headers"), f"{path}.headers")
    yield from _custom_args(group.get("custom_args"), f"{path}.custom_args")
    yield from _send_at(group.get("send_at"), f"{path}.send_at", now_unix)


def _address(person: Any, path: str) -> Iterator[Problem]:
    email = person.get("email") if isinstance(person, dict) else None
    if not isinstance(email, str) or not _ADDRESS.fullmatch(email):
        yield problem("Does not contain a valid address.", path)


def _from(mail: dict[str, Any]) -> Iterator[Problem]:
    sender = mail.get("from")
    if not isinstance(sender, dict):
        yield problem("The from object must be provided for every email send.", "from.email")
        return
    yield from _address(sender, "from.email")


def _reply_to(mail: dict[str, Any]) -> Iterator[Problem]:
    if "reply_to" in mail and "reply_to_list" in mail:
        yield problem("reply_to and reply_to_list are mutually exclusive.", "reply_to")
    if "reply_to" in mail:
        yield from _address(mail["reply_to"], "reply_to.email")
    if "reply_to_list" in mail:
        people = mail["reply_to_list"]
        if not isinstance(people, list) or not 0 < len(people) <= RECIPIENTS_MAX:
            yield problem("The reply_to_list must have 1 to 1000 addresses.", "reply_to_list")
            return
        for at, person in enumerate(people):
            yield from _address(person, f"reply_to_list.{at}.email")


def _subject(mail: dict[str, Any]) -> Iterator[Problem]:
    groups = mail.get("personalizations")
    covered = (
        isinstance(groups, list)
        and bool(groups)
        and all(isinstance(group, dict) and group.get("subject") for group in groups)
    )
    if not _is_text(mail.get("subject")) and not covered and not mail.get("template_id"):
        yield problem(
            "The subject is required. You can get around this requirement if you use a template "
            "with a subject defined or if every personalization has a subject defined.",
            "subject",
        )


def _content(mail: dict[str, Any]) -> Iterator[Problem]:
    parts = mail.get("content")
    if not parts:
        if not mail.get("template_id"):
            yield problem(
                "Unless a valid template_id is provided, the content parameter is required. There "
                "must be at least one defined content block.",
                "content",
            )
        return
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        yield problem("The content must be an array of objects.", "content")
        return
    ranks = []
    for at, part in enumerate(parts):
        if not _is_text(part.get("type")):
            yield problem("The content type must be provided.", f"content.{at}.type")
        if not _is_text(part.get("value")):
            yield problem(
                "The content value must be a string at least one character in length.",
                f"content.{at}.value",
            )
        ranks.append(_CONTENT_RANK.get(str(part.get("type")), 2))
    if ranks != sorted(ranks):
        yield problem(
            "If present, text/plain must be first, followed by text/html, followed by any other "
            "content.",
            "content",
        )


def _headers(headers: Any, path: str) -> Iterator[Problem]:
    if headers is None:
        return
    if not isinstance(headers, dict):
        yield problem("The headers must be an object of strings.", path)
        return
    for name, value in headers.items():
        if name.lower() in RESERVED_HEADERS:
            yield problem(
                f"The following header is reserved and may not be overwritten: {name}", path
            )
        elif not name.isascii() or not isinstance(value, str):
            yield problem("Header names must be ASCII and values must be strings.", path)


def _custom_args(args: Any, path: str) -> Iterator[Problem]:
    if args is None:
        return
    # A value that is no string gets SendGrid's least helpful answer; clients must live with it.
    if not isinstance(args, dict) or not all(isinstance(value, str) for value in args.values()):
        yield problem("Bad Request")
        return
    size = sum(len(name.encode()) + len(value.encode()) for name, value in args.items())
    if size >= CUSTOM_ARGS_BYTES_MAX:
        yield problem("The custom_args may not be 10000 bytes or longer.", path)


def _categories(categories: Any) -> Iterator[Problem]:
    if categories is None:
        return
    if not isinstance(categories, list) or not all(
        isinstance(name, str) and name.isascii() and 0 < len(name) <= 255 for name in categories
    ):
        yield problem("Categories must be ASCII strings of at most 255 characters.", "categories")
    elif len(categories) > 10 or len(set(categories)) != len(categories):
        yield problem("There may be at most 10 categories, each once.", "categories")


def _send_at(value: Any, path: str, now_unix: float) -> Iterator[Problem]:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        yield problem("The send_at must be a Unix timestamp in whole seconds.", path)
    elif value > now_unix + SEND_AHEAD_SECONDS_MAX:
        yield problem("Scheduled sends can not be more than 72 hours in the future.", path)


def _settings(mail: dict[str, Any]) -> Iterator[Problem]:
    for field in ("mail_settings", "tracking_settings"):
        settings = mail.get(field)
        if settings is None:
            continue
        if not isinstance(settings, dict):
            yield problem(f"The {field} must be an object.", field)
            continue
        for name, setting in settings.items():
            enable = setting.get("enable") if isinstance(setting, dict) else None
            if not isinstance(enable, bool):
                yield problem("The enable value must be a boolean.", f"{field}.{name}.enable")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
