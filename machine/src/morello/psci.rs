//! PSCI 0.2 (DEN 0022), answered by the machine itself before a call reaches any exception level.

use super::bus::{Bus, Start};
use super::core::{Activity, Core};
use crate::Stop;

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
            core.look = true;
            0
        }
        CPU_OFF => {
            core.activity = Activity::Off;
            bus.powered[core.number] = false;
            core.look = true;
            0
        }
        CPU_SUSPEND => {
            core.activity = Activity::Waiting;
            core.look = true;
            0
        }
        CPU_ON => {
            let (target, entry, context) = (argument(1), argument(2), argument(3));
            start(core, bus, target, entry, context)
        }
        AFFINITY_INFO => {
            let target = argument(1) as usize;
            bus.powered
                .get(target)
                .map_or(INVALID_PARAMETERS, |powered| i64::from(!powered))
        }
        // There is no trusted OS that would have to migrate.
        MIGRATE_INFO_TYPE => 2,
        _ if function >> 16 & 0x3f00 == 0x0400 && function & 0xffff < 0x20 => NOT_SUPPORTED,
        _ => return false,
    };
    core.set_x(0, result as u64);
    true
}

fn start(core: &mut Core, bus: &mut Bus, target: u64, entry: u64, context: u64) -> i64 {
    let Some(powered) = bus.powered.get_mut(target as usize) else {
        return INVALID_PARAMETERS;
    };
    if *powered {
        return ALREADY_ON;
    }
    *powered = true;
    bus.starts.push(Start {
        core: target as usize,
        entry,
        context,
        el: core.el.max(1),
    });
    core.look = true;
    0
}
