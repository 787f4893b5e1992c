//! PSCI 0.2 (DEN 0022), answered by the machine itself before a call reaches any exception level.

use super::bus::{Bus, Start};
use super::core::{Activity, Core, permission};
use crate::Stop;
use capability::morello::Capability;

/// The instruction that calls PSCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduit {
    /// HVC.
    Hypervisor,
    /// SMC.
    Monitor,
}

const VERSION: u32 = 0x8400_0000;
const CPU_SUSPEND: u32 = 0x8400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0x8400_0003;
const AFFINITY_INFO: u32 = 0x8400_0004;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
/// The bit of a function number that marks the form with 64-bit arguments.
const WIDE: u32 = 1 << 30;

const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;

/// Answers the call in X0 if it is one of PSCI's through the right instruction; whether it was.
pub(super) fn call(core: &mut Core, bus: &mut Bus, conduit: Conduit) -> bool {
    if bus.conduit != Some(conduit) {
        return false;
    }
    if bus.firmware_uses_ddc && !suits_firmware(&core.ddc[0]) {
        bus.stop = Some(Stop::Firmware(format!(
            "the firmware at EL3 works with DDC_EL0, which was {} when it was called from {:#x}",
            core.ddc[0].decode(),
            core.pc
        )));
        core.pause();
        return true;
    }
    let function = core.x(0) as u32;
    let wide = function & WIDE != 0;
    let argument = |n: u32| if wide { core.x(n) } else { core.x(n) & 0xffff_ffff };
    let result = match function & !WIDE {
        VERSION => 2,
        SYSTEM_OFF | SYSTEM_RESET => {
            bus.stop = Some(if function & !WIDE == SYSTEM_OFF {
                Stop::Exit(0)
            } else {
                Stop::Reset
            });
            core.pause();
            0
        }
        CPU_OFF => {
            core.activity = Activity::Off;
            bus.powered[core.number] = false;
            core.pause();
            0
        }
        CPU_SUSPEND => {
            core.activity = Activity::Waiting;
            core.pause();
            0
        }
        CPU_ON => {
            let (target, entry, context) = (argument(1), argument(2), argument(3));
            start(core, bus, target, entry, context)
        }
        AFFINITY_INFO => {
            let target = argument(1);
            let found = bus.affinities.iter().position(|affinity| *affinity == target);
            found.map_or(INVALID_PARAMETERS, |core| i64::from(!bus.powered[core]))
        }
        // There is no trusted OS that would have to migrate.
        MIGRATE_INFO_TYPE => 2,
        _ if function >> 16 & 0x3f00 == 0x0400 && function & 0xffff < 0x20 => NOT_SUPPORTED,
        _ => return false,
    };
    core.set_x(0, result as u64);
    true
}

/// Whether Trusted Firmware-A can work with this DDC: its stack is addressed by SP_EL0, so all its loads and stores go
/// through DDC_EL0, which it leaves as the caller had it (CheriBSD, sys/dev/psci/smccc_arm64.S).
fn suits_firmware(ddc: &Capability) -> bool {
    let needed = permission::LOAD | permission::STORE;
    let all = ddc.base() == 0 && ddc.top() > u128::from(u64::MAX);
    ddc.tag() && !ddc.is_sealed() && all && ddc.has_permission_bits(needed)
}

fn start(core: &mut Core, bus: &mut Bus, target: u64, entry: u64, context: u64) -> i64 {
    let Some(target) = bus.affinities.iter().position(|affinity| *affinity == target) else {
        return INVALID_PARAMETERS;
    };
    if std::mem::replace(&mut bus.powered[target], true) {
        return ALREADY_ON;
    }
    bus.starts.push(Start {
        core: target,
        entry,
        context,
        el: core.el.max(1),
    });
    core.pause();
    0
}
