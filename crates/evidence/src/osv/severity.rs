//! How bad a vulnerability is: the base score of CVSS 3 (FIRST, CVSS v3.1 specification, section
//! 7.1), or the word that the database gives.

use serde::{Deserialize, Serialize};

use super::record::{Affected, Record, Score};

/// A word for a score, as CVSS rates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// No impact.
    None,
    /// 0.1 to 3.9.
    Low,
    /// 4.0 to 6.9.
    Medium,
    /// 7.0 to 8.9.
    High,
    /// 9.0 and more.
    Critical,
}

/// How bad a vulnerability is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Severity {
    /// The word, if a score or a word was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<Rating>,
    /// The CVSS base score in tenths, for CVSS 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_tenths: Option<u32>,
    /// The vector as the record has it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vector: String,
}

/// The highest CVSS 3 score, else the database's own word, else the vector alone.
pub(super) fn of(scores: &[&Score], record: &Record, affected: &[&Affected]) -> Option<Severity> {
    let best = scores
        .iter()
        .filter(|score| score.kind == "CVSS_V3")
        .filter_map(|score| Some((base_score_tenths(&score.score)?, score)))
        .max_by_key(|(tenths, _)| *tenths);
    if let Some((tenths, score)) = best {
        return Some(Severity {
            rating: Some(rate(tenths)),
            score_tenths: Some(tenths),
            vector: score.score.clone(),
        });
    }
    let specific = affected
        .iter()
        .flat_map(|entry| [&entry.database_specific, &entry.ecosystem_specific])
        .chain([&record.database_specific]);
    let rating = specific
        .filter_map(|value| value.get("severity")?.as_str())
        .find_map(word);
    let vector = scores.first().map(|score| score.score.clone());
    (rating.is_some() || vector.is_some()).then(|| Severity {
        rating,
        score_tenths: None,
        vector: vector.unwrap_or_default(),
    })
}

fn word(text: &str) -> Option<Rating> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Some(Rating::None),
        "low" => Some(Rating::Low),
        "moderate" | "medium" => Some(Rating::Medium),
        "high" | "important" => Some(Rating::High),
        "critical" => Some(Rating::Critical),
        _ => None,
    }
}

fn rate(tenths: u32) -> Rating {
    match tenths {
        0 => Rating::None,
        1..40 => Rating::Low,
        40..70 => Rating::Medium,
        70..90 => Rating::High,
        _ => Rating::Critical,
    }
}

/// The base score of a CVSS 3.0 or 3.1 vector, in tenths.
fn base_score_tenths(vector: &str) -> Option<u32> {
    let metrics = vector
        .strip_prefix("CVSS:3.1/")
        .or_else(|| vector.strip_prefix("CVSS:3.0/"))?;
    let metric = |name: &str| {
        let mut parts = metrics.split('/').filter_map(|part| part.split_once(':'));
        parts.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let changed = match metric("S")? {
        "C" => true,
        "U" => false,
        _ => return None,
    };
    let access = weight(
        metric("AV")?,
        &[("N", 0.85), ("A", 0.62), ("L", 0.55), ("P", 0.2)],
    )?;
    let complexity = weight(metric("AC")?, &[("L", 0.77), ("H", 0.44)])?;
    let privileges = if changed {
        weight(metric("PR")?, &[("N", 0.85), ("L", 0.68), ("H", 0.5)])?
    } else {
        weight(metric("PR")?, &[("N", 0.85), ("L", 0.62), ("H", 0.27)])?
    };
    let interaction = weight(metric("UI")?, &[("N", 0.85), ("R", 0.62)])?;
    let loss = |name| weight(metric(name)?, &[("H", 0.56), ("L", 0.22), ("N", 0.0)]);
    let kept = (1.0 - loss("C")?) * (1.0 - loss("I")?) * (1.0 - loss("A")?);
    let base = 1.0 - kept;
    let impact = if changed {
        7.52 * (base - 0.029) - 3.25 * (base - 0.02).powi(15)
    } else {
        6.42 * base
    };
    if impact <= 0.0 {
        return Some(0);
    }
    let exploitability = 8.22 * access * complexity * privileges * interaction;
    let sum = if changed {
        1.08 * (impact + exploitability)
    } else {
        impact + exploitability
    };
    Some(round_up(sum.min(10.0)))
}

fn weight(value: &str, table: &[(&str, f64)]) -> Option<f64> {
    let found = table.iter().find(|(name, _)| *name == value);
    found.map(|(_, weight)| *weight)
}

/// The smallest tenth that is not less, as the specification computes it against rounding errors
/// of binary fractions: in whole hundred-thousandths.
fn round_up(score: f64) -> u32 {
    let tenth = 10_000.0;
    (0..=100)
        .find(|tenths| f64::from(*tenths) * tenth >= (score * 100_000.0).round())
        .unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_the_published_ones() {
        for (vector, tenths) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 98),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 61),
            ("CVSS:3.0/AV:L/AC:H/PR:L/UI:N/S:U/C:H/I:N/A:N", 47),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 100),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:N/I:N/A:N", 0),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", 75),
        ] {
            assert_eq!(base_score_tenths(vector), Some(tenths), "{vector}");
        }
        for text in [
            "",
            "CVSS:4.0/AV:N",
            "CVSS:3.1/AV:N",
            "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U",
        ] {
            assert_eq!(base_score_tenths(text), None, "{text}");
        }
    }
}
