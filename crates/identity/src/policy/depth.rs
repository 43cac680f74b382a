//! A bound on how deep a policy is nested, found before it is parsed.
//!
//! The parser, the validator and the evaluator follow the nesting of an expression on the stack,
//! and a thread whose stack is used up takes the process with it. Brackets and `if` nest what
//! stands in them; every other token can nest one level more, as in `a && a && a`.

/// The deepest nesting of brackets.
const BRACKETS_MAX: usize = 24;

/// The most `if` in one policy; each branch may hold the next.
const BRANCHES_MAX: usize = 24;

/// The most words and signs in one policy.
const TOKENS_MAX: usize = 2_000;

/// What is counted between one semicolon and the next.
#[derive(Default)]
struct Counts {
    brackets: usize,
    branches: usize,
    tokens: usize,
}

/// The byte offset of the first thing that goes too deep, and what it is.
pub(super) fn too_deep(text: &str) -> Option<(usize, String)> {
    let mut counts = Counts::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let offset = text.len() - rest.len();
        let length = token_length(rest, first);
        let (token, after) = rest.split_at(length);
        rest = after;
        if first.is_whitespace() || token.starts_with("//") {
            continue;
        }
        counts.tokens += 1;
        match token {
            "(" | "[" | "{" => counts.brackets += 1,
            ")" | "]" | "}" => counts.brackets = counts.brackets.saturating_sub(1),
            "if" => counts.branches += 1,
            ";" => counts = Counts::default(),
            _ => {}
        }
        let limits = [
            (counts.brackets, BRACKETS_MAX, "brackets inside one another"),
            (counts.branches, BRANCHES_MAX, "`if` in one policy"),
            (counts.tokens, TOKENS_MAX, "words and signs in one policy"),
        ];
        for (count, limit, what) in limits {
            if count > limit {
                return Some((offset, format!("more than {limit} {what}")));
            }
        }
    }
    None
}

/// How many bytes the token at the beginning of a non-empty text takes.
fn token_length(text: &str, first: char) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if first == '"' {
        let mut escaped = false;
        for (offset, character) in text.char_indices().skip(1) {
            match character {
                '"' if !escaped => return offset + 1,
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        return text.len();
    }
    let in_word = |character: char| character.is_alphanumeric() || character == '_';
    if in_word(first) {
        return text
            .find(|character| !in_word(character))
            .unwrap_or(text.len());
    }
    first.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_do_not_nest() {
        let brackets = "(".repeat(100);
        let text =
            format!("// {brackets}\npermit(principal, action == \"\\\"{brackets}\", resource);");
        assert_eq!(too_deep(&text), None);
        assert!(too_deep(&brackets).is_some());
    }

    #[test]
    fn each_policy_counts_for_itself() {
        assert_eq!(
            too_deep(&"permit(principal, action, resource);".repeat(500)),
            None
        );
        let (offset, message) = too_deep(&"if ".repeat(30)).unwrap();
        assert_eq!(offset, 3 * BRANCHES_MAX);
        assert!(message.contains("`if`"), "{message}");
    }

    #[test]
    fn the_built_in_policy_is_far_from_the_limits() {
        assert_eq!(too_deep(super::super::source::DEFAULT_POLICY), None);
    }
}
