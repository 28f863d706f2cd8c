"""Plan JSON as it was written: read strictly, with the way back from our names to the writer's.

Python's reader lets a second key silently win and accepts NaN. Here both are problems, as is what a
database or a person could not hold: text that is not Unicode, deep nesting, more than 256 KB.
Keys may be camelCase; what follows sees snake_case only, and paths name keys as they were written.

Source: RFC 8259 for JSON, RFC 9535 for the paths.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from outreach.core.errors import Invalid, Problem

PLAN_BYTES_MAX = 256 * 1024
DEPTH_MAX = 16

Location = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SNAKE_WORDS = (
    "quiet_hours send_window skip_holidays start_node_id idle_after count_machine_events "
    "body_html sender_identity_id reply_in_thread max_words"
)


def to_camel(name: str) -> str:
    """`start_node_id` as `startNodeId`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_FROM_CAMEL = {to_camel(name): name for name in _SNAKE_WORDS.split()}


@dataclass(slots=True)
class Document:
    """A plan's JSON with our keys, how its own were written, and the problems found so far."""

    data: object = None
    found: dict[Problem, None] = field(default_factory=dict)
    written: dict[Location, str] = field(default_factory=dict)
    is_camel: bool = False

    def path(self, location: Sequence[str | int]) -> str:
        """The JSONPath of a place, whether or not something is there."""
        parts = ["$"]
        for index, step in enumerate(location):
            if isinstance(step, int):
                parts.append(f"[{step}]")
                continue
            key = self.written.get(tuple(location[: index + 1]))
            if key is None:
                key = to_camel(step) if self.is_camel and step in _FROM_CAMEL.values() else step
            parts.append(f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{_quoted(key)}]")
        return "".join(parts)

    def report(self, location: Sequence[str | int], message: str) -> None:
        """Note a problem once."""
        self.found[Problem(self.path(location), message)] = None

    @property
    def problems(self) -> list[Problem]:
        """What was reported, each once, in that order."""
        return list(self.found)


class _Object(dict[str, object]):
    """A JSON object that remembers which keys were written twice."""

    repeated: tuple[str, ...] = ()


def read_document(source: bytes | str | Mapping[str, object]) -> Document:
    """The JSON that `source` holds; Invalid at `$` where it is no JSON that could be a plan."""
    raw = _loaded(source)
    document = Document()
    _find_camel(document, raw)
    document.data = _walk(document, raw, ())
    return document


def _loaded(source: bytes | str | Mapping[str, object]) -> object:
    """What the text says; a mapping goes by way of its text, so that both meet the same rules."""
    try:
        text = _text(source)
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise Invalid.at("$", "The plan is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid.at("$", f"This is not JSON: {error.msg} ({where}).") from None
    except RecursionError:
        raise Invalid.at("$", "The plan is nested too deeply.") from None
    except (ValueError, TypeError) as error:
        raise Invalid.at("$", f"This is not JSON: {error}.") from None


def _text(source: bytes | str | Mapping[str, object]) -> str:
    if isinstance(source, bytes):
        _refuse_size(len(source))
        return source.decode("utf-8-sig")
    if not isinstance(source, str):
        source = json.dumps(source, allow_nan=False, ensure_ascii=False)
    _refuse_size(len(source.encode("utf-8", "surrogatepass")))
    return source.removeprefix("\ufeff")


def _refuse_size(size: int) -> None:
    if size > PLAN_BYTES_MAX:
        raise Invalid.at(
            "$", f"The plan is {size:,} bytes long; at most 262,144 (256 KB) are read."
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _pairs(pairs: list[tuple[str, object]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        found.repeated = tuple(key for key, count in counts.items() if count > 1)
    return found


def _find_camel(document: Document, raw: object) -> None:
    """A missing field is named in the spelling of its document: camelCase where all of it is."""
    keys = set(raw) if isinstance(raw, dict) else set()
    nodes = raw.get("nodes") if isinstance(raw, dict) else None
    for node in nodes if isinstance(nodes, list) else ():
        keys |= set(node) if isinstance(node, dict) else set()
    document.is_camel = not keys.isdisjoint(_FROM_CAMEL) and keys.isdisjoint(_FROM_CAMEL.values())


def _walk(document: Document, value: object, here: Location) -> object:
    """The value with our keys; problems of keys, text and depth go to the document."""
    if len(here) > DEPTH_MAX:
        document.report(here, f"This is nested more than {DEPTH_MAX} levels deep.")
        return None
    if isinstance(value, _Object):
        return _walk_object(document, value, here)
    if isinstance(value, list):
        return [_walk(document, item, (*here, index)) for index, item in enumerate(value)]
    if isinstance(value, str) and _UNSTORABLE.search(value):
        document.report(here, "The text holds a NUL or half of a surrogate pair.")
        return _UNSTORABLE.sub(" ", value)
    return value


def _walk_object(document: Document, value: _Object, here: Location) -> dict[str, object]:
    read: dict[str, object] = {}
    for key, item in value.items():
        name = _FROM_CAMEL.get(key, key)
        place = (*here, name)
        if name in read:
            other = document.written[place]
            document.report(place, f"The field is written twice, as {other} and as {key}.")
            continue
        document.written[place] = key
        if key in value.repeated:
            document.report(place, "The field is written more than once in this object.")
        read[name] = _walk(document, item, place)
    return read


def _quoted(key: str) -> str:
    """A name for a bracket of RFC 9535, in single quotes and without control characters."""
    inner = json.dumps(key[:80])[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{inner}'"
