//! The lines that a canonical diff adds and removes, file by file.

/// What the diff does to one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileDiff {
    /// The path after the change, or before it where the file is deleted.
    pub(crate) path: String,
    /// Whether the change makes or deletes the file.
    pub(crate) deleted: bool,
    /// Added lines with their numbers after the change.
    pub(crate) added: Vec<(u32, String)>,
    /// Removed lines.
    pub(crate) removed: Vec<String>,
}

/// Reads a diff as `git diff --no-renames` writes it. Binary files have no lines.
pub(crate) fn parse(diff: &[u8]) -> Vec<FileDiff> {
    let mut files: Vec<FileDiff> = Vec::new();
    // Lines of the hunk that are still to come, before and after the change.
    let (mut before, mut after) = (0_u64, 0_u64);
    let mut number = 0_u32;
    for line in diff.split(|byte| *byte == b'\n') {
        if before + after > 0 {
            let Some(file) = files.last_mut() else {
                continue;
            };
            let text = || String::from_utf8_lossy(line.get(1..).unwrap_or_default()).into_owned();
            match line.first() {
                Some(b'+') => {
                    file.added.push((number, text()));
                    number = number.saturating_add(1);
                    after = after.saturating_sub(1);
                }
                Some(b'-') => {
                    file.removed.push(text());
                    before = before.saturating_sub(1);
                }
                Some(b'\\') => {}
                _ => {
                    number = number.saturating_add(1);
                    before = before.saturating_sub(1);
                    after = after.saturating_sub(1);
                }
            }
        } else if let Some(rest) = line.strip_prefix(b"diff --git ") {
            let path = header_path(&String::from_utf8_lossy(rest));
            files.push(FileDiff {
                path,
                ..FileDiff::default()
            });
        } else if let Some(file) = files.last_mut() {
            if line.starts_with(b"deleted file mode") {
                file.deleted = true;
            } else if let Some(path) = line.strip_prefix(b"+++ ") {
                let path = unquote(&String::from_utf8_lossy(path));
                if let Some(path) = path.strip_prefix("b/") {
                    path.clone_into(&mut file.path);
                }
            } else if let Some((old, new, start)) = hunk(line) {
                (before, after, number) = (old, new, start);
            }
        }
    }
    files
}

/// `@@ -3,2 +3,4 @@`: how many lines before, how many after, and the first number after.
fn hunk(line: &[u8]) -> Option<(u64, u64, u32)> {
    let line = std::str::from_utf8(line.get(..line.len().min(100))?).unwrap_or_else(|error| {
        let valid = line.get(..error.valid_up_to()).unwrap_or_default();
        std::str::from_utf8(valid).unwrap_or_default()
    });
    let rest = line.strip_prefix("@@ -")?;
    let (ranges, _) = rest.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(u32, u64)> {
        match text.split_once(',') {
            Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let ((_, before), (start, after)) = (range(old)?, range(new)?);
    Some((before, after, start))
}

/// The path in `a/X b/X`, which are the same where nothing is renamed.
fn header_path(header: &str) -> String {
    if header.starts_with('"') {
        let unquoted = unquote(header);
        return unquoted.strip_prefix("a/").unwrap_or(&unquoted).to_owned();
    }
    let length = header.len().saturating_sub(5) / 2;
    header.get(2..2 + length).unwrap_or(header).to_owned()
}

/// A path as git writes it: bare, or in quotes with C's escapes.
fn unquote(text: &str) -> String {
    let text = text.trim_end_matches(['\t', '\r']);
    let Some(inner) = text.strip_prefix('"') else {
        return text.to_owned();
    };
    let mut bytes = Vec::new();
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => break,
            b'\\' => match rest.next() {
                Some(digit @ b'0'..=b'3') => {
                    let octal = [Some(digit), rest.next(), rest.next()];
                    let value = octal.iter().flatten().fold(0_u32, |value, digit| {
                        value * 8 + u32::from(digit.wrapping_sub(b'0') & 7)
                    });
                    bytes.push(u8::try_from(value).unwrap_or(b'?'));
                }
                Some(b't') => bytes.push(b'\t'),
                Some(b'n') => bytes.push(b'\n'),
                Some(other) => bytes.push(other),
                None => {}
            },
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIFF: &str = r#"diff --git a/src/a b.rs b/src/a b.rs
index 1..2 100644
--- a/src/a b.rs	
+++ b/src/a b.rs	
@@ -3,3 +3,4 @@ fn x() {
 same
-old
+new
++++ b/not-a-header
 same
\ No newline at end of file
diff --git "a/na\303\257ve.txt" "b/na\303\257ve.txt"
new file mode 100644
--- /dev/null
+++ "b/na\303\257ve.txt"
@@ -0,0 +1 @@
+one
diff --git a/gone b/gone
deleted file mode 100644
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-was
diff --git a/pic.png b/pic.png
GIT binary patch
literal 3
+notaline
"#;

    #[test]
    fn lines_have_their_file_and_number() {
        let files = parse(DIFF.as_bytes());
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["src/a b.rs", "naïve.txt", "gone", "pic.png"]);
        assert_eq!(
            files[0].added,
            [(4, "new".into()), (5, "+++ b/not-a-header".into())]
        );
        assert_eq!(files[0].removed, ["old"]);
        assert_eq!(files[1].added, [(1, "one".into())]);
        assert!(files[2].deleted);
        assert!(files[3].added.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let mut framed = b"diff --git a/x b/x\n+++ \"b/\\3\n@@ -1,9 +1,9 @@\n".to_vec();
            framed.extend(bytes);
            let _ = parse(&framed);
        }
    }
}
