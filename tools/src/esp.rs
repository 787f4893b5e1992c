//! A disk from which EFI firmware starts an image: a FAT file system, as removable media have it (UEFI Specification 2.10,
//! 3.5.1.1), that holds the image under the name that the firmware looks for.

use std::io::{Cursor, Write as _};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use crate::image;

/// What arm64 firmware starts from a removable medium. All names here are short ones.
pub const FILE: &str = "EFI/BOOT/BOOTAA64.EFI";
/// The device tree that the image takes where the firmware has none.
pub const TREE: &str = "EFI/BOOT/BOARD.DTB";
/// The archive that the image takes instead of its own.
pub const ARCHIVE: &str = "EFI/BOOT/INITRD.IMG";

/// Bytes of the file system, at least: FAT32 needs more than half of it.
const SIZE: usize = 64 << 20;
/// Bytes beside the image: boot sectors, both allocation tables, directories.
const OVERHEAD: usize = 4 << 20;

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// The file is no image.
    #[error(transparent)]
    Image(#[from] image::ImageError),
    /// Firmware of the image's architecture starts nothing from a disk.
    #[error("image header: machine {0}, expected 183 (AArch64): only Morello images are EFI applications")]
    Machine(u32),
    /// The file system cannot be written.
    #[error("FAT file system: {0}")]
    FileSystem(#[from] std::io::Error),
}

/// The bytes of a disk that starts this image, with further files in the same folder.
///
/// # Errors
/// It is no Morello image.
pub fn build(image: &[u8], further: &[(&str, &[u8])]) -> Result<Vec<u8>, EspError> {
    let machine = image::Image::parse(image)?.header.machine;
    if machine != u32::from(object::elf::EM_AARCH64) {
        return Err(EspError::Machine(machine));
    }
    let contents = image.len() + further.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let size = SIZE.max((contents + OVERHEAD).next_multiple_of(1 << 20));
    let mut disk = Cursor::new(vec![0; size]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .volume_label(*b"INTRAVISOR ");
    format_volume(&mut disk, options)?;
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new())?;
        for (path, bytes) in [(FILE, image)].iter().chain(further) {
            let mut directory = volume.root_dir();
            let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
            for folder in folders.split('/') {
                directory = directory.create_dir(folder)?;
            }
            directory.create_file(name)?.write_all(bytes)?;
        }
    }
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use abi::image::{ImageHeader, MAGIC, MEMORY_SIZE_OFFSET, OFFSET, VERSION};

    use super::*;

    fn image(machine: u32) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..700_000_u32).map(|at| at as u8 ^ (at >> 8) as u8).collect();
        let header = ImageHeader {
            magic: MAGIC,
            version: VERSION,
            machine,
            monitor_size: 0x1000,
            symbols_offset: 0,
            symbols_size: 0,
            archive_offset: 0,
            archive_size: 0,
            constant_start: 0x90,
            constant_end: 0x180,
            link_address: 0x8000_0000,
            gap_start: 0,
            gap_end: 0,
            gap_used: 0,
        };
        let size = bytes.len() as u64;
        bytes[MEMORY_SIZE_OFFSET..MEMORY_SIZE_OFFSET + 8].copy_from_slice(&size.to_le_bytes());
        bytes[OFFSET..OFFSET + ImageHeader::SIZE].copy_from_slice(&header.to_bytes());
        bytes
    }

    #[test]
    fn the_disk_holds_the_image_where_firmware_looks() {
        let image = image(183);
        let disk = build(&image, &[(TREE, b"tree")]).unwrap();
        assert_eq!(disk[510..512], [0x55, 0xaa], "a boot sector");
        let volume = FileSystem::new(Cursor::new(disk), FsOptions::new()).unwrap();
        assert_eq!(volume.fat_type(), FatType::Fat32);
        let mut found = Vec::new();
        let mut file = volume.root_dir().open_file("efi/boot/bootaa64.efi").unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == image);
        found.clear();
        let mut file = volume.root_dir().open_file("EFI/BOOT/BOARD.DTB").unwrap();
        file.read_to_end(&mut found).unwrap();
        assert_eq!(found, b"tree");
    }

    #[test]
    fn the_same_image_gives_the_same_disk() {
        assert!(build(&image(183), &[]).unwrap() == build(&image(183), &[]).unwrap());
    }

    #[test]
    fn other_images_are_refused() {
        let error = build(&image(243), &[]).unwrap_err().to_string();
        let text = "image header: machine 243, expected 183 (AArch64): only Morello images are EFI applications";
        assert_eq!(error, text);
        assert!(matches!(build(&[0; 4096], &[]), Err(EspError::Image(_))));
    }
}
