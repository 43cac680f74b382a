"""Adds up the hours of a duty roster."""

from shifts.roster import RosterError, hours_by_name, parse_roster
from shifts.shift import Shift, ShiftError, format_minutes

__all__ = [
    "RosterError",
    "Shift",
    "ShiftError",
    "format_minutes",
    "hours_by_name",
    "parse_roster",
]
