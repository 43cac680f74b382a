use super::*;

fn patched(content: &str, diff: &str) -> Result<String, DiffFault> {
    apply(content.as_bytes(), diff.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

const FILE: &str = "fn a() {\n    one();\n}\n\nfn b() {\n    one();\n}\n";

#[test]
fn right_wrong_and_missing_line_numbers_lead_to_the_same_place() {
    let body = " fn b() {\n-    one();\n+    two();\n }\n";
    let expected = "fn a() {\n    one();\n}\n\nfn b() {\n    two();\n}\n";
    for header in [
        "@@ -5,3 +5,3 @@",
        "@@ -99,3 +99,3 @@ fn b",
        "@@ @@",
        "@@ … @@",
        "@@",
    ] {
        let diff = format!("{header}\n{body}");
        assert_eq!(patched(FILE, &diff).unwrap(), expected, "{header}");
    }
}

#[test]
fn two_places_are_refused_unless_the_number_decides() {
    let body = "-    one();\n+    two();\n";
    assert_eq!(
        patched(FILE, &format!("@@ @@\n{body}")),
        Err(DiffFault::Ambiguous {
            hunk: 1,
            lines: vec![2, 6]
        })
    );
    assert!(patched(FILE, &format!("@@ -4 +4 @@\n{body}")).is_err());
    let first = patched(FILE, &format!("@@ -2 +2 @@\n{body}")).unwrap();
    assert_eq!(first, FILE.replacen("one", "two", 1));
}

#[test]
fn an_earlier_hunk_tells_how_far_the_numbers_are_off() {
    let file = format!("// new\n// lines\n{FILE}");
    let diff =
        "@@ -1,2 +1,2 @@\n fn a() {\n-    one();\n+    1();\n@@ -6 +6 @@\n-    one();\n+    2();\n";
    let result = patched(&file, diff).unwrap();
    assert!(result.contains("fn a() {\n    1();"), "{result}");
    assert!(result.contains("fn b() {\n    2();"), "{result}");
}

#[test]
fn carriage_returns_of_the_file_are_kept_and_adopted() {
    let file = "a\r\nb\r\nc\r\n";
    assert_eq!(
        patched(file, "@@ @@\n a\n-b\n+x\n+y\n c\n").unwrap(),
        "a\r\nx\r\ny\r\nc\r\n"
    );
    // A diff that shows the line ends is taken at its word.
    assert_eq!(
        patched(file, "@@ @@\n a\r\n-b\r\n+b\n c\r\n").unwrap(),
        "a\r\nb\nc\r\n"
    );
    // A diff with carriage returns on a file without them does not bring them in.
    assert_eq!(
        patched("a\nb\n", "@@ @@\r\n a\r\n-b\r\n+x\r\n").unwrap(),
        "a\nx\n"
    );
}

#[test]
fn the_end_of_the_last_line_is_as_the_diff_says() {
    let marked = "@@ @@\n a\n-b\n\\ No newline at end of file\n+c\n";
    assert_eq!(patched("a\nb", marked).unwrap(), "a\nc\n");
    let removed = "@@ @@\n a\n-b\n+b\n\\ No newline at end of file\n";
    assert_eq!(patched("a\nb\n", removed).unwrap(), "a\nb");
    let both = "@@ @@\n-a\n+x\n b\n\\ No newline at end of file\n";
    assert_eq!(patched("a\nb", both).unwrap(), "x\nb");
    // Without a mark, appending ends the line before it.
    assert_eq!(patched("a\nb", "@@ @@\n a\n b\n+c\n").unwrap(), "a\nb\nc\n");
    // Without a mark, a context line keeps the file's own end.
    assert_eq!(patched("a\nb", "@@ @@\n-a\n+x\n b\n").unwrap(), "x\nb");
}

#[test]
fn trailing_spaces_and_a_uniform_shift_are_tolerated() {
    let file = "class A:\n    def f(self):  \n        return 1\n";
    let diff = "@@ @@\n def f(self):\n-    return 1\n+    if x:\n+        return 2\n";
    assert_eq!(
        patched(file, diff).unwrap(),
        "class A:\n    def f(self):  \n        if x:\n            return 2\n"
    );
    let uneven = "@@ @@\n def f(self):\n-  return 1\n+  return 2\n";
    assert!(
        patched(file, uneven).is_err(),
        "the shift differs between the lines"
    );
}

#[test]
fn outer_context_may_be_wrong_but_not_all_of_it() {
    let file = "alpha\nbeta\ngamma\ndelta\n";
    let diff = "@@ @@\n ALPHA\n beta\n-gamma\n+GAMMA\n delta\n";
    assert_eq!(patched(file, diff).unwrap(), "alpha\nbeta\nGAMMA\ndelta\n");
    let nothing_left = "@@ @@\n ALPHA\n-gamma\n+GAMMA\n DELTA\n";
    assert!(patched(file, nothing_left).is_err());
}

#[test]
fn insertions_need_context_or_a_number() {
    assert_eq!(patched("", "@@ @@\n+a\n").unwrap(), "a\n");
    assert_eq!(
        patched("a\nb\n", "@@ -1,0 +2 @@\n+x\n").unwrap(),
        "a\nx\nb\n"
    );
    assert_eq!(patched("a\n", "@@ -0,0 +1 @@\n+x\n").unwrap(), "x\na\n");
    let error = patched("a\n", "@@ @@\n+x\n").unwrap_err().to_string();
    assert!(error.contains("context"), "{error}");
}

#[test]
fn a_hunk_that_fits_nowhere_shows_what_is_there() {
    let error = patched(FILE, "@@ @@\n fn b() {\n-    three();\n }\n").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("hunk 1 does not fit"), "{text}");
    assert!(text.contains("    |     three();"), "{text}");
    assert!(text.contains("    6 |     one();"), "{text}");
}

fn told(content: &str, diff: &str) -> Vec<String> {
    let fitted = fit(content.as_bytes(), diff.as_bytes()).unwrap();
    let loose = fitted.hunks.iter().filter(|fit| !fit.is_exact());
    loose.map(ToString::to_string).collect()
}

#[test]
fn what_was_tolerated_is_told() {
    let body = " fn b() {\n-    one();\n+    two();\n }\n";
    for exact in ["@@ -5,3 +5,3 @@", "@@ @@"] {
        assert_eq!(told(FILE, &format!("{exact}\n{body}")), [""; 0], "{exact}");
    }
    let below = told(FILE, &format!("@@ -4,3 +4,3 @@\n{body}"));
    assert_eq!(below, ["hunk 1 at line 5, 1 line below where it says"]);
    let above = told(FILE, &format!("@@ -99,3 +99,3 @@\n{body}"));
    assert_eq!(above, ["hunk 1 at line 5, 94 lines above where it says"]);
    let file = "alpha\nbeta\ngamma\ndelta\n";
    let fuzzy = told(file, "@@ -1,4 +1,4 @@\n ALPHA\n beta\n-gamma\n+G\n delta\n");
    assert_eq!(fuzzy, ["hunk 1 at line 1, without 1 outer context line"]);
    let deeper = told(
        "class A:\n    a = 1\n    b = 2\n",
        "@@ @@\n a = 1\n-b = 2\n+b = 3\n",
    );
    assert_eq!(deeper, ["hunk 1 at line 2, indentation aside"]);
    let inserted = "@@ -1,0 +2 @@\n+x\n";
    assert_eq!(
        told("a\nb\n", inserted),
        [""; 0],
        "behind line 1, as it says"
    );
}
