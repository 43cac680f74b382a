import unittest

from shifts import RosterError, Shift, hours_by_name, parse_roster


class RosterTest(unittest.TestCase):
    def test_a_line_is_a_name_and_a_shift(self):
        lines = ["# monday", "ada 08:00-16:30", "", "grace 06:00-14:00"]
        self.assertEqual(
            parse_roster(lines), [("ada", Shift(480, 990)), ("grace", Shift(360, 840))]
        )

    def test_a_bad_line_is_named(self):
        with self.assertRaisesRegex(RosterError, "line 2: expected a name and a shift"):
            parse_roster(["ada 08:00-16:30", "grace"])
        with self.assertRaisesRegex(RosterError, "line 1: `8-16` is not a shift"):
            parse_roster(["ada 8-16"])

    def test_hours_are_added_by_name(self):
        roster = parse_roster(["grace 06:00-14:00", "ada 08:00-16:00", "ada 09:00-17:30"])
        self.assertEqual(list(hours_by_name(roster).items()), [("ada", 990), ("grace", 480)])

    def test_an_empty_roster_has_no_hours(self):
        self.assertEqual(hours_by_name([]), {})
