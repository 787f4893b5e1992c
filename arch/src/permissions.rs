//! What each kind of capability may do, the same on every ISA but for the words that only one of them has.

use crate::isa::{faithful, privileged};
use capability::Permissions;

/// Permissions of a cVM's code capability: never access to system registers or what else the monitor alone has.
pub fn code_permissions() -> Permissions {
    read_only_permissions() | Permissions::EXECUTE | Permissions::INVOKE
}

/// Permissions of a cVM's data capability: never Execute, never sealing authority, and no place for local capabilities: what is
/// lent to it cannot be kept.
pub fn data_permissions() -> Permissions {
    read_only_permissions() | Permissions::STORE | Permissions::STORE_CAPABILITY | Permissions::INVOKE
}

/// Permissions of the places that hold local capabilities: the stack on which a server's handler runs, local areas.
pub fn service_stack_permissions() -> Permissions {
    data_permissions() | Permissions::STORE_LOCAL
}

/// Permissions of what a cVM may read and not change: start block, constants. What it loads from there is as strong as it was
/// stored.
pub fn read_only_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::LOAD | Permissions::LOAD_CAPABILITY | faithful()
}

/// Permissions of the monitor's own data capability: register frames hold local capabilities, too.
pub fn monitor_data_permissions() -> Permissions {
    service_stack_permissions() - Permissions::INVOKE
}

/// Permissions of the monitor's own code capability: it alone may access system registers.
pub fn monitor_text_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::EXECUTE | privileged()
}

/// Permissions of a device window.
pub fn device_permissions() -> Permissions {
    Permissions::GLOBAL | Permissions::LOAD | Permissions::STORE
}
