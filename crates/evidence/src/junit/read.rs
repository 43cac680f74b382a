//! Reading `JUnit` XML.
//!
//! Document types and entities of one's own are never expanded: an unknown entity stays as it is
//! written, so a file cannot grow while it is read.

use std::time::Duration;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::{
    JunitError, MAX_CASES, MAX_DEPTH, MAX_REPORT_BYTES, MAX_TEXT_BYTES, Outcome, TestCase,
    TestReport,
};

/// What an open element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Suite,
    Case,
    /// Inside a case: the element whose text is the case's message.
    Message,
    Other,
}

#[derive(Default)]
struct State {
    open: Vec<Element>,
    suites: Vec<String>,
    case: Option<TestCase>,
    /// The `message` attribute of the element that decides the outcome, and its text.
    headline: String,
    text: String,
    cases: Vec<TestCase>,
    rooted: bool,
}

pub(super) fn read(bytes: &[u8]) -> Result<TestReport, JunitError> {
    if bytes.len() > MAX_REPORT_BYTES {
        return Err(JunitError::TooLarge("more than 128 MiB"));
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader::from_str(text);
    reader.config_mut().allow_dangling_amp = true;
    let mut state = State::default();
    loop {
        let event = reader.read_event().map_err(|error| JunitError::Xml {
            at: reader.error_position(),
            why: error.to_string(),
        })?;
        match event {
            Event::Start(start) => state.start(&start)?,
            Event::Empty(start) => {
                state.start(&start)?;
                state.end();
            }
            Event::End(_) => state.end(),
            Event::Text(text) => state.text(&text.xml10_content()),
            Event::CData(data) => state.text(&data.xml10_content()),
            Event::GeneralRef(reference) => state.text(&resolve(&reference)),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    if !state.open.is_empty() {
        return Err(JunitError::Xml {
            at: text.len() as u64,
            why: "the file is cut off".into(),
        });
    }
    if !state.rooted {
        return Err(JunitError::Empty);
    }
    Ok(TestReport { cases: state.cases })
}

impl State {
    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), JunitError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(JunitError::TooLarge("elements nested more than 64 deep"));
        }
        let name = start.local_name();
        let name: &str = name.as_ref();
        if self.open.is_empty() {
            if name != "testsuites" && name != "testsuite" {
                return Err(JunitError::NotJunit(name.chars().take(80).collect()));
            }
            self.rooted = true;
        }
        let element = match (name, self.case.is_some()) {
            ("testsuites" | "testsuite", false) => {
                self.suites
                    .push(attribute(start, "name").unwrap_or_default());
                Element::Suite
            }
            ("testcase", false) => {
                self.begin_case(start)?;
                Element::Case
            }
            (name, true) if self.open.last() == Some(&Element::Case) => self.outcome(name, start),
            _ => Element::Other,
        };
        self.open.push(element);
        Ok(())
    }

    fn begin_case(&mut self, start: &BytesStart<'_>) -> Result<(), JunitError> {
        if self.cases.len() >= MAX_CASES {
            return Err(JunitError::TooLarge("more than 500000 cases"));
        }
        let class = attribute(start, "classname")
            .or_else(|| attribute(start, "class"))
            .filter(|class| !class.is_empty())
            .or_else(|| {
                self.suites
                    .iter()
                    .rev()
                    .find(|name| !name.is_empty())
                    .cloned()
            })
            .unwrap_or_default();
        let name = attribute(start, "name").unwrap_or_default();
        let outcome = match attribute(start, "status").as_deref() {
            Some("skipped" | "disabled" | "notrun" | "ignored") => Outcome::Skipped,
            Some("failed" | "failure") => Outcome::Failed,
            Some("error") => Outcome::Error,
            _ => Outcome::Passed,
        };
        self.case = Some(TestCase {
            time_ms: attribute(start, "time").as_deref().and_then(milliseconds),
            ..TestCase::new(class, name, outcome)
        });
        Ok(())
    }

    /// A child of a case. The worst outcome among them decides and gives the message.
    fn outcome(&mut self, name: &str, start: &BytesStart<'_>) -> Element {
        let Some(case) = &mut self.case else {
            return Element::Other;
        };
        let outcome = match name {
            "failure" => Outcome::Failed,
            "error" => Outcome::Error,
            "skipped" | "disabled" => Outcome::Skipped,
            "flakyFailure" | "flakyError" => {
                case.flaky = true;
                return Element::Other;
            }
            _ => return Element::Other,
        };
        let worse = severity(outcome) > severity(case.outcome);
        if !worse && (outcome != case.outcome || case.message.is_some()) {
            return Element::Other;
        }
        case.outcome = outcome;
        case.message = None;
        self.headline = attribute(start, "message").unwrap_or_default();
        self.text.clear();
        Element::Message
    }

    fn text(&mut self, text: &str) {
        if self.open.last() == Some(&Element::Message) && self.text.len() < MAX_TEXT_BYTES {
            self.text.push_str(text);
        }
    }

    /// Runners repeat the attribute as the text's first line, or do not.
    fn message(&self) -> Option<String> {
        let (headline, text) = (self.headline.trim(), self.text.trim());
        let whole = if text.starts_with(headline) {
            text.to_owned()
        } else {
            format!("{headline}\n{text}")
        };
        let message = cut(whole.trim());
        (!message.is_empty()).then(|| message.to_owned())
    }

    fn end(&mut self) {
        match self.open.pop() {
            Some(Element::Suite) => {
                self.suites.pop();
            }
            Some(Element::Case) => self.cases.extend(self.case.take()),
            Some(Element::Message) => {
                let message = self.message();
                if let Some(case) = &mut self.case {
                    case.message = message;
                }
            }
            Some(Element::Other) | None => {}
        }
    }
}

/// A case that was skipped and has a failure too failed.
const fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Passed => 0,
        Outcome::Skipped => 1,
        Outcome::Failed => 2,
        Outcome::Error => 3,
    }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = start.try_get_attribute(name).ok().flatten()?;
    let value = attribute
        .normalized_value(XmlVersion::Implicit1_0)
        .map_or_else(|_| attribute.value.clone().into_owned(), Into::into);
    Some(cut(&value).to_owned())
}

fn resolve(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return character.into();
    }
    let name = reference.xml10_content();
    match name.as_ref() {
        "lt" => "<".into(),
        "gt" => ">".into(),
        "amp" => "&".into(),
        "quot" => "\"".into(),
        "apos" => "'".into(),
        other => format!("&{other};"),
    }
}

/// Seconds as runners write them: `0.123`, `1,234.5`, never negative.
fn milliseconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.trim().replace(',', "").parse().ok()?;
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    let rounded = duration.checked_add(Duration::from_micros(500))?;
    u64::try_from(rounded.as_millis()).ok()
}

/// At most [`MAX_TEXT_BYTES`], never within a character.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}
