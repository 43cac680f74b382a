//! How long it takes to look through a text: `redaction_cost [BYTES]`. Prints one JSON object.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures time and prints it"
)]

use std::time::Instant;

use matrix_models::redact::{Action, GuardSpec, Policy, Rules, Topic, find};

/// How often it is looked through.
const ROUNDS: u32 = 2_000;

/// What people and programs write to models, with nothing in it that is looked for.
const PROSE: &str = "Please look at the function below: it reads a file, and says how many lines it \
    has.\n\nfn lines(path: &Path) -> io::Result<usize> {\n    let text = fs::read_to_string(path)?; \
    // 2024-05-17, version 1.4.0\n    Ok(text.lines().count())\n}\n{\"retries\": 3, \"timeout\": 2500}\n";

/// The same with something of several classes.
const FOUND: &str =
    "Ada <ada@example.org>, +49 30 1234567, 203.0.113.7, password = \"Sommer2024!\"\n";

fn main() {
    let bytes = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let bytes: usize = bytes.unwrap_or(4_096);
    let plain: String = PROSE.chars().cycle().take(bytes).collect();
    let mut with = plain.clone();
    with.replace_range(..FOUND.len(), FOUND);
    let nothing = GuardSpec::default();
    let all = GuardSpec {
        redact: Rules::from_iter([
            (Topic::Secrets, Action::Redact),
            (Topic::Personal, Action::Redact),
        ]),
        ..GuardSpec::default()
    };
    let off = Policy::of(&nothing, &nothing, false);
    let secrets = Policy::of(&nothing, &nothing, true);
    let everything = Policy::of(&all, &nothing, true);
    let began = Instant::now();
    drop(find("x", &everything));
    let first = began.elapsed().as_secs_f64() * 1e6;
    let measured = [
        ("off", &plain, off),
        ("secrets", &plain, secrets),
        ("everything", &plain, everything),
        ("everything_found", &with, everything),
    ]
    .map(|(name, text, policy)| format!("\"{name}_us\": {:.2}", micros(text, &policy)));
    let each = measured.join(", ");
    println!("{{\"bytes\": {bytes}, \"first_us\": {first:.0}, {each}}}");
}

/// The median of how long one look takes, in microseconds.
fn micros(text: &str, policy: &Policy) -> f64 {
    let mut took: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            std::hint::black_box(find(std::hint::black_box(text), policy));
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took.get(took.len() / 2).copied().unwrap_or_default()
}
