use super::{typist::Typist, *};
use crate::shell::screen::Screen;

#[test]
fn keys_edit_the_line_where_the_cursor_is() {
    let mut typist = Typist::new();
    assert_eq!(typist.line(b"hllo\x1b[D\x1b[D\x1b[De\r"), "hello");
    assert_eq!(typist.line(b"world\x01hello \x05!\r"), "hello world!");
    assert_eq!(typist.line(b"abc\x7f\x7fx\r"), "ax");
    assert_eq!(typist.line(b"abc\x1b[H\x1b[3~\r"), "bc");
    assert_eq!(typist.line(b"abc\x1b[H\x04\r"), "bc");
    assert_eq!(typist.line(b"one two\x15three\r"), "three");
    assert_eq!(typist.line(b"one two\x01\x0bthree\r"), "three");
    assert_eq!(typist.line(b"one two  \x17three\r"), "one three");
    assert_eq!(typist.line(b"abc\x0c\r"), "abc");
}

#[test]
fn keys_edit_words() {
    let mut typist = Typist::new();
    assert_eq!(typist.line(b"foo bar\x1b\x7fuptime\r"), "foo uptime");
    assert_eq!(typist.line(b"one two-three\x1bb\x1bb>\r"), "one >two-three");
    assert_eq!(typist.line(b"one two-three\x01\x1bf\x1bf<\r"), "one two<-three");
    assert_eq!(typist.line(b"one two-three\x1b[1;5D\x1b[1;3D\x1b[1;5C<\r"), "one two<-three");
    assert_eq!(typist.line(b"one two-three\x01\x1bd\x1bd\r"), "-three");
    assert_eq!(typist.line(b"one two-three\x17x\r"), "one x");
    assert_eq!(typist.line("été \u{1b}bx\r".as_bytes()), "xété ");
    assert_eq!(typist.line(b"one two\x17\x01\x19 \x19\r"), "two twoone ");
    assert_eq!(typist.line(b"one two three\x01\x1bu\x1bc\x1bl\r"), "ONE Two three");
    assert_eq!(typist.line(b"x\x1bq\x1b.\x1b5y\r"), "xy");
}

#[test]
fn keys_at_the_edges_do_nothing() {
    let mut typist = Typist::new();
    assert_eq!(
        typist.line(b"\x7f\x1b[D\x1b[C\x15\x0b\x17\x19\x1bb\x1bf\x1bd\x1bu\x1b[3~\x1b[A\x1b[Bx\x1b[C\x04\r"),
        "x"
    );
}

#[test]
fn ctrl_d_in_an_empty_line_is_the_end() {
    let mut typist = Typist::new();
    assert_eq!(typist.enter(b"\x04"), Some(Entered::EndOfInput));
    assert_eq!(typist.enter(b"ab\x04\x7f\x04\x7f\x04"), Some(Entered::EndOfInput));
}

#[test]
fn characters_of_several_bytes_and_columns_are_edited_whole() {
    let mut typist = Typist::new();
    assert_eq!(typist.line("aé漢😀\x1b[D\x7fb\r".as_bytes()), "aéb😀");
    assert_eq!(typist.line("漢字\x01\x1b[3~x\r".as_bytes()), "x字");
    assert_eq!(typist.line("ae\u{301}\u{323}b\x1b[D\x7f\r".as_bytes()), "ab");
    assert_eq!(typist.line("\u{301}a\x1b[D\x1b[Dx\r".as_bytes()), "x\u{301}a");
}

#[test]
fn history_is_walked_with_the_arrows() {
    let mut typist = Typist::new();
    assert_eq!(typist.line(b"first\r"), "first");
    assert_eq!(typist.line(b"second\r"), "second");
    assert_eq!(typist.line(b"\x1b[A\x1b[A\r"), "first");
    assert_eq!(typist.line(b"dra\x1b[A\x1b[Bft\r"), "draft");
    assert_eq!(typist.line(b"\x1b[A\x7f!\r"), "draf!");
}

#[test]
fn a_line_longer_than_the_screen_scrolls() {
    for columns in [5, 12, 20, 40, 80, 200, 1000] {
        let mut typist = Typist::on(columns.max(8));
        typist.columns = columns;
        let long = "abcdefghij".repeat(30);
        let mut bytes = long.clone().into_bytes();
        bytes.extend(b"\x01>\x05<");
        bytes.extend(b"\x1b[D".repeat(120));
        bytes.extend(b"|\r");
        let mut expected = std::format!(">{long}<");
        expected.insert(expected.len() - 120, '|');
        assert_eq!(typist.line(&bytes), expected);
    }
}

#[test]
fn the_width_can_change_while_a_line_is_edited() {
    let mut typist = Typist::on(60);
    assert_eq!(typist.enter(&b"0123456789".repeat(5)), None);
    for columns in [80, 30, 20, 44] {
        // Terminals differ in what they do with the old row; the editor draws in a new one.
        typist.screen = Screen::new(columns, 5);
        typist.editor.set_columns(columns, &mut typist.screen);
        typist.check_screen();
        assert_eq!(typist.enter(b"ab\x1b[Dc"), None);
    }
}

#[test]
fn lines_that_were_pasted_stay_one_line_on_the_screen() {
    let mut typist = Typist::on(30);
    assert_eq!(typist.line(b"say 'one\x1b[200~\rtwo\tx\r\nthree\x1b[201~'\r"), "say 'one\ntwo\tx\nthree'");
    assert_eq!(typist.enter(b"\x1b[A"), None);
    assert!(typist.screen.text().contains("> say 'one↵two x↵three'"), "{}", typist.screen.text());
}

#[test]
fn interrupt_drops_the_line() {
    let mut typist = Typist::new();
    assert_eq!(typist.enter(b"llm in\x03"), Some(Entered::Interrupted));
    assert_eq!(typist.line(b"help\r"), "help");
}

#[test]
fn invalid_bytes_reach_the_line() {
    let mut typist = Typist::new();
    assert_eq!(typist.enter(b"a\xff\xe2\x82b\x1b[D\x7f\r"), Some(Entered::Line(b"a\xff\xe2b".to_vec())));
    assert_eq!(typist.enter(b"a\xff\x01\x1bf\x1bu\x1bl\r"), Some(Entered::Line(b"a\xff".to_vec())));
}

#[test]
fn controls_beyond_ascii_are_not_sent_to_the_terminal() {
    let mut typist = Typist::new();
    assert_eq!(typist.line("a\u{9b}K\r".as_bytes()), "a\u{9b}K");
}

#[test]
fn a_line_over_the_limit_is_refused_whole_and_the_next_one_works() {
    let mut typist = Typist::new();
    let mut editor = LineEditor::new();
    for _ in 0..=MAX_LINE_BYTES {
        assert_eq!(editor.press(Key::Char('x'), &mut typist.screen), None);
    }
    assert_eq!(editor.press(Key::Enter, &mut typist.screen), Some(Entered::TooLong));
    typist.editor = editor;
    assert_eq!(typist.line(b"help\r"), "help");
}

#[test]
fn random_keys_keep_screen_and_line_together() {
    let pieces: [&[u8]; 31] = [
        b"a",
        b"b c",
        "漢".as_bytes(),
        "é".as_bytes(),
        "\u{301}".as_bytes(),
        b"\xff",
        b"\x1b[D",
        b"\x1b[C",
        b"\x1bb",
        b"\x1bf",
        b"\x1bd",
        b"\x1bu",
        b"\x1bc",
        b"\x1b\x7f",
        b"\x01",
        b"\x05",
        b"\x7f",
        b"\x17",
        b"\x19",
        b"\x0b",
        b"\x1b[A",
        b"\x1b[B",
        b"word word word word word ",
        b"\x1b[3~",
        b"\x1b[200~\n\t\x1b[201~",
        b"\x0c",
        b"\x12",
        b"\x12w",
        b"\x07",
        b"\t",
        b"\t\t",
    ];
    let mut state = 1u64;
    for columns in [9, 20, 39, 80] {
        let mut typist = Typist::on(columns);
        for _ in 0..3000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let piece = pieces[(state >> 40) as usize % pieces.len()];
            assert_eq!(typist.enter(piece), None);
            if (state >> 33).is_multiple_of(97) {
                assert!(typist.enter(b"\r").is_some());
            }
        }
    }
}
