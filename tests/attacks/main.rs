//! The catalogue of attacks: hostile cVMs, what must become of each, and a victim beside them that must not notice.
//! docs/attacks.md lists them.

mod catalogue;
mod document;
mod forging;
mod interrupts;
mod modes;
mod outside;
mod privileged;
mod run;

use catalogue::Group;
use tests::{Platform, on_every_platform};

/// All groups, in the order of the list.
const GROUPS: &[&Group] = &[&outside::GROUP, &forging::GROUP, &modes::GROUP, &privileged::GROUP, &interrupts::GROUP];

on_every_platform!(outside_is_closed, nothing_is_forged, modes_give_nothing, privilege_is_closed, interrupts_come);

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
