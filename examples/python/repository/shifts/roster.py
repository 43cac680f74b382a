"""The roster: who works when."""

from __future__ import annotations

from collections.abc import Iterable

from shifts.shift import Shift, ShiftError


class RosterError(ValueError):
    """A line that is not a name and a shift."""


def parse_roster(lines: Iterable[str]) -> list[tuple[str, Shift]]:
    """Reads lines such as `ada 08:00-16:30`; empty lines and those that begin with # are skipped."""
    roster = []
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 2:
            raise RosterError(f"line {number}: expected a name and a shift, found `{line}`")
        try:
            roster.append((words[0], Shift.parse(words[1])))
        except ShiftError as error:
            raise RosterError(f"line {number}: {error}") from error
    return roster


def hours_by_name(roster: Iterable[tuple[str, Shift]]) -> dict[str, int]:
    """The minutes that each person works, by name in alphabetical order."""
    minutes: dict[str, int] = {}
    for name, shift in roster:
        minutes[name] = minutes.get(name, 0) + shift.minutes
    return dict(sorted(minutes.items()))
