"""One shift: from an hour to an hour."""

from __future__ import annotations

import re
from dataclasses import dataclass

MINUTES_OF_A_DAY = 24 * 60

_SHIFT = re.compile(r"([0-2]\d):([0-5]\d)-([0-2]\d):([0-5]\d)")


class ShiftError(ValueError):
    """A text that is not a shift."""


@dataclass(frozen=True)
class Shift:
    """A shift in minutes since midnight; one that ends at or before its start runs past midnight."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Shift:
        """Reads `08:00-16:30`."""
        match = _SHIFT.fullmatch(text)
        if match is None:
            raise ShiftError(f"`{text}` is not a shift such as 08:00-16:30")
        hours_from, minutes_from, hours_to, minutes_to = (int(part) for part in match.groups())
        if hours_from > 23 or hours_to > 23:
            raise ShiftError(f"`{text}` has an hour after 23")
        return cls(hours_from * 60 + minutes_from, hours_to * 60 + minutes_to)

    @property
    def minutes(self) -> int:
        """How long the shift is."""
        return max(0, self.end - self.start)

    def __str__(self) -> str:
        return f"{_clock(self.start)}-{_clock(self.end)}"


def format_minutes(minutes: int) -> str:
    """Minutes as hours and minutes: 150 is `2:30`."""
    return f"{minutes // 60}:{minutes % 60:02}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
