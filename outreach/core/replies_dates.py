"""When somebody who is away comes back, where their mail names a day.

Of several days the one that follows a word of return counts, else the one that follows `until`.
What could be two days (`03/04`) and is written in English is none. A day without a year is the next
one of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

AHEAD_MAX = timedelta(days=400)

_MONTH_NAMES = (
    "january januar janvier enero jan ene janv jänner",
    "february februar février fevrier febrero feb fév févr",
    "march märz maerz mars marzo mar mär",
    "april avril abril apr avr abr",
    "may mai mayo",
    "june juni juin junio jun",
    "july juli juillet julio jul juil",
    "august août aout agosto aug ago",
    "september septembre septiembre sep sept setiembre",
    "october oktober octobre octubre oct okt",
    "november novembre noviembre nov",
    "december dezember décembre decembre diciembre dec dez déc dic",
)
_MONTHS = {name: n for n, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = re.compile(
    r"(?P<iso>\b(?P<iy>20\d\d)-(?P<im>\d\d)-(?P<id>\d\d)\b)"
    r"|\b(?P<dd>\d{1,2})\.\s?(?P<dm>\d{1,2})\.(?:\s?(?P<dy>20\d\d|\d\d)\b)?"
    r"|\b(?P<sa>\d{1,2})/(?P<sb>\d{1,2})(?:/(?P<sy>20\d\d|\d\d))?\b"
    rf"|\b(?P<nd>\d{{1,2}})(?:st|nd|rd|th|er|\.|º)?\s+(?:of\s+|de\s+)?(?P<nm>{_MONTH})\b\.?"
    r"(?:,?\s+(?:de\s+|del\s+)?(?P<ny>20\d\d))?"
    rf"|\b(?P<em>{_MONTH})\.?\s+(?P<ed>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<ey>20\d\d))?",
    re.IGNORECASE,
)
_BACK = re.compile(
    r"\b(?:back|return(?:ing)?|returns|wieder|zurück|retour|reviens|reviendrai|regres\w*|vuelv\w*"
    r"|volver[ée]|reincorpor\w*|erreichbar|from)\b[^.!?\n]{0,60}$"
    r"|\b(?:ab dem|à partir du|a partir del?)\b[^.!?\n]{0,20}$",
    re.IGNORECASE,
)
_UNTIL = re.compile(
    r"\b(?:until|till?|through|thru|to|bis|jusqu['’]au|au|hasta|al)\b[^.!?\n]{0,30}$", re.IGNORECASE
)
_AWAY_FROM = re.compile(r"\b(?:from|vom|ab|du|desde|del)\b[^.!?\n]{0,20}$", re.IGNORECASE)
_HERE = re.compile(
    r"\b(?:back|return\w*|reachable|available|wieder|zurück|erreichbar|ab dem|retour|regres\w*"
    r"|vuelv\w*)\b",
    re.IGNORECASE,
)
_NOT_ENGLISH = re.compile(
    r"\b(?:je|suis|le|au|du|bureau|estoy|hasta|el|oficina|ich|bis|zum|und)\b", re.IGNORECASE
)


def return_date(text: str, sent_on: date) -> date | None:
    """The day that the text names for the return, None where it names none that can be one."""
    text = text[:5_000]
    days = [
        (found.start(), day)
        for found in _DAY.finditer(text)
        if (day := _day(found, text, sent_on)) is not None and sent_on <= day <= sent_on + AHEAD_MAX
    ]
    for words in (_BACK, _UNTIL):
        named = [day for at, day in days if words.search(_before(text, at, words))]
        if named:
            return named[-1]
    return None


def _before(text: str, at: int, words: re.Pattern[str]) -> str:
    """What stands before the day; nothing where it is the first day of an absence."""
    before = text[max(0, at - 90) : at]
    is_first_day = _AWAY_FROM.search(before) is not None and not _HERE.search(before)
    return "" if words is _BACK and is_first_day else before


def _day(found: re.Match[str], text: str, sent_on: date) -> date | None:
    parts = {key: value for key, value in found.groupdict().items() if value}
    if "iso" in parts:
        return _date(parts["iy"], int(parts["im"]), int(parts["id"]), sent_on)
    if "dd" in parts:
        return _date(parts.get("dy"), int(parts["dm"]), int(parts["dd"]), sent_on)
    if "nd" in parts:
        return _date(parts.get("ny"), _MONTHS[parts["nm"].lower()], int(parts["nd"]), sent_on)
    if "em" in parts:
        return _date(parts.get("ey"), _MONTHS[parts["em"].lower()], int(parts["ed"]), sent_on)
    first, second = int(parts["sa"]), int(parts["sb"])
    is_day_first = first > 12 or _NOT_ENGLISH.search(text) is not None
    if not is_day_first and second <= 12 and first != second:
        return None
    day, month = (first, second) if is_day_first else (second, first)
    return _date(parts.get("sy"), month, day, sent_on)


def _date(year: str | None, month: int, day: int, sent_on: date) -> date | None:
    try:
        if year is not None:
            number = int(year)
            return date(number + 2000 if number < 100 else number, month, day)
        return next(_coming(month, day, sent_on), None)
    except ValueError:
        return None


def _coming(month: int, day: int, sent_on: date) -> Iterator[date]:
    for year in (sent_on.year, sent_on.year + 1):
        candidate = date(year, month, day)
        if candidate >= sent_on:
            yield candidate
