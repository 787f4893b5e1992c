//! The device tree of the Morello SoC, for the devices that exist here: what Trusted Firmware-A hands on
//! (fdts/morello.dtsi and fdts/morello-soc.dts), in which it writes the memory that it has found.

use super::bus::soc;
use vm_fdt::{Error, FdtWriter};

const CLOCK: u32 = 1;
const GIC: u32 = 2;
/// First cell of an interrupt: shared or private.
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
/// Third cell: how it triggers.
const HIGH: u32 = 4;
const LOW: u32 = 8;

/// Writes the tree. `ram` = first address and bytes of each region.
pub(super) fn soc_tree(
    affinities: &[u64],
    ram: &[u64],
    bootargs: &str,
    initrd: Option<(u32, u32)>,
) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "arm,morello")?;
    fdt.property_u32("interrupt-parent", GIC)?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;

    let aliases = fdt.begin_node("aliases")?;
    fdt.property_string("serial0", &format!("/uart@{:x}", soc::UART))?;
    fdt.end_node(aliases)?;

    let chosen = fdt.begin_node("chosen")?;
    fdt.property_string("stdout-path", "serial0:115200n8")?;
    if !bootargs.is_empty() {
        fdt.property_string("bootargs", bootargs)?;
    }
    if let Some((start, end)) = initrd {
        fdt.property_u32("linux,initrd-start", start)?;
        fdt.property_u32("linux,initrd-end", end)?;
    }
    fdt.end_node(chosen)?;

    let gic = fdt.begin_node("interrupt-controller@2c010000")?;
    fdt.property_phandle(GIC)?;
    fdt.property_string_list("compatible", vec!["arm,gic-600".into(), "arm,gic-v3".into()])?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#interrupt-cells", 3)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_null("ranges")?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_array_u64("reg", &[soc::DISTRIBUTOR, 0x1_0000, soc::REDISTRIBUTORS, 0x8_0000])?;
    fdt.property_array_u32("interrupts", &[PRIVATE, 9, HIGH])?;
    fdt.end_node(gic)?;

    let psci = fdt.begin_node("psci")?;
    fdt.property_string("compatible", "arm,psci-0.2")?;
    fdt.property_string("method", "smc")?;
    fdt.end_node(psci)?;

    let timer = fdt.begin_node("timer")?;
    fdt.property_string("compatible", "arm,armv8-timer")?;
    let interrupts = [13, 14, 11, 10].map(|number| [PRIVATE, number, LOW]);
    fdt.property_array_u32("interrupts", interrupts.as_flattened())?;
    fdt.end_node(timer)?;

    let clock = fdt.begin_node("refclk50mhz")?;
    fdt.property_phandle(CLOCK)?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", 50_000_000)?;
    fdt.end_node(clock)?;

    let uart = fdt.begin_node(&format!("uart@{:x}", soc::UART))?;
    fdt.property_string_list("compatible", vec!["arm,pl011".into(), "arm,primecell".into()])?;
    fdt.property_array_u64("reg", &[soc::UART, 0x1000])?;
    fdt.property_array_u32("interrupts", &[SHARED, soc::UART_INTERRUPT as u32 - 32, HIGH])?;
    fdt.property_array_u32("clocks", &[CLOCK, CLOCK])?;
    fdt.property_string_list("clock-names", vec!["uartclk".into(), "apb_pclk".into()])?;
    fdt.property_string("status", "okay")?;
    fdt.end_node(uart)?;

    let reserved = fdt.begin_node("reserved-memory")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_null("ranges")?;
    let firmware = fdt.begin_node("secure-firmware@ff000000")?;
    fdt.property_array_u64("reg", &[0xff00_0000, 0x0100_0000])?;
    fdt.property_null("no-map")?;
    fdt.end_node(firmware)?;
    fdt.end_node(reserved)?;

    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 0)?;
    for (core, affinity) in affinities.iter().enumerate() {
        let node = fdt.begin_node(&format!("cpu{core}@{affinity:x}"))?;
        fdt.property_string("compatible", "arm,armv8")?;
        fdt.property_array_u64("reg", &[*affinity])?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("enable-method", "psci")?;
        fdt.end_node(node)?;
    }
    fdt.end_node(cpus)?;

    let (regions, _) = ram.as_chunks::<2>();
    for region in regions {
        let memory = fdt.begin_node(&format!("memory@{:x}", region[0]))?;
        fdt.property_string("device_type", "memory")?;
        fdt.property_array_u64("reg", region)?;
        fdt.end_node(memory)?;
    }
    fdt.end_node(root)?;
    fdt.finish()
}
