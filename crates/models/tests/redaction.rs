//! What is found in texts, and what is not: one table for each class.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use matrix_models::redact::{Class, GuardSpec, Policy, find};

/// Everything is looked for.
fn everything() -> Policy {
    let said = serde_json::json!({ "redact": { "secrets": "redact", "personal": "redact" } });
    let said: GuardSpec = serde_json::from_value(said).unwrap();
    Policy::of(&said, &GuardSpec::default(), false)
}

/// What is found: the class, and the text.
fn found(text: &str) -> Vec<(Class, &str)> {
    let found = find(text, &everything());
    let found = found.into_iter();
    found.map(|it| (it.class, &text[it.range])).collect()
}

/// Each text has this in it, and nothing else.
fn matching(class: Class, table: &[(&str, &str)]) {
    for (text, value) in table {
        assert_eq!(found(text), [(class, *value)], "in {text}");
    }
}

fn not_matching(class: Class, table: &[&str]) {
    for text in table {
        let found = found(text);
        assert!(
            found.iter().all(|(found, _)| *found != class),
            "{text}: {found:?}"
        );
    }
}

/// Keys are written in two parts here, so that nobody takes this file for one that holds some.
fn joined(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn private_keys() {
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
    for kind in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
        let key = format!(
            "-----BEGIN {kind}PRIVATE {}-----\n{body}\n{body}==\n-----END {kind}PRIVATE KEY-----",
            "KEY"
        );
        let text = format!("Here it is:\n{key}\nThat was it.");
        assert_eq!(found(&text), [(Class::PrivateKey, key.as_str())]);
        // As JSON writes it inside a text.
        let json = key.replace('\n', "\\n");
        let text = format!("{{\"file\":\"{json}\"}}");
        assert_eq!(found(&text), [(Class::PrivateKey, json.as_str())]);
        // Two of them are two, and one that was cut ends where nothing of a key follows.
        let text = format!("{key}\n\n{key}\n");
        assert_eq!(found(&text).len(), 2, "{text}");
        let cut = format!("-----BEGIN {kind}PRIVATE {}-----\n{body}\n{body}", "KEY");
        let text = format!("{cut}(the rest is missing)");
        assert_eq!(found(&text), [(Class::PrivateKey, cut.as_str())]);
    }
    not_matching(
        Class::PrivateKey,
        &[
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
            "a PRIVATE KEY is kept in a file",
        ],
    );
}

#[test]
fn keys_of_providers() {
    let digits = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0";
    for key in [
        joined(&["AKIA", "IOSFODNN7EXAMPLE"]),
        joined(&["ASIA", "Q3EGXAMPLEKEY7AB"]),
        joined(&["ghp_", &digits[..36]]),
        joined(&["ghs_", &digits[..36]]),
        joined(&["github_pat_", &digits[..22], "_", digits]),
        joined(&["glpat-", &digits[..20]]),
        joined(&["xoxb-", "2314-5678-", &digits[..24]]),
        joined(&["AIza", &digits[..35]]),
        joined(&["sk-", &digits[..40]]),
        joined(&["sk-proj-", &digits[..20], "-", &digits[..20]]),
        joined(&["sk-ant-api03-", digits]),
        joined(&["sk_live_", &digits[..24]]),
        joined(&["rk_test_", &digits[..24]]),
        joined(&["whsec_", &digits[..32]]),
        joined(&["npm_", &digits[..36]]),
        joined(&["hf_", &digits[..34]]),
        joined(&["pypi-AgE", "IcHlwaS5vcmc", digits, digits]),
    ] {
        for text in [
            format!("use {key} for that"),
            format!("KEY={key}"),
            format!("{{\"k\":\"{key}\"}}"),
            format!("`{key}`, I think"),
        ] {
            assert_eq!(found(&text), [(Class::ProviderKey, key.as_str())], "{text}");
        }
    }
    let hook = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";
    let text = format!("https://hooks.slack.com/services/{hook}");
    assert_eq!(found(&text), [(Class::ProviderKey, hook)]);
    not_matching(
        Class::ProviderKey,
        &[
            "AKIA",
            "AKIAIOSFODNN7EXAMPL",
            "MAKIAIOSFODNN7EXAMPLE",
            "ghp_short",
            "sk-loading-indicator-with-a-long-name",
            "task-0123456789abcdefghijklmn",
            "npm_config_registry",
            "hf_hub_download",
            "AIzaShort",
            "xoxo and love",
        ],
    );
}

#[test]
fn tokens() {
    let jwt = joined(&[
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        ".eyJzdWIiOiIxMjM0NTY3ODkwIn0",
        ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ]);
    let ours = joined(&["mtx_", &"0123456789abcdefghjkmnpqrs".repeat(2)]);
    for token in [jwt, ours] {
        for text in [
            format!("it is {token}"),
            format!("cookie: s={token}; path=/"),
        ] {
            assert_eq!(found(&text), [(Class::Token, token.as_str())], "{text}");
        }
    }
    not_matching(
        Class::Token,
        &["eyJ.eyJ.x", "eyJhbGciOiJIUzI1NiJ9", "mtx_short", "a.b.c"],
    );
}

#[test]
fn credentials() {
    matching(
        Class::Credential,
        &[
            ("password = \"Sommer2024!\"", "Sommer2024!"),
            ("DB_PASSWORD=hunter2hunter2", "hunter2hunter2"),
            ("  password: 'c0rrect horse'", "c0rrect horse"),
            ("{\"password\": \"p4ssw0rd!x\"}", "p4ssw0rd!x"),
            ("{\\\"api_key\\\":\\\"9f8e7d6c5b4a\\\"}", "9f8e7d6c5b4a"),
            ("const apiKey = '0a1b2c3d4e5f'", "0a1b2c3d4e5f"),
            ("client_secret => 'Zx8~Q4mkL0pWe'", "Zx8~Q4mkL0pWe"),
            ("connect(password=abc123def!)", "abc123def!"),
            (
                "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            ),
            (
                "Authorization: Bearer 9f8e7d6c5b4a39281706",
                "9f8e7d6c5b4a39281706",
            ),
            (
                "curl -H 'Authorization: Basic dXNlcjpwYXNzd29yZDE='",
                "dXNlcjpwYXNzd29yZDE=",
            ),
            ("postgres://app:s3cr3t@db/app", "s3cr3t"),
            ("amqp://user:p%40ss@broker:5672", "p%40ss"),
            ("redis://:onlypass@cache:6379/0", "onlypass"),
        ],
    );
    not_matching(
        Class::Credential,
        &[
            "password: string",
            "password = get_password(user)",
            "password = os.environ['DB_PASSWORD']",
            "password=${DB_PASSWORD}",
            "password: <your password here>",
            "password = args.password",
            "password: '********'",
            "password = \"changeit\"",
            "max_tokens: 4096, tokens: 12345678901",
            "the password must have 8 characters or more",
            "password: 'must have 8 characters or more!'",
            "password = [credential_1]",
            "https://example.org:8443/a@b",
            "postgres://app@db/app",
            "postgres://app:[credential_1]@db/app",
            "secret: \"short1\"",
            "token = tokens[12345]",
        ],
    );
}

#[test]
fn payment_cards() {
    matching(
        Class::Card,
        &[
            ("card 4111 1111 1111 1111 please", "4111 1111 1111 1111"),
            ("5500-0000-0000-0004", "5500-0000-0000-0004"),
            ("{\"n\":\"378282246310005\"}", "378282246310005"),
            ("6011111111111117.", "6011111111111117"),
            // A number before it does not hide it.
            ("order 5678 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ],
    );
    not_matching(
        Class::Card,
        &[
            "4111 1111 1111 1112",
            "4111-1111 1111-1111",
            "0000000000000000",
            "1234567890123456",
            "411111111111",
            "41111111111111111111111111",
        ],
    );
}

#[test]
fn account_numbers() {
    matching(
        Class::Iban,
        &[
            ("DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
            ("to GB82WEST12345698765432, soon", "GB82WEST12345698765432"),
            (
                "FR14 2004 1010 0505 0001 3M02 606 AND MORE",
                "FR14 2004 1010 0505 0001 3M02 606",
            ),
        ],
    );
    not_matching(
        Class::Iban,
        &[
            "DE89 3704 0044 0532 0130 01",
            "XX89370400440532013000",
            "DE89 3704 0044",
            "AB12CD34EF56GH78",
        ],
    );
}

#[test]
fn social_security_numbers() {
    matching(Class::Ssn, &[("SSN 123-45-6789", "123-45-6789")]);
    not_matching(
        Class::Ssn,
        &[
            "000-12-3456",
            "666-12-3456",
            "923-45-6789",
            "123-00-4567",
            "123-45-0000",
            "123-45-67890",
        ],
    );
}

#[test]
fn addresses_of_people() {
    matching(
        Class::Email,
        &[
            ("write to ada.l+x@example.co.uk.", "ada.l+x@example.co.uk"),
            ("<bob@mail.example>", "bob@mail.example"),
            ("mailto:c_d@example.org?subject=x", "c_d@example.org"),
        ],
    );
    not_matching(
        Class::Email,
        &[
            "@ada",
            "serde@1.0.2",
            "git@github.com:a/b.git",
            "a@b",
            "x @example.org",
        ],
    );
    matching(
        Class::Phone,
        &[
            ("call +49 30 1234567 now", "+49 30 1234567"),
            ("+1 (415) 555-2671", "+1 (415) 555-2671"),
            ("tel:+442071838750", "+442071838750"),
        ],
    );
    not_matching(
        Class::Phone,
        &[
            "1+12345678",
            "+0123456789",
            "+1234567",
            "+12345678901234567",
            "2024-01-01T10:00+02:00",
        ],
    );
}

#[test]
fn addresses_of_machines() {
    matching(
        Class::Ip,
        &[
            ("from 203.0.113.7 at noon", "203.0.113.7"),
            ("10.0.0.1.", "10.0.0.1"),
            ("http://203.0.113.7:8080/", "203.0.113.7"),
            ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            (
                "at fe80::1ff:fe23:4567:890a there",
                "fe80::1ff:fe23:4567:890a",
            ),
        ],
    );
    not_matching(
        Class::Ip,
        &[
            "127.0.0.1",
            "0.0.0.0",
            "::1",
            "1.2.3",
            "1.2.3.4.5",
            "999.1.1.1",
            "std::io",
            "12:30:45",
            "a::b::c",
        ],
    );
}

#[test]
fn what_overlaps_is_the_weightier_class_and_covers_both() {
    let text = "postgres://app:s3cr3t@db.example.org/app";
    assert_eq!(
        found(text),
        [(Class::Credential, "s3cr3t@db.example.org")],
        "the mail address that it looks like, too"
    );
    let secrets: GuardSpec = serde_json::from_value(serde_json::json!({})).unwrap();
    let policy = Policy::of(&secrets, &GuardSpec::default(), true);
    let found = find("a@b.org has password=abc123def!", &policy);
    assert_eq!(found.len(), 1, "personal data is not looked for by default");
}

/// Time grows with the text, not with its square: what is hardest for each pattern, made long.
#[test]
fn a_long_text_takes_no_longer_than_its_length() {
    let policy = everything();
    for hard in [
        "a",
        "+1 ",
        "1.",
        ":a",
        "4 ",
        "-----BEGIN PRIVATE KEY-----",
        "sk-",
        "a@",
        "password=",
        "DE89 ",
        "eyJaaaaaaaaa.",
        "://a:",
        "x@y.",
    ] {
        let text = hard.repeat(400_000 / hard.len());
        // It would not come back in a day.
        drop(find(&text, &policy));
    }
}
