//! `net`: facts about the network, and its state.

use ::llm::front::units::Size;

use crate::net::{Addressing, IpAddress, Traffic};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "net",
    usage: "",
    n_positional: 0..=0,
    options: &[],
    summary: "show the network: the card, its addresses, what went through it",
    details: "Frames that are refused are malformed, or such as nobody sends to this kernel.",
    run: net,
}];

fn net(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let Shell { terminal, serving, .. } = shell;
    let Some(network) = serving.network() else {
        terminal.print(format_args!(
            "there is no network device that this kernel drives: virtio-net-device or virtio-net-pci is one\n"
        ));
        return Ok(());
    };
    let network = network.borrow();
    let status = network.status();
    let link = if status.is_up { "link up" } else { "no link" };
    let [a, b, c, d, e, f] = status.mac;
    terminal.print(format_args!(
        "card      {}, {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, {link}\n",
        status.name
    ));
    if let Some(failure) = &status.failure {
        terminal.print(format_args!("          not used any more: {failure}\n"));
    }
    if !status.has_interrupt {
        terminal.print(format_args!(
            "          without an interrupt so far: it is looked at every millisecond\n"
        ));
    }
    for address in &status.addresses {
        terminal.print(format_args!("address   {address}\n"));
    }
    let has_ipv4 = status.addresses.iter().any(|address| matches!(address.address(), IpAddress::Ipv4(_)));
    if status.addressing == Addressing::Dhcp && !has_ipv4 {
        terminal.print(format_args!("address   none by DHCP yet\n"));
    }
    for gateway in &status.gateways {
        terminal.print(format_args!("gateway   {gateway}\n"));
    }
    let Traffic { frames_in, bytes_in, refused, frames_out, bytes_out } = network.traffic();
    terminal.print(format_args!(
        "in        {frames_in} frames, {}, {refused} refused\n\
         out       {frames_out} frames, {}\n",
        Size(bytes_in),
        Size(bytes_out),
    ));
    if let Some(status) = serving.status() {
        terminal.print(format_args!("open      {} connections\n", status.n_connections));
    }
    Ok(())
}
