//! `llm lora`: lists the adapters on disks, and shows which of them change the current model.

use llm::front::options::MODEL;

use super::loading::ensure_loaded;
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "llm lora",
    usage: "",
    n_positional: 0..=0,
    options: &[&[MODEL]],
    summary: "show the adapters on the disks, and whether they fit a model, the current one unless told",
    details: "Each adapter that fits was loaded with the model and has a number, by which requests over the network choose it,\n\
              and says what it adds is multiplied by in what does not ask otherwise: 0 unless llm load --lora said more.\n\
              The others say why not.",
    run: lora,
}];

fn lora(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    ensure_loaded(shell, arguments, None)?;
    let Shell { backend, terminal, .. } = shell;
    let usual = backend.responder(None)?.runner().usual_scales();
    let files = backend.adapters(None)?;
    if files.is_empty() {
        terminal.print(format_args!("no disk holds an adapter\n"));
    }
    for file in files {
        let path = &file.path;
        match &file.facts {
            Ok(facts) => terminal.print(format_args!(
                "{}  {path}  {}, rank {}, alpha {}, changes {} tensors, times {}\n",
                facts.id, facts.name, facts.rank, facts.alpha, facts.n_tensors, usual[facts.id],
            )),
            Err(reason) => terminal.print(format_args!("-  {path}  {reason}\n")),
        }
    }
    Ok(())
}
