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

/// Fills in a format of C's `strftime`, in its "C" locale, with the time `seconds` after the
/// beginning of 1970.
///
/// # Errors
/// [`ErrorKind::BadArguments`] if the format has a code that is not known.
pub fn format_time(seconds: u64, format: &str) -> Result<String, ErrorKind> {
    let days = seconds / 86_400;
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let month_name = MONTHS[month as usize - 1];
    // The first of January 1970 was a Thursday.
    let weekday = WEEKDAYS[((days + 4) % 7) as usize];
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let (code, padded) = match characters.next() {
            Some('-') => (characters.next(), false),
            code => (code, true),
        };
        let number = |number: u64| if padded { format!("{number:02}") } else { format!("{number}") };
        text.push_str(&match code {
            Some('d') => number(day),
            Some('m') => number(month),
            Some('H') => number(hour),
            Some('I') => number((hour + 11) % 12 + 1),
            Some('M') => number(minute),
            Some('S') => number(second),
            Some('y') => number(year % 100),
            Some('Y') => format!("{year}"),
            Some('e') => format!("{day:2}"),
            Some('B') => month_name.into(),
            Some('b' | 'h') => month_name[..3].into(),
            Some('A') => weekday.into(),
            Some('a') => weekday[..3].into(),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('%') => "%".into(),
            _ => return Err(ErrorKind::BadArguments("strftime_now")),
        });
    }
    Ok(text)
}

/// Year, month (from 1) and day (from 1) of a day, counted from the first of January 1970.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, eras of
/// 400 years repeat.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Far beyond any clock, and safe from overflow.
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
        assert!(format_time(0, "%").is_err());
        assert!(format_time(u64::MAX, "%F").is_ok());
    }
}
