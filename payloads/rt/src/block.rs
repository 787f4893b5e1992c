//! The start block as a program reads it: the header and the strings behind it.

use abi::start::StartHeader;

/// A start block whose strings have been checked.
#[derive(Clone, Copy, Debug)]
pub struct StartBlock<'a> {
    bytes: &'a [u8],
    header: StartHeader,
    name: &'a str,
}

impl<'a> StartBlock<'a> {
    /// The start block in `bytes`; `None` when its header does not fit, or a string that it announces is missing or is
    /// not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Option<StartBlock<'a>> {
        let header = StartHeader::from_bytes(bytes.first_chunk()?)?;
        let bytes = bytes.get(..header.size as usize)?;
        let name = Strings::new(bytes, header.name, 1)?.next()?;
        let block = StartBlock { bytes, header, name };
        for (offset, count) in [
            (header.arguments, header.argument_count),
            (header.environment, header.environment_count),
        ] {
            if Strings::new(bytes, offset, count)?.count() != count as usize {
                return None;
            }
        }
        Some(block)
    }

    /// The fixed part: the cVM's number, its memory, heap and stack.
    pub fn header(&self) -> &StartHeader {
        &self.header
    }

    /// The whole block as the monitor wrote it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The cVM's name in the manifest.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The arguments, the runtime's name first.
    pub fn arguments(&self) -> Strings<'a> {
        Strings::new(self.bytes, self.header.arguments, self.header.argument_count).unwrap_or(Strings::NONE)
    }

    /// The environment entries, each `KEY=value`.
    pub fn environment(&self) -> Strings<'a> {
        Strings::new(self.bytes, self.header.environment, self.header.environment_count).unwrap_or(Strings::NONE)
    }
}

/// NUL-terminated strings that follow one another.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Strings<'a> {
    const NONE: Strings<'a> = Strings { rest: &[], left: 0 };

    fn new(bytes: &'a [u8], offset: u32, count: u32) -> Option<Strings<'a>> {
        if count == 0 {
            return Some(Strings::NONE);
        }
        Some(Strings {
            rest: bytes.get(offset as usize..)?,
            left: count,
        })
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let length = self.rest.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = &rest[1..];
        core::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::start::{MAGIC, VERSION};

    fn block(strings: &[u8], change: impl FnOnce(&mut StartHeader)) -> Vec<u8> {
        let at = StartHeader::SIZE as u32;
        let mut header = StartHeader {
            magic: MAGIC,
            version: VERSION,
            size: at + strings.len() as u32,
            name: at,
            argument_count: 2,
            arguments: at + 5,
            environment_count: 1,
            environment: at + 15,
            ..StartHeader::default()
        };
        change(&mut header);
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(strings);
        bytes
    }

    const STRINGS: &[u8] = b"demo\0a.elf\0one\0K=v\0";

    #[test]
    fn a_block_gives_back_name_arguments_and_environment() {
        let bytes = block(STRINGS, |_| ());
        let block = StartBlock::parse(&bytes).unwrap();
        assert_eq!(block.name(), "demo");
        assert_eq!(block.arguments().collect::<Vec<_>>(), ["a.elf", "one"]);
        assert_eq!(block.environment().collect::<Vec<_>>(), ["K=v"]);
    }

    #[test]
    fn bytes_behind_the_block_are_not_part_of_it() {
        let mut bytes = block(STRINGS, |_| ());
        bytes.extend_from_slice(b"behind");
        assert_eq!(StartBlock::parse(&bytes).unwrap().bytes().len(), bytes.len() - 6);
    }

    #[test]
    fn a_block_without_arguments_and_environment_is_fine() {
        let bytes = block(b"demo\0", |header| {
            header.argument_count = 0;
            header.environment_count = 0;
            header.arguments = u32::MAX;
        });
        let block = StartBlock::parse(&bytes).unwrap();
        assert_eq!((block.arguments().count(), block.environment().count()), (0, 0));
    }

    #[test]
    fn a_block_that_lies_about_itself_is_refused() {
        let lies: [fn(&mut StartHeader); 6] = [
            |header| header.magic += 1,
            |header| header.version += 1,
            |header| header.size += 1,
            |header| header.name = u32::MAX,
            |header| header.argument_count = 4,
            |header| header.environment_count = u32::MAX,
        ];
        for (number, lie) in lies.into_iter().enumerate() {
            assert!(StartBlock::parse(&block(STRINGS, lie)).is_none(), "lie {number}");
        }
        assert!(
            StartBlock::parse(&block(b"demo\0\xff.elf\0one\0K=v\0", |_| ())).is_none(),
            "not UTF-8"
        );
        assert!(
            StartBlock::parse(&block(STRINGS, |_| ())[..40]).is_none(),
            "cut in the header"
        );
    }
}
