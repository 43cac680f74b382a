"""Reads a roster from standard input and prints the hours of each person."""

import sys

from shifts import RosterError, format_minutes, hours_by_name, parse_roster


def main() -> int:
    try:
        roster = parse_roster(sys.stdin)
    except RosterError as error:
        print(error, file=sys.stderr)
        return 1
    for name, minutes in hours_by_name(roster).items():
        print(f"{name:<8}{format_minutes(minutes):>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
