//! Which texts a plan may hold. Each rule gives the reason of a refusal.

use super::super::{
    BASE_CHARS, BECAUSE_CHARS, EMAIL_CHARS, GOAL_CHARS, NAME_CHARS, TARGET_CHARS, TITLE_CHARS,
};

type Ruling = Result<(), String>;

fn refuse(why: &str) -> Ruling {
    Err(why.to_owned())
}

fn length(text: &str, most: usize) -> Ruling {
    if text.trim().is_empty() {
        return refuse("it is empty");
    }
    let count = text.chars().count();
    if count > most {
        return Err(format!("it has {count} characters; {most} are allowed"));
    }
    Ok(())
}

/// Characters that make a text look like another to the people who approve it.
fn deceives(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn visible(text: &str, allowed: &[char]) -> Ruling {
    let bad = |c: &char| (c.is_control() && !allowed.contains(c)) || deceives(*c);
    match text.chars().find(bad) {
        Some(c) => Err(format!(
            "it has the character U+{:04X}, which cannot be seen",
            u32::from(c)
        )),
        None => Ok(()),
    }
}

/// One line.
fn line(text: &str, most: usize) -> Ruling {
    length(text, most)?;
    if text.contains(['\n', '\r']) {
        return refuse("it is one line");
    }
    visible(text, &[])
}

pub(super) fn title(text: &str) -> Ruling {
    line(text, TITLE_CHARS)
}

pub(super) fn goal(text: &str) -> Ruling {
    length(text, GOAL_CHARS)?;
    visible(text, &['\n', '\t'])
}

pub(super) fn because(text: &str) -> Ruling {
    length(text, BECAUSE_CHARS)?;
    visible(text, &['\n', '\t'])
}

pub(super) fn base(text: &str) -> Ruling {
    line(text, BASE_CHARS)?;
    if text.starts_with('-') {
        return refuse("a revision does not begin with `-`");
    }
    Ok(())
}

pub(super) fn person_name(text: &str) -> Ruling {
    line(text, NAME_CHARS)?;
    if text.contains(['<', '>']) {
        return refuse("a name has no `<` or `>`");
    }
    if !text.chars().any(char::is_alphanumeric) {
        return refuse("a name has at least one letter or digit");
    }
    Ok(())
}

/// Not all of RFC 5321, but nothing that a commit could misread.
pub(super) fn email(text: &str) -> Ruling {
    line(text, EMAIL_CHARS)?;
    if text
        .chars()
        .any(|c| c.is_whitespace() || "<>()[],;:\\\"".contains(c))
    {
        return refuse("an address has no spaces, brackets, commas or quotes");
    }
    match text.split_once('@') {
        Some((local, domain))
            if !local.is_empty()
                && !domain.contains('@')
                && domain.chars().any(char::is_alphanumeric)
                && !domain.starts_with(['.', '-'])
                && !domain.ends_with(['.', '-'])
                && !domain.contains("..") =>
        {
            Ok(())
        }
        _ => refuse("an address has the form `name@domain`"),
    }
}

pub(super) fn target(text: &str) -> Ruling {
    length(text, TARGET_CHARS)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.chars().all(plain) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse(
            "a target's name has letters, digits, `.`, `_` and `-`, and begins with one of the first two",
        );
    }
    Ok(())
}

/// Text of a file, or a diff.
pub(super) fn content(text: &str) -> Ruling {
    if text.contains('\0') {
        return refuse("it has a NUL character; plans write text files only");
    }
    Ok(())
}
