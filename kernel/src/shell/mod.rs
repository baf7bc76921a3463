//! The shell.

use crate::system::{RunMode, Shutdown, System};
use core::fmt::Write;

/// Runs the shell on `system` until the machine is to end.
pub fn run(system: System<'_>, mode: RunMode) -> Shutdown {
    let mut text = crate::console::Text(system.console);
    match mode {
        RunMode::Command(line) => {
            for disk in &system.disks {
                let _ = writeln!(text, "{disk:?} {}", disk.transport());
            }
            for function in &system.pci {
                let _ = writeln!(text, "{function:x?}");
            }
            let _ = writeln!(
                text,
                "{} {:?} {:?} {:?}",
                system.cpu_model,
                system.cpu_features,
                (system.instructions_retired)(),
                system.cores
            );
            Shutdown::PowerOff {
                success: line.starts_with(b"ok"),
            }
        }
        RunMode::Interactive => {
            let _ = write!(text, "ferrite> ");
            loop {
                match system.console.wait_for_byte() {
                    b'q' => return Shutdown::PowerOff { success: true },
                    byte => system.console.write_bytes(&[byte]),
                }
            }
        }
    }
}
