//! Texts at which an answer ends.

/// Watches an answer for the asker's texts. What may be the beginning of one is held back until
/// it is known not to be.
#[derive(Debug)]
pub(super) struct Stops<'a> {
    texts: &'a [String],
    held: String,
}

impl<'a> Stops<'a> {
    /// Watches for these; empty ones are found nowhere.
    pub(super) fn new(texts: &'a [String]) -> Self {
        Self {
            texts,
            held: String::new(),
        }
    }

    /// More of the answer: what can be said of it, and the text that was found, which ends it.
    pub(super) fn push(&mut self, more: &str) -> (String, Option<&'a str>) {
        self.held.push_str(more);
        let texts = self.texts.iter().map(String::as_str);
        let texts = texts.filter(|text| !text.is_empty());
        let found = texts
            .clone()
            .filter_map(|text| Some((self.held.find(text)?, text)))
            .min_by_key(|(place, text)| (*place, std::cmp::Reverse(text.len())));
        if let Some((place, text)) = found {
            self.held.truncate(place);
            return (std::mem::take(&mut self.held), Some(text));
        }
        let begins = |place: &usize| {
            let end = self.held.get(*place..).unwrap_or_default();
            texts.clone().any(|text| text.starts_with(end))
        };
        let places = self.held.char_indices().map(|(place, _)| place);
        let keep = places.into_iter().find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// What was held back: the answer ends without it becoming one of the texts.
    pub(super) fn rest(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(texts: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut stops = Stops::new(&texts);
        let mut said = String::new();
        for piece in pieces {
            let (more, found) = stops.push(piece);
            said.push_str(&more);
            if let Some(found) = found {
                return (said, Some(found.to_owned()));
            }
        }
        said.push_str(&stops.rest());
        (said, None)
    }

    #[test]
    fn a_text_is_found_wherever_the_answer_is_cut() {
        let whole = "héllo wörld END more";
        let letters: Vec<String> = whole.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        for pieces in [&[whole][..], &letters] {
            let found = run(&["END"], pieces);
            assert_eq!(found, ("héllo wörld ".into(), Some("END".into())));
        }
    }

    #[test]
    fn what_only_begins_like_a_text_is_said_in_the_end() {
        assert_eq!(
            run(&["aab"], &["a", "a", "a", "c", "a"]),
            ("aaaca".into(), None)
        );
        assert_eq!(
            run(&["aab"], &["a", "a", "a", "b"]),
            ("a".into(), Some("aab".into()))
        );
        assert_eq!(run(&[""], &["x"]), ("x".into(), None));
    }

    #[test]
    fn the_first_of_several_ends_it() {
        assert_eq!(run(&["b", "ab"], &["xab"]), ("x".into(), Some("ab".into())));
    }

    #[test]
    fn nothing_is_held_longer_than_needed() {
        let texts = ["END".to_owned()];
        let mut stops = Stops::new(&texts);
        assert_eq!(stops.push("the EN").0, "the ");
        assert_eq!(stops.push("OUGH").0, "ENOUGH");
    }
}
