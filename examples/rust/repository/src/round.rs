//! Division of whole numbers with rounding.

/// Divides and rounds to the nearest whole number, half to even.
///
/// # Panics
///
/// When `divisor` is not positive.
pub fn divide(value: i64, divisor: i64) -> i64 {
    assert!(divisor > 0, "the divisor must be positive");
    let quotient = value.div_euclid(divisor);
    let rest = value.rem_euclid(divisor);
    if rest >= divisor - rest {
        quotient + 1
    } else {
        quotient
    }
}

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn less_than_half_goes_down() {
        assert_eq!(divide(124, 10), 12);
        assert_eq!(divide(-126, 10), -13);
    }

    #[test]
    fn more_than_half_goes_up() {
        assert_eq!(divide(126, 10), 13);
        assert_eq!(divide(-124, 10), -12);
    }

    #[test]
    fn whole_numbers_stay() {
        assert_eq!(divide(0, 10), 0);
        assert_eq!(divide(130, 10), 13);
        assert_eq!(divide(-130, 10), -13);
    }
}
