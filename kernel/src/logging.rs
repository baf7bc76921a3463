//! The `log` backend: writes one line per record, with the time since boot, to the sink chosen at boot. At the levels `debug` and
//! `trace` a line also says which module it comes from.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Once;

/// Where log lines go.
pub struct Logger {
    /// Writes all of the bytes.
    pub sink: fn(&[u8]),
    /// Microseconds since boot.
    pub clock_us: fn() -> u64,
}

static LOGGER: Once<Logger> = Once::new();

/// The row of the screen that the next record goes to.
pub static ROW: Row = Row::new();

/// The last row of the screen, in which a line may be being edited when a record is logged. The record overwrites the row, and
/// the line editor shows its line again below.
#[derive(Debug, Default)]
pub struct Row {
    is_edited: AtomicBool,
    was_taken: AtomicBool,
}

impl Row {
    /// A row in which nothing is being edited.
    pub(crate) const fn new() -> Self {
        Self { is_edited: AtomicBool::new(false), was_taken: AtomicBool::new(false) }
    }

    /// Sets whether a line is being edited in this row.
    pub fn edit(&self, is_edited: bool) {
        self.was_taken.store(false, Ordering::Relaxed);
        self.is_edited.store(is_edited, Ordering::Relaxed);
    }

    /// Takes the row over for a record; returns the bytes that clear it.
    pub(crate) fn take(&self) -> &'static [u8] {
        if !self.is_edited.load(Ordering::Relaxed) {
            return b"";
        }
        self.was_taken.store(true, Ordering::Relaxed);
        b"\r\x1b[K"
    }

    /// Whether a record has taken the row over since the last call.
    pub fn was_taken(&self) -> bool {
        self.was_taken.swap(false, Ordering::Relaxed)
    }
}

/// Sends all records up to `level` to `logger` from now on. Only the first call sets the logger; later calls only change the level.
pub fn init(logger: Logger, level: LevelFilter) {
    let logger = LOGGER.call_once(|| logger);
    // An error means that this logger is already installed.
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // The virtio crate reports every device and feature bit.
        let is_chatter = record.target().starts_with("virtio_drivers") && record.level() > Level::Warn;
        if !self.enabled(record.metadata()) || is_chatter && log::max_level() < LevelFilter::Trace {
            return;
        }
        (self.sink)(ROW.take());
        let shows_target = log::max_level() >= LevelFilter::Debug;
        let _ = write_record(&mut Output(self.sink), (self.clock_us)(), record, shows_target);
    }

    fn flush(&self) {}
}

fn write_record(
    output: &mut impl Write,
    time_us: u64,
    record: &Record<'_>,
    shows_target: bool,
) -> fmt::Result {
    let (seconds, us) = (time_us / 1_000_000, time_us % 1_000_000);
    write!(output, "[{seconds:5}.{us:06}] {:5} ", record.level())?;
    if shows_target {
        let target = record.target();
        write!(output, "{}: ", target.strip_prefix("ferrite_kernel::").unwrap_or(target))?;
    }
    writeln!(output, "{}", record.args())
}

struct Output(fn(&[u8]));

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        (self.0)(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn a_record_is_one_line_with_time_and_level_and_its_module_if_that_is_wanted() {
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("ferrite_kernel::storage")
            .args(format_args!("disk 3 is empty"))
            .build();
        for (shows_target, expected) in [
            (false, "[   12.000345] WARN  disk 3 is empty\n"),
            (true, "[   12.000345] WARN  storage: disk 3 is empty\n"),
        ] {
            let mut line = String::new();
            write_record(&mut line, 12_000_345, &record, shows_target).unwrap();
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_row_is_cleared_only_while_a_line_is_edited() {
        let row = Row::new();
        assert_eq!((row.take(), row.was_taken()), (&b""[..], false));
        row.edit(true);
        assert_eq!((row.take(), row.was_taken(), row.was_taken()), (&b"\r\x1b[K"[..], true, false));
        row.edit(false);
        assert_eq!((row.take(), row.was_taken()), (&b""[..], false));
    }
}
