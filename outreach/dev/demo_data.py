"""What the demo is made of: people who do not exist, and a plan that waits for seconds.

All addresses end in `.example` (RFC 2606), so nobody can own one. The same each time, which, with
the sandbox's seed, makes each run the same story.
"""

from __future__ import annotations

import csv
import json
from itertools import islice, product
from pathlib import Path

CONTACTS = 1_000
BAD_ROWS = 3
DUPLICATES = 1

HEADER = ("email", "first_name", "last_name", "title", "company", "timezone", "country", "team")
FIRST_NAMES_WORDS = (
    "Ada Amir Anna Ben Carla Chen Dana Diego Elif Emma Farid Fiona Goran Hana Henry Ines Ivan"
    " Jonas Julia Kofi Lars Lena Mara Milo Nadia Noah Olga Omar Petra Ravi Rosa Sam Sara Tariq"
    " Tess Uma Vera Will Yuki Zoe"
)
LAST_NAMES_WORDS = (
    "Abe Baker Costa Diaz Evans Fischer Garcia Hughes Ito Jensen Kaya Lopez Moreau Novak"
    " Okafor Patel Quinn Rossi Silva Tanaka Ueda Vogel Weber Yilmaz Zeman"
)
FIRST_NAMES, LAST_NAMES = FIRST_NAMES_WORDS.split(), LAST_NAMES_WORDS.split()
COMPANIES = (
    ("Blue Harbor", "blueharbor.example", "America/New_York", "US"),
    ("Corner Bakery", "cornerbakery.example", "Europe/Paris", "FR"),
    ("Delta Freight", "deltafreight.example", "America/Chicago", "US"),
    ("Elm Street Books", "elmstreetbooks.example", "Europe/London", "GB"),
    ("Fjord Energy", "fjordenergy.example", "Europe/Oslo", "NO"),
    ("Granite Labs", "granitelabs.example", "Europe/Berlin", "DE"),
    ("Harvest Foods", "harvestfoods.example", "America/Los_Angeles", "US"),
    ("Iris Optics", "irisoptics.example", "Asia/Tokyo", "JP"),
    ("Juniper Hotels", "juniperhotels.example", "Asia/Kolkata", "IN"),
    ("Kite Mobility", "kitemobility.example", "Australia/Sydney", "AU"),
    ("Lumen Clinics", "lumenclinics.example", "America/Toronto", "CA"),
    ("Maple Press", "maplepress.example", "America/Denver", "US"),
)
TITLES = ("Head of Operations", "Buyer", "Office Manager", "Founder")
TEAMS = ("5", "12", "40", "150")

# People of the sandbox, at half pace, open within about five seconds and click within two more.
NO_OPEN_AFTER = "PT9S"
NO_CLICK_AFTER = "PT6S"

NODES = ("intro", "wait_click", "thanks", "bump")
PLAN = {
    "version": "1.0",
    "timezone": "UTC",
    "start_node_id": "intro",
    "nodes": [
        {
            "id": "intro",
            "channel": "email",
            "action": "send",
            "subject": "{{ contact.first_name }}, a question about {{ contact.company }}",
            "body": (
                "Hi {{ contact.first_name | default: 'there' }},\n\n"
                "how does a team of {{ contact.attributes.team | default: 'your size' }} at"
                " {{ contact.company }} plan its week? We wrote down what works for others:\n"
                "https://northwind.example/guide\n\n"
                "{{ sender.name }}"
            ),
            "transitions": [
                {"on": "opened", "to": "wait_click", "within": NO_OPEN_AFTER},
                {"on": "no_open", "to": "bump", "after": NO_OPEN_AFTER},
                {"on": "bounced", "to": "stop"},
                {"on": "unsubscribed", "to": "stop"},
            ],
        },
        {
            "id": "wait_click",
            "channel": "email",
            "action": "wait",
            "transitions": [
                {"on": "clicked", "to": "thanks", "within": NO_CLICK_AFTER},
                {"on": "no_click", "to": "bump", "after": NO_CLICK_AFTER},
                {"on": "unsubscribed", "to": "stop"},
            ],
        },
        {
            "id": "thanks",
            "channel": "email",
            "action": "send",
            "subject": "Thank you, {{ contact.first_name | default: 'dear reader' }}",
            "body": "Glad that the guide was of use. Shall we talk?\n\n{{ sender.name }}",
        },
        {
            "id": "bump",
            "channel": "email",
            "action": "send",
            "subject": "Once more: {{ contact.company }}'s week",
            "body": (
                "Hi {{ contact.first_name | default: 'there' }},\n\n"
                "in case it got lost: https://northwind.example/guide\n\n{{ sender.name }}"
            ),
        },
    ],
}


def write_plan(path: Path) -> None:
    """The plan as a file that `plans validate` and `campaigns create` read."""
    path.write_text(json.dumps(PLAN, indent=2) + "\n", "utf-8")


def write_contacts(path: Path) -> None:
    """A CSV file with a thousand good rows, one of them written twice, and three bad ones."""
    rows = list(islice(_people(), CONTACTS))
    bad = [
        ("", "Nobody", "Nowhere", "", "", "", "", ""),
        ("zoe.at.kitemobility.example", "Zoe", "Zeman", "", "Kite Mobility", "", "AU", ""),
        ("max@irisoptics.example", "Max", "Moon", "", "Iris Optics", "Mars/Olympus", "JP", ""),
    ]
    assert len(bad) == BAD_ROWS
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows([*rows[:700], bad[0], *rows[700:900], bad[1], *rows[900:], bad[2]])
        writer.writerows(rows[:DUPLICATES])


def _people() -> list[tuple[str, ...]]:
    """Every first name with every last name, spread over companies, titles and teams."""
    people: list[tuple[str, ...]] = []
    for number, (last, first) in enumerate(product(LAST_NAMES, FIRST_NAMES)):
        place = (number + number // len(FIRST_NAMES)) % len(COMPANIES)
        company, domain, zone, country = COMPANIES[place]
        address = f"{first}.{last}@{domain}".lower()
        title, team = TITLES[number % len(TITLES)], TEAMS[number // 7 % len(TEAMS)]
        people.append((address, first, last, title, company, zone, country, team))
    return people
