//! What models take, by the versions in their names. Only what is past is written down here: a
//! model that nobody has heard of yet is taken for the newest.

/// How a model is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Model {
    /// Whether it chooses by itself how much it thinks, since 4.6; before, and on servers like the
    /// provider, it is given a number of tokens.
    pub(super) adapts: bool,
    /// Whether it can be told how to choose the next token, up to 4.6.
    pub(super) samples: bool,
}

impl Model {
    /// The model of this name: `claude-3-7-sonnet-20250219`, `claude-sonnet-4@20250514`,
    /// `anthropic.claude-opus-4-20250514-v1:0`.
    pub(super) fn named(name: &str) -> Self {
        let Some((_, rest)) = name.split_once("claude") else {
            return Self {
                adapts: false,
                samples: true,
            };
        };
        let mut version = rest
            .split(['-', '.', '@', ':', '_'])
            .skip_while(|word| !word.starts_with(|first: char| first.is_ascii_digit()))
            // A date is no version.
            .map_while(|word| word.parse::<u32>().ok().filter(|number| *number < 100));
        let version = match (version.next(), rest.contains("instant")) {
            (Some(major), _) => (major, version.next().unwrap_or(0)),
            (None, true) => (1, 0),
            (None, false) => (u32::MAX, 0),
        };
        Self {
            adapts: version >= (4, 6),
            samples: version < (4, 7),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Model;

    #[test]
    fn versions_are_read_from_names() {
        for (name, adapts, samples) in [
            ("claude-opus-4-6", true, true),
            ("us.anthropic.claude-sonnet-4-6-v1:0", true, true),
            ("claude-opus-4.7", true, false),
            ("anthropic/claude-4.7-opus", true, false),
            ("claude-sonnet-5", true, false),
            ("claude-opus-4-10", true, false),
            ("claude-mythos-preview", true, false),
            ("claude-3-7-sonnet-20250219", false, true),
            ("claude-opus-4-20250514", false, true),
            ("claude-sonnet-4@20250514", false, true),
            ("anthropic.claude-opus-4-20250514-v1:0", false, true),
            ("claude-haiku-4-5-20251001", false, true),
            ("claude-instant", false, true),
            ("deepseek-chat", false, true),
            ("", false, true),
        ] {
            assert_eq!(Model::named(name), Model { adapts, samples }, "{name}");
        }
    }
}
