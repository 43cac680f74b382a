//! The log's forms against another implementation of the same specifications, and against damage.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use matrix_core::Digest;
use matrix_evidence::SigningKey;
use matrix_evidence::tlog::merkle::{self, Frontier, Nodes, TILE_HEIGHT};
use matrix_evidence::tlog::{Checkpoint, Proof, SignedNote, TlogError, note};
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint as TheirCheckpoint, Hash};

const ORIGIN: &str = "journal.example/0";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_entropy([seed; 32]).unwrap()
}

fn entry(number: u64) -> Digest {
    Digest::of(number.to_be_bytes())
}

fn proof(size: u64, index: u64) -> Proof {
    let leaves: Vec<_> = (0..size)
        .map(|number| merkle::leaf(entry(number).as_bytes()))
        .collect();
    let mut frontier = Frontier::default();
    for leaf in &leaves {
        frontier.push(*leaf);
    }
    let mut read = |nodes: Nodes| -> Result<Vec<Digest>, ()> {
        let width = 1_usize << (nodes.level * TILE_HEIGHT);
        let first = usize::try_from(nodes.first).unwrap() * width;
        let count = usize::try_from(nodes.count).unwrap();
        Ok(leaves[first..first + count * width]
            .chunks(width)
            .map(|tile| merkle::fold(tile.to_vec()))
            .collect())
    };
    let checkpoint = Checkpoint {
        origin: ORIGIN.into(),
        size,
        root: frontier.root(),
    };
    Proof {
        extra: None,
        index,
        path: merkle::inclusion(index, size, &mut read).unwrap(),
        checkpoint: checkpoint.sign(&key(1), &key(1).public()).unwrap(),
    }
}

/// Checks a proof's text with the other implementation only.
fn theirs(text: &str, leaf: &Digest) -> Result<(), String> {
    let (head, note) = text.split_once("\n\n").ok_or("no note")?;
    let verifier = note::verifier_key(ORIGIN, &key(1).public());
    let verifier = StandardVerifier::new(&verifier).map_err(|error| error.to_string())?;
    let note = Note::from_bytes(note.as_bytes()).map_err(|error| error.to_string())?;
    note.verify(&VerifierList::new(vec![Box::new(verifier)]))
        .map_err(|error| error.to_string())?;
    let checkpoint =
        TheirCheckpoint::from_bytes(note.text()).map_err(|error| format!("{error:?}"))?;
    let mut lines = head.lines().skip(1);
    let index: u64 = lines
        .next()
        .and_then(|line| line.strip_prefix("index "))
        .and_then(|number| number.parse().ok())
        .ok_or("no index")?;
    let path = lines
        .map(|line| Hash(BASE64_STANDARD.decode(line).unwrap().try_into().unwrap()))
        .collect();
    tlog_tiles::check_record(
        &path,
        checkpoint.size(),
        *checkpoint.hash(),
        index,
        tlog_tiles::record_hash(leaf.as_bytes()),
    )
    .map_err(|error| format!("{error:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_implementation_believes_our_proofs(size in 1_u64..1_500, index: u64) {
        let index = index % size;
        let text = proof(size, index).to_string();
        prop_assert_eq!(theirs(&text, &entry(index)), Ok(()));
        prop_assert!(theirs(&text, &entry(index + 1)).is_err());
        let keys = [key(1).public()];
        let read = Proof::parse(&text).unwrap();
        prop_assert_eq!(read.to_string(), text);
        prop_assert_eq!(read.verify(entry(index).as_bytes(), &keys).unwrap().size, size);
        prop_assert!(read.verify(entry(index + 1).as_bytes(), &keys).is_err());
    }

    #[test]
    fn a_changed_byte_is_never_believed(at: prop::sample::Index, bit in 0_u8..7) {
        let text = proof(300, 77).to_string();
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let Ok(changed) = String::from_utf8(bytes) else { return Ok(()) };
        let believed = Proof::parse(&changed)
            .and_then(|proof| proof.verify(entry(77).as_bytes(), &[key(1).public()]));
        prop_assert!(believed.is_err(), "byte {at} of\n{changed}");
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,200}", lines in "[a-z0-9 \n\u{2014}=]{0,200}") {
        drop(Proof::parse(&text));
        drop(Proof::parse(&format!("c2sp.org/tlog-proof@v1\n{lines}")));
        drop(SignedNote::parse(&lines));
        drop(Checkpoint::parse(&lines));
    }
}

#[test]
fn a_key_that_nobody_trusts_proves_nothing() {
    let proof = proof(5, 2);
    let refused = proof.verify(entry(2).as_bytes(), &[key(2).public()]);
    assert!(
        matches!(refused, Err(TlogError::Untrusted(_))),
        "{refused:?}"
    );
    assert!(proof.verify(entry(2).as_bytes(), &[]).is_err());
}

#[test]
fn a_witness_may_add_its_signature() {
    let note = proof(5, 2).checkpoint.to_string();
    let cosigned = format!("{note}\u{2014} witness.example AAAAAAAA\n");
    let note = SignedNote::parse(&cosigned).unwrap();
    assert_eq!(Checkpoint::open(&note, &[key(1).public()]).unwrap().size, 5);
    assert_eq!(note.to_string(), cosigned);
}
