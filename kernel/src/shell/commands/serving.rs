//! `serve`: the state of the API on the network. Also loads the models that are served from the start.

use alloc::{string::String, vec::Vec};

use crate::llm::BackendError;
use crate::serving::{self, ServingStatus};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError, Name},
};

/// Number of audit lines that are shown by default.
const N_AUDIT_LINES: u64 = 10;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm audit",
        usage: "[N]",
        n_positional: 0..=1,
        options: &[],
        summary: "show the last N lines, 10 unless told, of who has asked the API for what",
        details: "Each has the SHA-256 of the one before, which llm verify-audit of the host program checks. What was said is in none.",
        run: audit,
    },
    Command {
        name: "serve",
        usage: "[on|off|status]",
        n_positional: 0..=1,
        options: &[],
        summary: "take requests over HTTP, or no more, or show whether",
        details: "Requests are answered by the models that are loaded, many together, while this shell waits for a line and\n\
              while it answers one itself. What is off takes no new connections; those that there are go on.",
        run: serve,
    },
];

fn audit(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let n = arguments.value(0, "N", "a whole number of lines")?.unwrap_or(N_AUDIT_LINES);
    if status(shell).is_none() {
        return Ok(());
    }
    let Shell { serving, terminal, .. } = shell;
    serving.with_audit(&mut |audit| {
        let (n_lines, _) = audit.head();
        for line in audit.lines(n_lines.saturating_sub(n)) {
            terminal.print(format_args!("{line}\n"));
        }
    });
    Ok(())
}

/// The state of the API. If there is none, prints why.
fn status(shell: &mut Shell<'_>) -> Option<ServingStatus> {
    let Shell { serving, terminal, .. } = shell;
    let status = serving.status();
    if status.is_none() {
        terminal.print(format_args!(
            "nothing can be served: {}\n",
            match serving.network() {
                Some(_) => "boot argument ferrite.serve=off",
                None => "there is no network device that this kernel drives, and no vsock device that ferrite.vsock has a port for",
            }
        ));
    }
    status
}

fn serve(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let Some(status) = status(shell) else { return Ok(()) };
    let Shell { serving, terminal, .. } = shell;
    match arguments.text(0, "on|off|status")? {
        Some("on") => serving.turn(true),
        Some("off") => serving.turn(false),
        None | Some("status") => {
            let state = if status.is_on { "on" } else { "off" };
            terminal.print(format_args!("{state}, "));
            if let Some(port) = status.port {
                terminal.print(format_args!("port {port}, "));
            }
            if let Some(port) = status.vsock_port {
                terminal.print(format_args!("vsock port {port}, "));
            }
            terminal.print(format_args!("{} connections\n", status.n_connections));
        }
        Some(other) => {
            return Err(CommandError::InvalidValue {
                name: Name::Argument("on|off|status"),
                value: String::from(other),
                expected: "on, off or status",
            });
        }
    }
    Ok(())
}

/// Unless serving is off, loads as many of the available models as there is room for, and begins to serve them.
pub(in crate::shell) fn begin(shell: &mut Shell<'_>) {
    if shell.serving.status().is_none() {
        return;
    }
    let files = shell.backend.catalog().files();
    let paths: Vec<String> =
        files.iter().filter(|file| file.is_model()).map(|file| file.path.clone()).collect();
    for path in &paths {
        let Shell { backend, terminal, .. } = &mut *shell;
        match backend.load(path, serving::options(), &mut |_, _| terminal.check_interrupt()) {
            Ok(()) => log::info!("serve: {path}"),
            Err(BackendError::Cancelled) => break,
            Err(error) => log::warn!("serve: {error}"),
        }
    }
    // The first one answers requests that name no model.
    if let Some(first) = paths.first() {
        let _ = shell.backend.select(first);
    }
    shell.serving.turn(true);
}
