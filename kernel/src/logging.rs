//! The `log` backend: one line a record, with the time since boot, to the sink chosen at boot.

use core::fmt::{self, Write};
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

/// Sends all records up to `level` to `logger` from now on. The first call decides, later ones only
/// change the level.
pub fn init(logger: Logger, level: LevelFilter) {
    let logger = LOGGER.call_once(|| logger);
    // The error says that a logger is installed already, which is this one.
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
        let _ = write_record(&mut Output(self.sink), (self.clock_us)(), record);
    }

    fn flush(&self) {}
}

fn write_record(output: &mut impl Write, time_us: u64, record: &Record<'_>) -> fmt::Result {
    let target = record.target();
    let target = target.strip_prefix("ferrite_kernel::").unwrap_or(target);
    writeln!(
        output,
        "[{:5}.{:06}] {:5} {target}: {}",
        time_us / 1_000_000,
        time_us % 1_000_000,
        record.level(),
        record.args()
    )
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
    fn a_record_is_one_line_with_time_level_and_place() {
        let mut line = String::new();
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("ferrite_kernel::storage")
            .args(format_args!("disk 3 is empty"))
            .build();
        write_record(&mut line, 12_000_345, &record).unwrap();
        assert_eq!(line, "[   12.000345] WARN  storage: disk 3 is empty\n");
    }
}
