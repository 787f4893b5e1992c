//! Numbers in blocks, and their checksums. A place that is not in a block reads as 0 and takes nothing, so that no damage to a
//! disk can make this side stop.

macro_rules! numbers {
    ($($read:ident $write:ident $type:ty, $from:ident $to:ident;)+) => {
        $(
            pub(super) fn $read(bytes: &[u8], at: usize) -> $type {
                bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |found| <$type>::$from(*found))
            }

            pub(super) fn $write(bytes: &mut [u8], at: usize, value: $type) {
                if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                    *place = value.$to();
                }
            }
        )+
    };
}

// Of the file system, which is little-endian; then of the journal, which is not.
numbers! {
    le16 put16 u16, from_le_bytes to_le_bytes;
    le32 put32 u32, from_le_bytes to_le_bytes;
    be16 put16_be u16, from_be_bytes to_be_bytes;
    be32 put32_be u32, from_be_bytes to_be_bytes;
    be64 put64_be u64, from_be_bytes to_be_bytes;
}

/// Bytes that are looked up at a time.
const WIDTH: usize = 8;

const TABLES: [[u32; 256]; WIDTH] = {
    let mut tables = [[0; 256]; WIDTH];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ if value & 1 != 0 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < WIDTH {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
};

/// CRC-32C of `bytes` that follow those with the checksum `before`, as ext4 has it: neither begun nor ended by an inversion.
pub(super) fn crc(before: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<WIDTH>();
    let mut value = before;
    for word in words {
        let word = u64::from_le_bytes(*word) ^ u64::from(value);
        value = word
            .to_le_bytes()
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)]);
    }
    rest.iter().fold(value, |value, byte| {
        (value >> 8) ^ TABLES[0][usize::from(value as u8 ^ byte)]
    })
}

/// As [`crc`], with zeros instead of the bytes at `hole`, where the checksum itself is.
pub(super) fn crc_around(before: u32, bytes: &[u8], hole: usize, width: usize) -> u32 {
    const NOTHING: [u8; 4] = [0; 4];
    let end = hole.saturating_add(width).min(bytes.len());
    let (first, rest) = bytes.split_at(hole.min(bytes.len()));
    let value = crc(before, first);
    let value = crc(value, &NOTHING[..(end - first.len()).min(NOTHING.len())]);
    crc(value, &rest[end - first.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4, and the check value of CRC catalogues.
        assert_eq!(!crc(!0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc(!0, b"123456789"), 0xe306_9283);
        let mut text = *b"1234x6789";
        text[4] = 0;
        assert_eq!(crc_around(!0, b"1234x6789", 4, 1), crc(!0, &text));
    }

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let mut bytes = [0xff; 4];
        assert_eq!(
            (
                le32(&bytes, 0),
                le32(&bytes, 1),
                be16(&bytes, 2),
                be64(&bytes, usize::MAX)
            ),
            (u32::MAX, 0, 0xffff, 0)
        );
        put32(&mut bytes, 1, 0);
        assert_eq!(bytes, [0xff; 4]);
    }
}
