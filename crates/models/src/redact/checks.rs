//! What cannot be seen in the form of a text: whether its digits fit together, and whether it is as
//! mixed as a secret.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How long the account numbers of a country are (ISO 13616 registry).
const IBANS: [(&str, usize); 39] = [
    ("AD", 24),
    ("AE", 23),
    ("AT", 20),
    ("BE", 16),
    ("BG", 22),
    ("BR", 29),
    ("CH", 21),
    ("CY", 21),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("TR", 26),
];

/// Whether the digits of a payment card fit together (ISO/IEC 7812-1, Luhn).
pub(super) fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|one| one.to_digit(10)).collect();
    let separators: Vec<char> = text.chars().filter(|one| !one.is_ascii_digit()).collect();
    let (first, one_kind) = (
        digits.first(),
        separators.windows(2).all(|two| two[0] == two[1]),
    );
    if !(13..=19).contains(&digits.len())
        || !one_kind
        || digits.iter().all(|one| Some(one) == first)
    {
        return false;
    }
    let doubled = digits.iter().rev().enumerate().map(|(place, digit)| {
        let twice = digit * 2;
        match place % 2 {
            0 => *digit,
            _ if twice > 9 => twice - 9,
            _ => twice,
        }
    });
    doubled.sum::<u32>() % 10 == 0
}

/// How many bytes at the beginning of a text are an account number whose digits fit together
/// (ISO 13616: modulo 97).
pub(super) fn iban(text: &str) -> Option<usize> {
    let country = text.get(..2)?;
    let (_, length) = IBANS.iter().find(|(known, _)| *known == country)?;
    let mut letters = text.char_indices().filter(|(_, letter)| *letter != ' ');
    let end = letters.by_ref().take(*length).last()?.0 + 1;
    let whole: Vec<char> = text.get(..end)?.chars().filter(|one| *one != ' ').collect();
    if whole.len() != *length {
        return None;
    }
    let (head, tail) = whole.split_at(4);
    let rest = tail.iter().chain(head).try_fold(0_u32, |rest, letter| {
        let value = letter.to_digit(36)?;
        let base = if value < 10 { 10 } else { 100 };
        Some((rest * base + value) % 97)
    })?;
    (rest == 1).then_some(end)
}

/// Whether a social security number is one that is given out.
pub(super) fn is_ssn(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(area), Some(group), Some(serial)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    area != "000" && area != "666" && !area.starts_with('9') && group != "00" && serial != "0000"
}

/// Whether a telephone number has as many digits as one (ITU-T E.164).
pub(super) fn is_phone(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    (8..=15).contains(&digits)
}

/// Whether it is an address of a machine other than one's own.
pub(super) fn is_ip(text: &str) -> bool {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return !address.is_loopback() && !address.is_unspecified() && !address.is_broadcast();
    }
    let colons = text.matches(':').count();
    let address = text.parse::<Ipv6Addr>();
    colons > 1 && address.is_ok_and(|address| !address.is_loopback() && !address.is_unspecified())
}

/// Whether a key of a provider is as mixed as one, and not words with a dash between them.
pub(super) fn is_mixed(text: &str) -> bool {
    let kinds = [
        text.bytes().any(|byte| byte.is_ascii_digit()),
        text.bytes().any(|byte| byte.is_ascii_alphabetic()),
    ];
    kinds == [true, true] && bits(text) >= 3.0
}

/// How many bytes at the beginning of what stands where a secret stands are one; nothing of a name, a
/// call, a sentence or a stand-in.
pub(super) fn credential(text: &str) -> Option<usize> {
    let text = text.trim_end_matches([')', ']', '}', '.', ':', '>']);
    let stand_in = ["$", "{{", "<", "%(", "*"]
        .iter()
        .any(|it| text.starts_with(it));
    // An index or a call; a placeholder of ours looks like one, too.
    let reached = text.contains(['(', '[']);
    let sentence = text.matches(' ').count() > 1;
    let digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let mark = text.bytes().any(|byte| b"!@#$%^&*+=~?".contains(&byte));
    let letter = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let mixed = letter && (digit || mark) && text.len() >= 8 && bits(text) >= 2.5;
    (mixed && !stand_in && !reached && !sentence).then_some(text.len())
}

/// How much each byte tells, in bits (Shannon).
fn bits(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let all = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let share = counts.iter().filter(|count| **count > 0);
    share
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}
