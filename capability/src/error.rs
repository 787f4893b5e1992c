//! Why a checked derivation is refused.

use core::fmt;

/// Why `restrict` refused to derive a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The parent has no tag.
    Untagged,
    /// The parent is sealed and therefore immutable.
    Sealed,
    /// The requested region is not inside the parent's bounds.
    OutOfBounds {
        /// Requested first byte.
        base: u64,
        /// Requested length in bytes.
        length: u64,
    },
    /// Permissions were asked for that the parent does not have.
    Permissions {
        /// Exactly the missing ones.
        missing: crate::Permissions,
    },
    /// The region cannot be represented exactly, and the caller insisted on exactness.
    Inexact {
        /// Requested first byte.
        base: u64,
        /// Requested length in bytes.
        length: u64,
    },
    /// Rounding the region to representable bounds would reach outside the parent.
    Unrepresentable {
        /// Requested first byte.
        base: u64,
        /// Requested length in bytes.
        length: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => write!(f, "the parent capability is untagged"),
            Self::Sealed => write!(f, "the parent capability is sealed"),
            Self::OutOfBounds { base, length } => {
                write!(f, "{length:#x} bytes at {base:#x} are outside the parent's bounds")
            }
            Self::Permissions { missing } => write!(f, "the parent lacks the permissions {missing}"),
            Self::Inexact { base, length } => {
                write!(f, "{length:#x} bytes at {base:#x} have no exact bounds")
            }
            Self::Unrepresentable { base, length } => {
                write!(
                    f,
                    "representable bounds of {length:#x} bytes at {base:#x} reach outside the parent"
                )
            }
        }
    }
}

impl core::error::Error for Error {}
