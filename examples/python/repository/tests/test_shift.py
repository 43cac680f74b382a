import unittest

from shifts import Shift, ShiftError, format_minutes


class ShiftTest(unittest.TestCase):
    def test_a_day_shift_lasts_from_start_to_end(self):
        self.assertEqual(Shift.parse("08:00-16:30").minutes, 510)

    def test_a_night_shift_runs_past_midnight(self):
        self.assertEqual(Shift.parse("22:00-06:00").minutes, 480)

    def test_a_shift_is_shown_as_it_was_written(self):
        for text in ("08:00-16:30", "22:00-06:00", "00:05-23:59"):
            self.assertEqual(str(Shift.parse(text)), text)

    def test_nonsense_is_refused(self):
        for text in ("", "8-16", "08:00", "24:00-06:00", "08:60-09:00", "08:00-16:30 "):
            with self.subTest(text), self.assertRaises(ShiftError):
                Shift.parse(text)

    def test_minutes_are_shown_as_hours_and_minutes(self):
        self.assertEqual(format_minutes(0), "0:00")
        self.assertEqual(format_minutes(150), "2:30")
        self.assertEqual(format_minutes(6005), "100:05")
