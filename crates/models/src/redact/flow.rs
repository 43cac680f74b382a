//! An answer on its way through, while it is being written.
//!
//! What is looked for may be cut between two pieces of a stream, so a piece is held back as long as
//! that may be. Looking for something takes whole lines (and whole keys, which have several); turning a
//! placeholder back takes as much as one has.

use std::collections::BTreeMap;

use super::detect::END;
use super::port::Refused;
use super::screen::Screen;
use super::texts::{self, Place, Written};
use crate::chat::Part;
use crate::delta::Delta;

/// How the first line of whatever is in PEM begins.
const BEGIN: &str = "-----BEGIN ";

/// What is done with what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Screen,
    Restore,
}

/// The most bytes of a key: what begins as one and goes on for longer is none that is waited for.
const KEY_MAX: usize = 64 * 1024;

/// Texts on their way, with what is held back of each.
#[derive(Debug)]
pub(crate) struct Flow {
    job: Job,
    /// By answer and part.
    held: BTreeMap<(usize, usize), Held>,
}

#[derive(Debug)]
struct Held {
    written: Written,
    text: String,
}

impl Flow {
    /// Takes out what must not be in an answer, if answers are looked at.
    pub(crate) fn screening(screen: &Screen) -> Option<Self> {
        screen.policy.answers.then(|| Self::new(Job::Screen))
    }

    /// Turns placeholders back, if there are any.
    pub(crate) fn restoring(screen: &Screen) -> Option<Self> {
        let returns = screen.found.vault.returns();
        returns.then(|| Self::new(Job::Restore))
    }

    fn new(job: Job) -> Self {
        Self {
            job,
            held: BTreeMap::new(),
        }
    }

    /// What can be given out now.
    pub(crate) fn pass(
        &mut self,
        deltas: Vec<Delta>,
        screen: &mut Screen,
    ) -> Result<Vec<Delta>, Refused> {
        let mut out = Vec::with_capacity(deltas.len());
        for delta in deltas {
            self.one(delta, screen, &mut out)?;
        }
        Ok(out)
    }

    fn one(
        &mut self,
        mut delta: Delta,
        screen: &mut Screen,
        out: &mut Vec<Delta>,
    ) -> Result<(), Refused> {
        match &mut delta {
            Delta::Text { choice, part, text } => {
                let at = (*choice, *part);
                let held = self.held.entry(at).or_insert_with(|| Held {
                    written: Written::Plain,
                    text: String::new(),
                });
                held.text.push_str(text);
                if self.job == Job::Restore || text.contains('\n') {
                    let whole = self.job.whole(&held.text, screen);
                    let rest = held.text.split_off(whole);
                    let ready = std::mem::replace(&mut held.text, rest);
                    let written = held.written;
                    self.job.give((at, written, ready), screen, out)?;
                }
                return Ok(());
            }
            Delta::Part {
                choice,
                part,
                begun,
            } => {
                self.flush(|(of, _)| of == *choice, screen, out)?;
                let written = match begun {
                    Part::ToolCall { .. } => Written::Json,
                    _ => Written::Plain,
                };
                let text = String::new();
                self.held.insert((*choice, *part), Held { written, text });
                self.job.begun(*choice, begun, screen)?;
            }
            Delta::Opaque { choice, part, .. } => {
                self.flush(|at| at == (*choice, *part), screen, out)?;
            }
            Delta::Finish { choice, .. } => self.flush(|(of, _)| of == *choice, screen, out)?,
            Delta::End => self.flush(|_| true, screen, out)?,
            // They would tell what was taken out.
            Delta::Logprobs { .. } if self.job == Job::Screen => return Ok(()),
            Delta::Begin { .. } | Delta::Logprobs { .. } | Delta::Usage(_) | Delta::Extra(..) => {}
        }
        out.push(delta);
        Ok(())
    }

    /// Gives out what is held of these parts: they are whole.
    fn flush(
        &mut self,
        which: impl Fn((usize, usize)) -> bool,
        screen: &mut Screen,
        out: &mut Vec<Delta>,
    ) -> Result<(), Refused> {
        for (at, held) in &mut self.held {
            if which(*at) {
                let text = std::mem::take(&mut held.text);
                self.job.give((*at, held.written, text), screen, out)?;
            }
        }
        Ok(())
    }
}

/// Where a key in PEM begins that does not end.
fn open_key(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let begun = at + text.get(at..)?.find(BEGIN)?;
        let rest = text.get(begun..)?;
        let end = rest.find(END).map(|end| end + END.len());
        let last = end.and_then(|end| Some(end + rest.get(end..)?.find("-----")?));
        match last {
            Some(last) => at = begun + last,
            None => return Some(begun),
        }
    }
}

impl Job {
    /// How much of a text nothing can follow that belongs to it.
    fn whole(self, text: &str, screen: &Screen) -> usize {
        match self {
            Self::Restore => screen.found.vault.whole(text),
            Self::Screen => {
                let lines = text.rfind('\n').map_or(0, |line| line + 1);
                let open = open_key(text.get(..lines).unwrap_or_default());
                let open = open.filter(|open| text.len() - open <= KEY_MAX);
                open.unwrap_or(lines)
            }
        }
    }

    /// Gives a text out.
    fn give(
        self,
        (at, written, text): ((usize, usize), Written, String),
        screen: &mut Screen,
        out: &mut Vec<Delta>,
    ) -> Result<(), Refused> {
        let (choice, part) = at;
        let changed = match self {
            Self::Restore => screen.found.vault.restored(&text, written == Written::Json),
            Self::Screen => screen.answered(&text, (Place::Answer(choice), written))?,
        };
        let text = changed.unwrap_or(text);
        if !text.is_empty() {
            out.push(Delta::Text { choice, part, text });
        }
        Ok(())
    }

    /// A part that begins is whole already where it is none of words.
    fn begun(self, choice: usize, begun: &mut Part, screen: &mut Screen) -> Result<(), Refused> {
        let mut refused = Ok(());
        texts::part(Place::Answer(choice), begun, &mut |place, written, text| {
            let changed = match self {
                Self::Restore => Ok(screen.found.vault.restored(text, written == Written::Json)),
                Self::Screen => screen.answered(text, (place, written)),
            };
            match changed {
                Ok(Some(changed)) => *text = changed,
                Ok(None) => {}
                Err(error) => refused = Err(error),
            }
        });
        refused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::{ChatAnswer, Choice, Finish, Opaque};
    use crate::delta::{Assembler, deltas};
    use crate::redact::{Class, GuardSpec, Policy};

    fn policy(rules: serde_json::Value) -> Policy {
        let said: GuardSpec = serde_json::from_value(rules).unwrap();
        Policy::of(&said, &GuardSpec::default(), false)
    }

    fn answer(text: &str, arguments: &str) -> ChatAnswer {
        let call = Part::ToolCall {
            id: "c".into(),
            name: "write".into(),
            arguments: arguments.into(),
            opaque: Opaque::default(),
        };
        ChatAnswer {
            choices: vec![Choice {
                parts: vec![Part::text(text), call],
                finish: Finish::Stop,
                logprobs: None,
            }],
            ..ChatAnswer::default()
        }
    }

    /// The same answer in pieces of so many bytes.
    fn in_pieces(answer: &ChatAnswer, sizes: &[usize]) -> Vec<Vec<Delta>> {
        let mut sizes = sizes.iter().copied().cycle();
        let mut pieces = Vec::new();
        for delta in deltas(answer) {
            let Delta::Text { choice, part, text } = delta else {
                pieces.push(vec![delta]);
                continue;
            };
            let mut letters = text.chars().peekable();
            while letters.peek().is_some() {
                let text = letters.by_ref().take(sizes.next().unwrap()).collect();
                pieces.push(vec![Delta::Text { choice, part, text }]);
            }
        }
        pieces
    }

    fn streamed(flow: &mut Flow, screen: &mut Screen, pieces: Vec<Vec<Delta>>) -> ChatAnswer {
        let mut assembler = Assembler::default();
        for piece in pieces {
            for delta in flow.pass(piece, screen).unwrap() {
                assembler.push(&delta);
            }
        }
        assembler.finish()
    }

    proptest! {
        #[test]
        fn what_is_turned_back_is_the_same_in_pieces_and_as_a_whole(
            words in proptest::collection::vec("[a-z ]{0,6}|\\[email_1\\]|\\[email_2\\]|\\[|\\]|\\[em", 0..20),
            sizes in proptest::collection::vec(1_usize..9, 1..6),
        ) {
            let mut screen = Screen::new(policy(serde_json::json!({})));
            screen.found.vault.placeholder(Class::Email, "a@b.org", true);
            screen.found.vault.placeholder(Class::Email, "c\"@d.org", true);
            let text = words.concat();
            let answer = answer(&text, &text);
            let mut whole = answer.clone();
            screen.restore(&mut whole);
            let mut flow = Flow::restoring(&screen).unwrap();
            prop_assert_eq!(streamed(&mut flow, &mut screen, in_pieces(&answer, &sizes)), whole);
        }

        #[test]
        fn what_is_found_in_an_answer_is_the_same_in_pieces_and_as_a_whole(
            words in proptest::collection::vec(
                "[a-z ]{0,6}|a@b\\.org|\n|password = \"S3cretWord!\"|-----BEGIN PRIVATE KEY-----|-----END PRIVATE KEY-----|MIIEvQ",
                0..20,
            ),
            sizes in proptest::collection::vec(1_usize..9, 1..6),
        ) {
            let rules = serde_json::json!({
                "redact": { "secrets": "redact", "personal": "redact" }, "answers": true,
            });
            let text = words.concat();
            let answer = answer(&text, &text);
            let mut screen = Screen::new(policy(rules.clone()));
            let mut whole = answer.clone();
            screen.answer(&mut whole).unwrap();
            let mut screen = Screen::new(policy(rules));
            let mut flow = Flow::screening(&screen).unwrap();
            prop_assert_eq!(streamed(&mut flow, &mut screen, in_pieces(&answer, &sizes)), whole);
        }
    }

    #[test]
    fn words_that_cannot_become_a_placeholder_are_not_held_back() {
        let mut screen = Screen::new(policy(serde_json::json!({})));
        screen
            .found
            .vault
            .placeholder(Class::Email, "a@b.org", true);
        let mut flow = Flow::restoring(&screen).unwrap();
        let mut given = |text: &str| {
            let delta = Delta::Text {
                choice: 0,
                part: 0,
                text: text.into(),
            };
            let out = flow.pass(vec![delta], &mut screen).unwrap();
            out.into_iter()
                .map(|delta| match delta {
                    Delta::Text { text, .. } => text,
                    other => panic!("{other:?}"),
                })
                .collect::<String>()
        };
        assert_eq!(given("Write to [x] "), "Write to [x] ");
        assert_eq!(given("[ema"), "");
        assert_eq!(given("il_1]."), "a@b.org.");
        assert_eq!(given("[emb"), "[emb");
    }
}
