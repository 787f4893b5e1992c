//! The catalogue of attacks: hostile cVMs, what must become of each, and a victim beside them that must not notice.
//! docs/attacks.md lists them.

mod accomplices;
mod buffers;
mod capfiles;
mod cast;
mod catalogue;
mod clients;
mod crafted;
mod devices;
mod document;
mod exhaustion;
mod forging;
mod gates;
mod hostcalls;
mod interrupts;
mod layers;
mod leftovers;
mod modes;
mod outside;
mod parts;
mod privileged;
mod purecap;
mod raw;
mod run;
mod servers;
mod starving;
mod steps;
mod tampering;
mod threads;
mod tokens;
mod urgency;
mod weaknesses;

use catalogue::Group;
use tests::{Platform, on_every_platform};

/// All groups, in the order of the list.
const GROUPS: &[&Group] = &[
    &outside::GROUP,
    &forging::GROUP,
    &tampering::GROUP,
    &modes::GROUP,
    &privileged::GROUP,
    &interrupts::GROUP,
    &hostcalls::GROUP,
    &weaknesses::GROUP,
    &starving::GROUP,
    &urgency::GROUP,
    &leftovers::GROUP,
    &steps::GROUP,
    &servers::GROUP,
    &clients::GROUP,
    &accomplices::GROUP,
    &exhaustion::GROUP,
    &threads::GROUP,
    &layers::GROUP,
    &raw::GROUP,
    &capfiles::GROUP,
    &buffers::GROUP,
    &gates::GROUP,
    &tokens::GROUP,
    &purecap::GROUP,
    &crafted::GROUP,
    &devices::GROUP,
    &parts::DISK,
    &parts::SWITCH,
];

on_every_platform!(
    outside_is_closed,
    nothing_is_forged,
    nothing_is_tampered_with,
    modes_give_nothing,
    privilege_is_closed,
    interrupts_come,
    hostcalls_trust_nobody,
    known_weaknesses_are_gone,
    nobody_starves,
    nobody_starves_by_servers,
    no_step_is_long,
    nothing_old_is_read,
    clients_are_safe_from_servers,
    servers_are_safe_from_clients,
    clients_are_safe_from_accomplices,
    no_client_keeps_all_handlers,
    threads_are_their_cvms,
    layers_hold,
    raw_clients_have_their_server_and_nobody_else,
    capfiles_carry_data_only,
    buffers_are_taken_back,
    gates_pass_what_both_choose,
    tokens_are_the_familys_for_a_life,
    purecap_programs_have_no_more,
    crafted_files_are_refused,
    devices_reach_what_their_drivers_reach,
    disks_have_what_is_whose,
    switches_tell_nobody_of_others,
);

fn outside_is_closed(platform: Platform) {
    run::together(&outside::GROUP, platform);
}

fn nothing_is_forged(platform: Platform) {
    run::together(&forging::GROUP, platform);
}

fn privilege_is_closed(platform: Platform) {
    run::together(&privileged::GROUP, platform);
}

fn modes_give_nothing(platform: Platform) {
    run::together(&modes::GROUP, platform);
}

fn interrupts_come(platform: Platform) {
    run::together(&interrupts::GROUP, platform);
}

fn hostcalls_trust_nobody(platform: Platform) {
    run::together(&hostcalls::GROUP, platform);
}

fn known_weaknesses_are_gone(platform: Platform) {
    run::together(&weaknesses::GROUP, platform);
}

fn nobody_starves(platform: Platform) {
    run::alone(&starving::GROUP, platform);
}

fn nobody_starves_by_servers(platform: Platform) {
    run::alone(&urgency::GROUP, platform);
}

fn nothing_old_is_read(platform: Platform) {
    run::alone(&leftovers::GROUP, platform);
}

fn no_step_is_long(platform: Platform) {
    run::alone(&steps::GROUP, platform);
}

fn clients_are_safe_from_servers(platform: Platform) {
    run::alone(&servers::GROUP, platform);
}

fn servers_are_safe_from_clients(platform: Platform) {
    run::alone(&clients::GROUP, platform);
}

fn clients_are_safe_from_accomplices(platform: Platform) {
    run::alone(&accomplices::GROUP, platform);
}

fn no_client_keeps_all_handlers(platform: Platform) {
    run::alone(&exhaustion::GROUP, platform);
}

fn threads_are_their_cvms(platform: Platform) {
    run::alone(&threads::GROUP, platform);
}

fn layers_hold(platform: Platform) {
    run::alone(&layers::GROUP, platform);
}

fn raw_clients_have_their_server_and_nobody_else(platform: Platform) {
    run::alone(&raw::GROUP, platform);
}

fn nothing_is_tampered_with(platform: Platform) {
    run::together(&tampering::GROUP, platform);
}

fn crafted_files_are_refused(platform: Platform) {
    run::alone(&crafted::GROUP, platform);
}

fn tokens_are_the_familys_for_a_life(platform: Platform) {
    run::alone(&tokens::GROUP, platform);
}

fn gates_pass_what_both_choose(platform: Platform) {
    run::alone(&gates::GROUP, platform);
}

fn buffers_are_taken_back(platform: Platform) {
    run::alone(&buffers::GROUP, platform);
}

fn devices_reach_what_their_drivers_reach(platform: Platform) {
    run::alone(&devices::GROUP, platform);
}

fn disks_have_what_is_whose(platform: Platform) {
    parts::on_a_disk(platform);
}

fn switches_tell_nobody_of_others(platform: Platform) {
    parts::on_a_switch(platform);
}

fn capfiles_carry_data_only(platform: Platform) {
    run::alone(&capfiles::GROUP, platform);
}

fn purecap_programs_have_no_more(platform: Platform) {
    run::together(&purecap::GROUP, platform);
}
