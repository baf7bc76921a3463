//! `strftime_now`: dates in words.

use alloc::format;
use alloc::string::String;

use crate::ErrorKind;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment, divided into its fields.
struct Moment {
    seconds: u64,
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    /// From 0.
    day_of_year: u64,
    /// From 0, which is Sunday.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    fn new(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let (year, month, day) = civil_from_days(days);
        let is_leap = is_leap(year);
        let before = |month: u64| (1..month).map(|month| days_in_month(month, is_leap)).sum::<u64>();
        Self {
            seconds,
            year,
            month,
            day,
            day_of_year: before(month) + day - 1,
            // The first of January 1970 was a Thursday.
            weekday: (days + 4) % 7,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    /// From 1, which is Monday.
    fn iso_weekday(&self) -> u64 {
        (self.weekday + 6) % 7 + 1
    }

    /// Year and week of ISO 8601: a week belongs to the year that contains its Thursday.
    fn iso_week(&self) -> (u64, u64) {
        let week = (self.day_of_year + 11 - self.iso_weekday()) / 7;
        let weeks_in = |year: u64| {
            // A year has 53 weeks if it begins on a Thursday, or on a Wednesday and is a leap year.
            let days_before = |year: u64| year * 365 + year / 4 - year / 100 + year / 400;
            let last_weekday = |year: u64| days_before(year) % 7;
            52 + u64::from(last_weekday(year) == 4 || last_weekday(year - 1) == 3)
        };
        match week {
            0 => (self.year - 1, weeks_in(self.year - 1)),
            week if week > weeks_in(self.year) => (self.year + 1, 1),
            week => (self.year, week),
        }
    }

    fn hour_of_twelve(&self) -> u64 {
        (self.hour + 11) % 12 + 1
    }

    /// The field that a code stands for: a number with its usual padding and width, or a text.
    fn field(&self, code: char) -> Option<Field> {
        let month_name = MONTHS[self.month as usize - 1];
        let weekday_name = WEEKDAYS[self.weekday as usize];
        let half = if self.hour < 12 { "AM" } else { "PM" };
        let (zeros, spaces) =
            (|number, width| Field::Number(number, '0', width), |number| Field::Number(number, ' ', 2));
        let Self { seconds, year, month, day, hour, minute, second, .. } = *self;
        let text = |text: &str| Field::Text(text.into());
        Some(match code {
            'a' => text(&weekday_name[..3]),
            'A' => text(weekday_name),
            'b' | 'h' => text(&month_name[..3]),
            'B' => text(month_name),
            'c' => Field::Text(format!(
                "{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}",
                &weekday_name[..3],
                &month_name[..3]
            )),
            'C' => zeros(year / 100, 2),
            'd' => zeros(day, 2),
            'D' | 'x' => Field::Text(format!("{month:02}/{day:02}/{:02}", year % 100)),
            'e' => spaces(day),
            'f' => zeros(0, 6),
            'F' => Field::Text(format!("{year}-{month:02}-{day:02}")),
            'g' => zeros(self.iso_week().0 % 100, 2),
            'G' => zeros(self.iso_week().0, 1),
            'H' => zeros(hour, 2),
            'I' => zeros(self.hour_of_twelve(), 2),
            'j' => zeros(self.day_of_year + 1, 3),
            'k' => spaces(hour),
            'l' => spaces(self.hour_of_twelve()),
            'm' => zeros(month, 2),
            'M' => zeros(minute, 2),
            'n' => text("\n"),
            'p' => text(half),
            'P' => Field::Text(half.to_ascii_lowercase()),
            'r' => Field::Text(format!("{:02}:{minute:02}:{second:02} {half}", self.hour_of_twelve())),
            'R' => Field::Text(format!("{hour:02}:{minute:02}")),
            's' => zeros(seconds, 1),
            'S' => zeros(second, 2),
            't' => text("\t"),
            'T' | 'X' => Field::Text(format!("{hour:02}:{minute:02}:{second:02}")),
            'u' => zeros(self.iso_weekday(), 1),
            'U' => zeros((self.day_of_year + 7 - self.weekday) / 7, 2),
            'V' => zeros(self.iso_week().1, 2),
            'w' => zeros(self.weekday, 1),
            'W' => zeros((self.day_of_year + 8 - self.iso_weekday()) / 7, 2),
            'y' => zeros(year % 100, 2),
            'Y' => zeros(year, 1),
            // Empty, because the time has no zone, as with `datetime.now()`.
            'z' | 'Z' => text(""),
            '%' => text("%"),
            _ => return None,
        })
    }
}

enum Field {
    /// A number, the character that pads it, and the padded width.
    Number(u64, char, usize),
    Text(String),
}

/// Fills in a format of Python's `datetime.strftime`, in the "C" locale, with the time `seconds` after the beginning of 1970. As
/// in the GNU C library, a code may have a flag (`%-d` without padding, `%_d` with spaces, `%0e` with zeros, `%^a` in capitals)
/// and a width. An unknown code stays as it is.
///
/// # Errors
/// [`ErrorKind::TooMuchMemory`] if a width is unreasonably large.
pub fn format_time(seconds: u64, format: &str) -> Result<String, ErrorKind> {
    const MAX_WIDTH: usize = 1000;
    let moment = Moment::new(seconds);
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let code_at = &rest[at..];
        let mut characters = code_at[1..].chars().peekable();
        let (mut padding, mut is_upper, mut is_swapped) = (None, false, false);
        while let Some(flag) = characters.next_if(|c| "-_0^#".contains(*c)) {
            match flag {
                '^' => is_upper = true,
                '#' => is_swapped = true,
                _ => padding = Some(flag),
            }
        }
        let mut width = None;
        while let Some(digit) = characters.next_if(char::is_ascii_digit) {
            let number = width.unwrap_or(0) * 10 + digit as usize - '0' as usize;
            if number > MAX_WIDTH {
                return Err(ErrorKind::TooMuchMemory);
            }
            width = Some(number);
        }
        // Alternative forms of a locale, which the "C" locale does not have.
        characters.next_if(|c| matches!(c, 'E' | 'O'));
        let code = characters.next();
        let len = code_at.len() - characters.map(char::len_utf8).sum::<usize>();
        rest = &code_at[len..];
        let mut filled = match code.and_then(|code| moment.field(code)) {
            None => {
                text.push_str(&code_at[..len]);
                continue;
            }
            Some(Field::Number(number, usual, usual_width)) => {
                let width = width.unwrap_or(usual_width);
                match padding.unwrap_or(if usual == ' ' { '_' } else { '0' }) {
                    '-' => format!("{number}"),
                    '_' => format!("{number:width$}"),
                    _ => format!("{number:0width$}"),
                }
            }
            Some(Field::Text(filled)) => {
                let width = if padding == Some('-') { 0 } else { width.unwrap_or(0) };
                match padding {
                    Some('0') => format!("{filled:0>width$}"),
                    _ => format!("{filled:>width$}"),
                }
            }
        };
        if is_swapped && code == Some('p') {
            filled.make_ascii_lowercase();
        } else if is_upper || (is_swapped && code.is_some_and(|code| "aAbBh".contains(code))) {
            filled.make_ascii_uppercase();
        }
        text.push_str(&filled);
    }
    text.push_str(rest);
    Ok(text)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(month: u64, is_leap: bool) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month (from 1) and day (from 1) of a day, given by its number since the first of January 1970.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms". Years begin in March; eras of 400 years repeat.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // The limit is far beyond any clock, and prevents overflow.
    let shifted = days.min(1 << 40) + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "Thursday 01 January 1970 00:00:00"),
            (951_782_400, "Tuesday 29 February 2000 00:00:00"),
            (1_721_995_200, "Friday 26 July 2024 12:00:00"),
            (4_107_542_399, "Sunday 28 February 2100 23:59:59"),
        ] {
            assert_eq!(format_time(seconds, "%A %d %B %Y %T").as_deref(), Ok(expected));
        }
        assert_eq!(
            format_time(1_721_995_200, "%-d %b %y, %I:%M %p %%").as_deref(),
            Ok("26 Jul 24, 12:00 PM %")
        );
        assert_eq!(format_time(0, "%").as_deref(), Ok("%"));
        assert_eq!(format_time(0, "%5000d"), Err(ErrorKind::TooMuchMemory));
        assert!(format_time(u64::MAX, "%F").is_ok());
    }
}
