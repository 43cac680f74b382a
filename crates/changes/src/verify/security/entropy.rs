//! Whether a value looks drawn by lot rather than written by a person.

/// Bits per character by the frequency of characters.
fn bits_per_character(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX).max(1));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}

/// Long enough, mixed enough, and without the look of words.
pub(super) fn looks_random(value: &str) -> bool {
    if value.len() < 12 || !value.is_ascii() {
        return false;
    }
    let classes = [
        value.bytes().any(|byte| byte.is_ascii_lowercase()),
        value.bytes().any(|byte| byte.is_ascii_uppercase()),
        value.bytes().any(|byte| byte.is_ascii_digit()),
        value.bytes().any(|byte| !byte.is_ascii_alphanumeric()),
    ];
    let classes = classes.iter().filter(|class| **class).count();
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let hex = value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex {
        return value.len() >= 24 && digits >= 3 && bits_per_character(value) > 2.8;
    }
    classes >= 2 && digits >= 2 && bits_per_character(value) > 3.2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_lots() {
        for word in [
            "correct-horse-battery",
            "the_access_token_name",
            "AAAAAAAAAAAAAAAA1111",
            "short1A",
        ] {
            assert!(!looks_random(word), "{word}");
        }
        for lot in [
            "Zq7Kd0Xw3Rt9Lm5P",
            "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "p@55-Kq81zLw0T",
        ] {
            assert!(looks_random(lot), "{lot}");
        }
    }
}
