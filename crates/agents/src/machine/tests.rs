//! Any conversation ends, and the same one ends the same way.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn definition(text: &str) -> Definition {
    Definition::parse(&format!("name: a\nprompt: p\n{text}")).unwrap()
}

fn says(text: &str) -> Choice {
    Choice {
        parts: vec![Part::text(text)],
        finish: Finish::Stop,
        logprobs: None,
    }
}

fn calls(each: &[(&str, &str)]) -> Choice {
    let parts = each
        .iter()
        .enumerate()
        .map(|(index, (tool, arguments))| Part::ToolCall {
            id: format!("c{index}"),
            name: (*tool).into(),
            arguments: (*arguments).into(),
            opaque: matrix_models::chat::Opaque::default(),
        });
    Choice {
        parts: parts.collect(),
        finish: Finish::Tools,
        logprobs: None,
    }
}

fn observe(machine: &mut Machine, output: &str, failed: bool) {
    let Command::Call(calls) = machine.next().clone() else {
        panic!("no tool is to be called: {:?}", machine.next());
    };
    let results = calls.iter().map(|call| Observed {
        id: call.id.clone(),
        output: output.into(),
        failed,
    });
    let results = results.collect();
    machine.observed(&calls, results, (Timestamp::from_micros(0), None));
}

fn why(machine: &Machine) -> &str {
    match machine.next() {
        Command::End(Ending::Stopped { why, .. }) => why,
        other => panic!("it was not stopped: {other:?}"),
    }
}

fn answer(machine: &mut Machine, choice: &Choice) {
    let usage = Usage {
        input: 10,
        output: 5,
        ..Usage::default()
    };
    machine.answered(choice, &usage, Money::from_nanos(7));
}

#[test]
fn an_answer_without_calls_is_the_end() {
    let mut machine = Machine::new(&definition(""), "goal");
    assert_eq!(*machine.next(), Command::Ask);
    answer(
        &mut machine,
        &calls(&[("read_file", r#"{"path":"a"}"#), ("shell", "not json")]),
    );
    let Command::Call(wanted) = machine.next().clone() else {
        panic!("{:?}", machine.next());
    };
    assert_eq!(wanted[0].arguments, Ok(json!({"path": "a"})));
    assert!(wanted[1].arguments.is_err(), "{wanted:?}");
    observe(&mut machine, "x", false);
    assert_eq!(*machine.next(), Command::Ask);
    answer(&mut machine, &says("done"));
    let text = "done".to_owned();
    assert_eq!(*machine.next(), Command::End(Ending::Finished { text }));
    let spent = machine.spent();
    assert_eq!((spent.turns, spent.tool_calls, spent.tokens), (2, 2, 30));
    assert_eq!(spent.cost, Money::from_nanos(14));
}

#[test]
fn each_limit_stops_it_by_its_name() {
    for (limits, named) in [
        ("limits: {turns: 2}", "turns"),
        ("limits: {tool_calls: 2}", "tool_calls"),
        ("limits: {tokens: 20}", "tokens"),
        ("limits: {cost: '0.000000014'}", "cost"),
    ] {
        let mut machine = Machine::new(&definition(limits), "goal");
        for turn in 0..3 {
            if matches!(machine.next(), Command::End(_)) {
                break;
            }
            answer(&mut machine, &calls(&[("t", &format!("{{\"n\":{turn}}}"))]));
            if matches!(machine.next(), Command::Call(_)) {
                observe(&mut machine, &format!("{turn}"), false);
            }
        }
        assert_eq!(why(&machine), named);
    }
    let mut machine = Machine::new(&definition("limits: {minutes: 1}"), "goal");
    answer(&mut machine, &calls(&[("t", "{}")]));
    let at = Timestamp::from_micros(61_000_000);
    let result = Observed {
        id: "c0".into(),
        output: String::new(),
        failed: false,
    };
    machine.observed(&[], vec![result], (Timestamp::from_micros(0), Some(at)));
    assert_eq!(why(&machine), "time");
}

#[test]
fn whoever_stands_still_is_told_and_then_stopped() {
    let mut machine = Machine::new(&definition(""), "goal");
    for turn in 1..=5 {
        answer(&mut machine, &calls(&[("t", "{}")]));
        observe(&mut machine, "same", false);
        let told = machine.messages().last().unwrap().role == Role::User;
        assert_eq!(told, turn == 3, "turn {turn}");
    }
    assert_eq!(why(&machine), "stuck");
    let mut machine = Machine::new(&definition(""), "goal");
    for turn in 0..10 {
        answer(
            &mut machine,
            &calls(&[("t", &format!("{{\"n\":{}}}", turn % 2))]),
        );
        observe(&mut machine, "same", false);
    }
    assert_eq!(why(&machine), "stuck");
    let mut machine = Machine::new(&definition(""), "goal");
    for turn in 0..10 {
        answer(&mut machine, &calls(&[("t", &format!("{{\"n\":{turn}}}"))]));
        observe(&mut machine, &format!("error {turn}"), true);
    }
    assert_eq!(why(&machine), "stuck");
    let mut machine = Machine::new(&definition(""), "goal");
    for _ in 0..3 {
        answer(&mut machine, &says("  "));
    }
    assert_eq!(why(&machine), "silent");
}

#[derive(Debug, Clone)]
enum Move {
    Says(String),
    Calls(Vec<(u8, u8)>, bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        "[a-c ]{0,2}".prop_map(Move::Says),
        (
            prop::collection::vec((0..3_u8, 0..4_u8), 1..4),
            any::<bool>()
        )
            .prop_map(|(calls, failed)| Move::Calls(calls, failed)),
    ];
    prop::collection::vec(one, 0..60)
}

/// Plays moves while the machine asks for them; gives each state's digest.
fn play(moves: &[Move]) -> (Machine, Vec<Digest>) {
    let limits = "limits: {turns: 20, tool_calls: 40, tokens: 400}";
    let mut machine = Machine::new(&definition(limits), "goal");
    let mut digests = vec![machine.digest()];
    for next in moves {
        if matches!(machine.next(), Command::End(_)) {
            break;
        }
        match next {
            Move::Says(text) => answer(&mut machine, &says(text)),
            Move::Calls(each, failed) => {
                let texts: Vec<_> = each
                    .iter()
                    .map(|(tool, n)| (format!("t{tool}"), format!("{{\"n\":{n}}}")))
                    .collect();
                let pairs: Vec<_> = texts
                    .iter()
                    .map(|(a, b)| (a.as_str(), b.as_str()))
                    .collect();
                answer(&mut machine, &calls(&pairs));
                if matches!(machine.next(), Command::Call(_)) {
                    observe(&mut machine, "out", *failed);
                }
            }
        }
        digests.push(machine.digest());
    }
    (machine, digests)
}

proptest! {
    #[test]
    fn limits_hold_and_the_same_moves_are_the_same_conversation(moves in moves()) {
        let (machine, digests) = play(&moves);
        let spent = machine.spent();
        prop_assert!(spent.turns <= 20 && spent.tool_calls <= 40, "{spent:?}");
        prop_assert!(spent.tokens < 400 + 15);
        let (again, same) = play(&moves);
        prop_assert_eq!(&digests, &same);
        prop_assert_eq!(machine.next(), again.next());
        // Whatever comes before is part of what identifies the conversation.
        let mut seen = std::collections::BTreeSet::new();
        prop_assert!(digests.iter().all(|digest| seen.insert(digest.to_string())));
        // Every call is answered before the model is asked again.
        let mut open = 0_i64;
        for message in machine.messages() {
            for part in &message.parts {
                match part {
                    Part::ToolCall { .. } => open += 1,
                    Part::ToolResult { .. } => open -= 1,
                    _ => {}
                }
            }
            if message.role == Role::User {
                prop_assert_eq!(open, 0);
            }
        }
    }
}
