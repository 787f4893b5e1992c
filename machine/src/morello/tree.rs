//! The device tree of the `virt` board, as QEMU writes it for the devices that exist here.

use super::bus::map;
use super::gic::Version;
use vm_fdt::{Error, FdtWriter};

/// What the tree depends on.
pub(super) struct TreeInput<'a> {
    pub(super) cores: usize,
    pub(super) memory: u64,
    pub(super) gic: Version,
    pub(super) virtualization: bool,
    pub(super) bootargs: &'a str,
    /// First address and address after the initial RAM disk.
    pub(super) initrd: Option<(u32, u32)>,
}

const CLOCK: u32 = 0x8000;
const GIC: u32 = 0x8001;
/// First cell of an interrupt: shared or private.
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
/// Third cell: how it triggers.
const EDGE: u32 = 1;
const LEVEL: u32 = 4;

/// Writes the tree of a board.
pub(super) fn device_tree(input: &TreeInput) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_u32("interrupt-parent", GIC)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_string("compatible", "linux,dummy-virt")?;

    let psci = fdt.begin_node("psci")?;
    fdt.property_u32("migrate", 0xc400_0005)?;
    fdt.property_u32("cpu_on", 0xc400_0003)?;
    fdt.property_u32("cpu_off", 0x8400_0002)?;
    fdt.property_u32("cpu_suspend", 0xc400_0001)?;
    fdt.property_string("method", if input.virtualization { "smc" } else { "hvc" })?;
    fdt.property_string_list("compatible", vec!["arm,psci-0.2".into(), "arm,psci".into()])?;
    fdt.end_node(psci)?;

    let memory = fdt.begin_node(&format!("memory@{:x}", map::RAM))?;
    fdt.property_array_u64("reg", &[map::RAM, input.memory])?;
    fdt.property_string("device_type", "memory")?;
    fdt.end_node(memory)?;

    for slot in 0..map::VIRTIO_SLOTS {
        let base = map::VIRTIO + slot * map::VIRTIO_SIZE;
        let node = fdt.begin_node(&format!("virtio_mmio@{base:x}"))?;
        fdt.property_null("dma-coherent")?;
        fdt.property_array_u32("interrupts", &[SHARED, 16 + slot as u32, EDGE])?;
        fdt.property_array_u64("reg", &[base, map::VIRTIO_SIZE])?;
        fdt.property_string("compatible", "virtio,mmio")?;
        fdt.end_node(node)?;
    }

    let uart = fdt.begin_node(&format!("pl011@{:x}", map::UART))?;
    fdt.property_string_list("clock-names", vec!["uartclk".into(), "apb_pclk".into()])?;
    fdt.property_array_u32("clocks", &[CLOCK, CLOCK])?;
    fdt.property_array_u32("interrupts", &[SHARED, 1, LEVEL])?;
    fdt.property_array_u64("reg", &[map::UART, 0x1000])?;
    fdt.property_string_list("compatible", vec!["arm,pl011".into(), "arm,primecell".into()])?;
    fdt.end_node(uart)?;

    let rtc = fdt.begin_node(&format!("pl031@{:x}", map::RTC))?;
    fdt.property_string("clock-names", "apb_pclk")?;
    fdt.property_u32("clocks", CLOCK)?;
    fdt.property_array_u32("interrupts", &[SHARED, 2, LEVEL])?;
    fdt.property_array_u64("reg", &[map::RTC, 0x1000])?;
    fdt.property_string_list("compatible", vec!["arm,pl031".into(), "arm,primecell".into()])?;
    fdt.end_node(rtc)?;

    interrupt_controller(&mut fdt, input)?;
    processors(&mut fdt, input)?;

    let clock = fdt.begin_node("apb-pclk")?;
    fdt.property_phandle(CLOCK)?;
    fdt.property_string("clock-output-names", "clk24mhz")?;
    fdt.property_u32("clock-frequency", 24_000_000)?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.end_node(clock)?;

    let chosen = fdt.begin_node("chosen")?;
    if !input.bootargs.is_empty() {
        fdt.property_string("bootargs", input.bootargs)?;
    }
    if let Some((start, end)) = input.initrd {
        fdt.property_u32("linux,initrd-start", start)?;
        fdt.property_u32("linux,initrd-end", end)?;
    }
    fdt.property_string("stdout-path", &format!("/pl011@{:x}", map::UART))?;
    fdt.end_node(chosen)?;
    fdt.end_node(root)?;
    fdt.finish()
}

fn interrupt_controller(fdt: &mut FdtWriter, input: &TreeInput) -> Result<(), Error> {
    let node = fdt.begin_node(&format!("intc@{:x}", map::DISTRIBUTOR))?;
    fdt.property_phandle(GIC)?;
    match input.gic {
        Version::V2 => {
            fdt.property_array_u64("reg", &[map::DISTRIBUTOR, 0x1_0000, map::INTERFACE, 0x1_0000])?;
            fdt.property_string("compatible", "arm,cortex-a15-gic")?;
        }
        Version::V3 => {
            let size = input.cores as u64 * map::REDISTRIBUTOR_SIZE;
            fdt.property_array_u64("reg", &[map::DISTRIBUTOR, 0x1_0000, map::REDISTRIBUTORS, size])?;
            fdt.property_u32("#redistributor-regions", 1)?;
            fdt.property_string("compatible", "arm,gic-v3")?;
        }
    }
    fdt.property_null("ranges")?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 3)?;
    fdt.end_node(node)
}

fn processors(fdt: &mut FdtWriter, input: &TreeInput) -> Result<(), Error> {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#size-cells", 0)?;
    fdt.property_u32("#address-cells", 1)?;
    for core in 0..input.cores {
        let node = fdt.begin_node(&format!("cpu@{core:x}"))?;
        fdt.property_u32("reg", core as u32)?;
        if input.cores > 1 {
            fdt.property_string("enable-method", "psci")?;
        }
        fdt.property_string("compatible", "arm,morello")?;
        fdt.property_string("device_type", "cpu")?;
        fdt.end_node(node)?;
    }
    fdt.end_node(cpus)?;

    // Version 2 says in the third cell which cores a private interrupt reaches.
    let reaches = match input.gic {
        Version::V2 => ((1 << input.cores) - 1) << 8,
        Version::V3 => 0,
    };
    let private = |number: u32| [PRIVATE, number, LEVEL | reaches];
    let timer = fdt.begin_node("timer")?;
    fdt.property_array_u32(
        "interrupts",
        &[private(13), private(14), private(11), private(10)].concat(),
    )?;
    fdt.property_null("always-on")?;
    fdt.property_string_list("compatible", vec!["arm,armv8-timer".into(), "arm,armv7-timer".into()])?;
    fdt.end_node(timer)
}
