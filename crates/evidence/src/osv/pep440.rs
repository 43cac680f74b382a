//! Versions of Python packages, compared as PEP 440 says.

use std::cmp::Ordering;

/// What a release is, in the order PEP 440 gives: a development release of a pre-release comes
/// before it, and a post-release after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    /// A development release of the final one, without a pre-release: before all of them.
    Development,
    Alpha(u64),
    Beta(u64),
    Candidate(u64),
    /// The final release.
    Final,
}

/// A segment of a local version; numbers come after words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Local {
    Word(String),
    Number(u64),
}

/// A version in a form that compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PythonVersion {
    epoch: u64,
    /// Without zeros at the end.
    release: Vec<u64>,
    pre: Pre,
    post: Option<u64>,
    /// `None` comes after every development release.
    dev: Option<u64>,
    local: Vec<Local>,
}

impl Ord for PythonVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let dev = |version: &Self| (version.dev.is_none(), version.dev);
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| self.release.cmp(&other.release))
            .then_with(|| self.pre.cmp(&other.pre))
            .then_with(|| self.post.cmp(&other.post))
            .then_with(|| dev(self).cmp(&dev(other)))
            .then_with(|| self.local.cmp(&other.local))
    }
}

impl PartialOrd for PythonVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PythonVersion {
    /// Reads a version, in any spelling that PEP 440 normalises; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_prefix('v').unwrap_or(&text);
        let (public, local) = match text.split_once('+') {
            Some((public, local)) => (public, parse_local(local)?),
            None => (text, Vec::new()),
        };
        let mut rest = Rest(public);
        let mut epoch = 0;
        if let Some((number, after)) = public.split_once('!') {
            epoch = number.parse().ok()?;
            rest = Rest(after);
        }
        let mut release = vec![rest.number()?];
        while let Some(number) = rest.dotted_number() {
            release.push(number);
        }
        while release.last() == Some(&0) {
            release.pop();
        }
        let pre = rest.tagged(&[
            ("alpha", 0),
            ("beta", 1),
            ("preview", 2),
            ("pre", 2),
            ("rc", 2),
            ("a", 0),
            ("b", 1),
            ("c", 2),
        ]);
        let post = rest.implicit_post().or_else(|| {
            rest.tagged(&[("post", 0), ("rev", 0), ("r", 0)])
                .map(|(_, n)| n)
        });
        let dev = rest.tagged(&[("dev", 0)]).map(|(_, number)| number);
        if !rest.0.is_empty() {
            return None;
        }
        let pre = match pre {
            Some((0, number)) => Pre::Alpha(number),
            Some((1, number)) => Pre::Beta(number),
            Some((_, number)) => Pre::Candidate(number),
            None if post.is_none() && dev.is_some() => Pre::Development,
            None => Pre::Final,
        };
        Some(Self {
            epoch,
            release,
            pre,
            post,
            dev,
            local,
        })
    }
}

/// What is left to read.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn number(&mut self) -> Option<u64> {
        let end = self
            .0
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.0.len());
        let number = self.0[..end].parse().ok()?;
        self.0 = &self.0[end..];
        Some(number)
    }

    fn dotted_number(&mut self) -> Option<u64> {
        let mut ahead = Rest(self.0.strip_prefix('.')?);
        let number = ahead.number()?;
        self.0 = ahead.0;
        Some(number)
    }

    /// `-1` is `.post1`.
    fn implicit_post(&mut self) -> Option<u64> {
        let mut ahead = Rest(self.0.strip_prefix('-')?);
        let number = ahead.number()?;
        self.0 = ahead.0;
        Some(number)
    }

    /// A separator or none, one of the words, a separator or none, a number or 0.
    fn tagged(&mut self, words: &[(&str, u8)]) -> Option<(u8, u64)> {
        let separators = ['.', '-', '_'];
        let text = self.0.strip_prefix(separators).unwrap_or(self.0);
        let (word, kind) = words.iter().find(|(word, _)| text.starts_with(word))?;
        let mut ahead = Rest(&text[word.len()..]);
        let bare = ahead.0;
        ahead.0 = bare.strip_prefix(separators).unwrap_or(bare);
        let number = if let Some(number) = ahead.number() {
            number
        } else {
            ahead.0 = bare;
            0
        };
        self.0 = ahead.0;
        Some((*kind, number))
    }
}

fn parse_local(text: &str) -> Option<Vec<Local>> {
    text.split(['.', '-', '_'])
        .map(|part| {
            let fits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
            fits.then(|| {
                part.parse()
                    .map_or_else(|_| Local::Word(part.to_owned()), Local::Number)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> PythonVersion {
        PythonVersion::parse(text).unwrap_or_else(|| panic!("{text} is not read"))
    }

    #[test]
    fn the_order_is_the_published_one() {
        let ordered = [
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "2!0.1",
        ];
        for pair in ordered.windows(2) {
            assert!(
                version(pair[0]) < version(pair[1]),
                "{} < {}",
                pair[0],
                pair[1]
            );
        }
    }

    #[test]
    fn spellings_are_one() {
        for (a, b) in [
            ("1.0", "1"),
            ("v1.0.0", "1.0"),
            ("1.0-ALPHA.1", "1.0a1"),
            ("1.0c1", "1.0rc1"),
            ("1.0-1", "1.0.post1"),
            ("1.0.r3", "1.0.post3"),
            ("1.0_dev", "1.0.dev0"),
            ("1.0pre2", "1.0rc2"),
            ("1.0+a-1", "1.0+a.1"),
            ("01.02", "1.2"),
        ] {
            assert_eq!(version(a), version(b), "{a} = {b}");
        }
    }

    #[test]
    fn other_texts_are_no_versions() {
        for text in [
            "",
            "x",
            "1.0x",
            "1..0",
            "1.0+",
            "1.0+a..b",
            "1!",
            "99999999999999999999999",
        ] {
            assert_eq!(PythonVersion::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,30}", likely in "[0-9a-z.+!_-]{0,20}") {
            let _ = PythonVersion::parse(&text);
            let _ = PythonVersion::parse(&likely);
        }
    }
}
