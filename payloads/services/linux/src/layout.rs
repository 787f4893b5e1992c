//! Structures of Linux as bytes, by the offsets that `linux-raw-sys` states.

/// What fills a field: an integer.
pub(crate) trait Integer: Sized {
    /// As it stands in memory.
    fn put(self, to: &mut [u8]);
    /// As it stands in memory.
    fn get(from: &[u8]) -> Self;
}

macro_rules! integers {
    ($($type:ty)+) => {
        $(impl Integer for $type {
            fn put(self, to: &mut [u8]) {
                to[..size_of::<$type>()].copy_from_slice(&self.to_ne_bytes());
            }

            fn get(from: &[u8]) -> $type {
                let mut bytes = [0; size_of::<$type>()];
                bytes.copy_from_slice(&from[..size_of::<$type>()]);
                <$type>::from_ne_bytes(bytes)
            }
        })+
    };
}

integers!(u8 i8 u16 i16 u32 i32 u64 i64);

/// The bytes of a structure of which these fields are not zero. Each value has the type of its field.
macro_rules! encode {
    ($type:ty { $($field:ident: $value:expr),+ $(,)? }) => {{
        let mut bytes = [0; size_of::<$type>()];
        $({
            let value = $crate::layout::of_field(|whole: &$type| whole.$field, $value);
            $crate::layout::Integer::put(value, &mut bytes[core::mem::offset_of!($type, $field)..]);
        })+
        bytes
    }};
}
pub(crate) use encode;

/// A field of a structure that stands in memory as these bytes.
macro_rules! field {
    ($bytes:expr, $type:ty, $field:ident) => {
        $crate::layout::field_of(
            |whole: &$type| whole.$field,
            &$bytes[core::mem::offset_of!($type, $field)..],
        )
    };
}
pub(crate) use field;

/// `value`, which has to have the field's type.
pub(crate) fn of_field<S, F>(_: fn(&S) -> F, value: F) -> F {
    value
}

/// The field at the start of `bytes`.
pub(crate) fn field_of<S, F: Integer>(_: fn(&S) -> F, bytes: &[u8]) -> F {
    F::get(bytes)
}
