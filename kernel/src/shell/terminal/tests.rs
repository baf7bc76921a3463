use super::{
    person::{Person, now_us},
    *,
};
use crate::shell::screen::Screen;
use std::vec::Vec;

/// Types lines on a terminal whose width is given by `columns`.
fn type_lines(person: &mut Person, columns: Option<usize>, lines: &[&str]) {
    person.input.extend(lines.join("\r").bytes());
    person.input.push_back(b'\r');
    let mut terminal = Terminal::new(person, now_us, true, columns, None);
    let mut editor = LineEditor::new();
    for line in lines {
        let entered = terminal.read_line(&mut editor, "ferrite> ", &mut || u64::MAX);
        assert_eq!(entered, Entered::Line(line.as_bytes().to_vec()));
    }
}

const LONG: &str =
    "llm infer \"Once upon a time there was a little robot named Rusty who had a small lamp on its head\"";

#[test]
fn a_line_stays_in_one_row_of_a_terminal_of_any_width() {
    for columns in [20, 33, 40, 60, 80, 132, 300] {
        for n_keys_before_answer in [0, 1, 9] {
            let mut person = Person { n_keys_before_answer, ..Person::before(Screen::new(columns, 10)) };
            type_lines(&mut person, None, &[LONG, "", LONG]);
            let text = person.screen.text();
            assert_eq!(text.lines().count(), 4, "{columns}: {text}");
            let width = text.lines().map(|row| row.chars().count()).max().unwrap();
            assert!(width < columns && width + columns / 2 > LONG.len().min(columns), "{columns}: {text}");
            assert_eq!(person.screen.n_asked, 3);
            assert!(!person.screen.marks_pastes, "pastes are marked while no line is edited");
        }
    }
}

#[test]
fn a_record_of_the_log_leaves_the_line_whole() {
    static ROW: Row = Row::new();
    for n_bytes in [0, 1, 3, 9] {
        let mut person = Person::before(Screen::new(60, 10));
        person.input.extend(b"llm info\r");
        person.record = Some((n_bytes, &ROW));
        let mut terminal = Terminal::new(&mut person, now_us, true, Some(60), None);
        terminal.row = &ROW;
        let mut editor = LineEditor::new();
        for _ in 0..1 + usize::from(n_bytes == 0) {
            terminal.read_line(&mut editor, "ferrite> ", &mut || 0);
        }
        let text = person.screen.text();
        let rows: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
        let record = "[    1.000000] INFO  serve: GET / 200";
        let expected = match n_bytes {
            0 => vec!["ferrite> llm info", record, "ferrite>"],
            _ => vec![record, "ferrite> llm info"],
        };
        assert_eq!(rows, expected, "{n_bytes}");
    }
}

#[test]
fn a_terminal_that_grows_or_shrinks_is_followed() {
    let mut person = Person::before(Screen::new(100, 10));
    let mut editor = LineEditor::new();
    let mut columns = None;
    for width in [100, 30, 70] {
        person.screen = Screen::new(width, 10);
        person.input.extend(LONG.bytes());
        person.input.extend(b"\r");
        let mut terminal = Terminal::new(&mut person, now_us, true, columns, None);
        terminal.read_line(&mut editor, "ferrite> ", &mut || u64::MAX);
        columns = Some(terminal.columns);
        assert_eq!(columns, Some(width));
        assert_eq!(person.screen.text().lines().count(), 2, "{}", person.screen.text());
    }
}

#[test]
fn what_does_not_answer_is_asked_twice_and_keeps_the_usual_width() {
    let mut person = Person::before(Screen::silent(80));
    type_lines(&mut person, None, &["a", "b", "c", LONG]);
    assert_eq!(person.screen.n_asked, MAX_UNANSWERED);
    assert_eq!(person.screen.text().lines().count(), 5, "{}", person.screen.text());
    let mut narrow = Person::before(Screen::silent(40));
    type_lines(&mut narrow, None, &[LONG, LONG]);
    assert_eq!(narrow.screen.text().lines().count(), 3, "{}", narrow.screen.text());
    assert!(narrow.screen.wraps(), "the terminal is left so that it does not wrap");
    assert!(!person.written.ends_with(DO_NOT_MARK_PASTES));
}

#[test]
fn a_file_gets_no_questions_and_a_terminal_that_was_told_has_its_width_at_once() {
    let mut person = Person::before(Screen::silent(80));
    type_lines(&mut person, Some(0), &["a", "b"]);
    assert_eq!(person.written, b"\rferrite> \x1b[Ka\n\rferrite> \x1b[Kb\n");
    let mut person = Person::before(Screen::silent(25));
    type_lines(&mut person, Some(25), &[LONG]);
    assert_eq!(person.screen.text().lines().count(), 2, "{}", person.screen.text());
}

#[test]
fn answers_that_nobody_asked_for_and_function_keys_change_nothing() {
    let mut person = Person::before(Screen::silent(80));
    person.input.extend(b"\x1b[1;5R\x1b[1;16Rx\r");
    let mut terminal = Terminal::new(&mut person, now_us, true, None, None);
    assert_eq!(
        terminal.read_line(&mut LineEditor::new(), "> ", &mut || u64::MAX),
        Entered::Line(b"x".to_vec())
    );
    assert_eq!(terminal.columns, 80);
    let mut person = Person::before(Screen::new(80, 10));
    person.input.extend(b"\x1b[1;30Rx\r");
    let mut terminal = Terminal::new(&mut person, now_us, true, Some(0), None);
    assert_eq!(
        terminal.read_line(&mut LineEditor::new(), "> ", &mut || u64::MAX),
        Entered::Line(b"x".to_vec())
    );
    assert_eq!(terminal.columns, 80);
}

#[test]
fn the_prompt_is_green_on_a_screen() {
    let mut person = Person::before(Screen::silent(80));
    person.input.extend(b"x\r");
    let mut terminal = Terminal::new(&mut person, now_us, true, Some(80), None);
    terminal.read_line(&mut LineEditor::new(), "> ", &mut || u64::MAX);
    let written = String::from_utf8(person.written).unwrap();
    assert!(written.contains("\r\x1b[32m> \x1b[m\x1b[Kx"), "{written:?}");
}
