use super::*;
use crate::hex;

use std::vec::Vec;

/// Bytes of an exchange that the protocol's own client made (`scripts/golden/sealed_bodies.py`).
fn golden(name: &str) -> Vec<u8> {
    let text = include_str!("../../tests/golden/ehbp.txt");
    let digits = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    let mut bytes = vec![0; digits.len() / 2];
    assert!(hex::parse(digits, &mut bytes));
    bytes
}

fn array<const N: usize>(name: &str) -> [u8; N] {
    golden(name).try_into().unwrap()
}

fn recipient() -> Recipient {
    Recipient::new(&array("seed"))
}

/// The chunks of a body.
fn chunks(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while let Some((len, rest)) = body.split_first_chunk() {
        let (chunk, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        chunks.push(chunk.to_vec());
        body = rest;
    }
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}

#[test]
fn the_key_is_that_of_the_specification() {
    let recipient = recipient();
    assert_eq!(recipient.public_key(), array("public-key"));
    assert_eq!(recipient.key_config(), array("key-config"));
    assert_ne!(Recipient::new(&[4; 32]).public_key(), recipient.public_key());
}

#[test]
fn what_a_client_sealed_is_opened_and_the_answer_sealed_as_it_expects() {
    let mut opener = recipient().opener(&array("encapsulated")).unwrap();
    let mut opened = Vec::new();
    for mut chunk in chunks(&golden("sealed-request")) {
        let len = opener.open(&mut chunk).unwrap();
        opened.extend_from_slice(&chunk[..len]);
    }
    assert_eq!(opened, golden("request"));
    let mut exported = [0; 32];
    opener.context.export(RESPONSE, &mut exported).unwrap();
    assert_eq!(exported, array("exported-secret"));

    let mut sealer = opener.sealer(&array("nonce"));
    let (answer, mut rest) = (golden("answer"), 0);
    for sealed in chunks(&golden("sealed-answer")) {
        let mut chunk = answer[rest..rest + sealed.len() - TAG_BYTES].to_vec();
        rest += chunk.len();
        let tag = sealer.seal(&mut chunk).unwrap();
        chunk.extend_from_slice(&tag);
        assert_eq!(chunk, sealed);
    }
    assert_eq!(rest, answer.len());
}

#[test]
fn nothing_is_opened_that_was_changed_cut_moved_or_sealed_to_another_key() {
    let recipient = recipient();
    let encapsulated: PublicKey = array("encapsulated");
    let chunks = chunks(&golden("sealed-request"));
    let opens = |key: &PublicKey, chunk: &[u8]| {
        recipient.opener(key).is_some_and(|mut opener| opener.open(&mut chunk.to_vec()).is_some())
    };
    assert!(opens(&encapsulated, &chunks[0]));
    for bit in 0..8 * chunks[0].len() {
        let mut changed = chunks[0].clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&encapsulated, &changed), "bit {bit}");
    }
    // The highest bit of the point as well, which RFC 7748 has no use for: it is a part of what keys are made of.
    for bit in 0..256 {
        let mut changed = encapsulated;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&changed, &chunks[0]), "bit {bit}");
    }
    for len in 0..chunks[0].len() {
        assert!(!opens(&encapsulated, &chunks[0][..len]), "{len} bytes");
    }
    assert!(!opens(&encapsulated, &chunks[1]), "the second chunk is not the first");
    let mut other = Recipient::new(&[4; 32]).opener(&encapsulated).unwrap();
    assert_eq!(other.open(&mut chunks[0].clone()), None);
}

#[test]
fn points_of_small_order_open_nothing() {
    // The points of order 1, 2, 4 and 8 in RFC 7748's coordinate, and those that are not reduced.
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let order_8: [u8; 32] = {
        let mut bytes = [0; 32];
        assert!(hex::parse("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", &mut bytes));
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    let mut prime = minus_one;
    prime[0] = 0xed;
    for point in [[0; 32], one, minus_one, order_8, prime] {
        assert!(recipient().opener(&point).is_none(), "{point:?}");
    }
}

#[test]
fn answers_differ_with_their_nonces() {
    let opener = recipient().opener(&array("encapsulated")).unwrap();
    let sealed = |nonce| {
        let mut text = *b"the same text";
        let tag = opener.sealer(&nonce).seal(&mut text).unwrap();
        (text, tag)
    };
    assert_eq!(sealed([1; 32]), sealed([1; 32]));
    assert_ne!(sealed([1; 32]), sealed([2; 32]));
}
