//! The device tree and the reset ROM, as QEMU's board generates them.

use vm_fdt::{Error, FdtWriter};

use super::board::UartLayout;
use super::map;

/// What the tree depends on.
pub(super) struct TreeInput<'a> {
    pub(super) harts: usize,
    pub(super) memory: u64,
    pub(super) bootargs: &'a str,
    /// First address and address after the initial RAM disk.
    pub(super) initrd: Option<(u32, u32)>,
    pub(super) uart: UartLayout,
}

/// The phandle of a hart's interrupt controller; the one before is the hart's own.
fn interrupt_controller(hart: usize) -> u32 {
    hart as u32 * 2 + 2
}

/// Base and size as two cells each.
fn region(base: u64, size: u64) -> [u64; 2] {
    [base, size]
}

const MACHINE_SOFTWARE: u32 = 3;
const MACHINE_TIMER: u32 = 7;
const SUPERVISOR_EXTERNAL: u32 = 9;
const MACHINE_EXTERNAL: u32 = 11;

/// Writes the tree of a board.
pub(super) fn device_tree(input: &TreeInput) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let plic = interrupt_controller(input.harts) - 1;
    let test = interrupt_controller(input.harts);

    let root = fdt.begin_node("")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_string("compatible", "riscv-virtio")?;
    fdt.property_string("model", "riscv-virtio,qemu")?;

    let memory = fdt.begin_node(&format!("memory@{:x}", map::RAM))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &region(map::RAM, input.memory))?;
    fdt.end_node(memory)?;

    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    fdt.property_u32("timebase-frequency", map::TIMEBASE_FREQUENCY)?;
    for hart in 0..input.harts {
        let cpu = fdt.begin_node(&format!("cpu@{hart:x}"))?;
        fdt.property_phandle(interrupt_controller(hart) - 1)?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_u32("reg", hart as u32)?;
        fdt.property_string("status", "okay")?;
        fdt.property_string("compatible", "riscv")?;
        fdt.property_string("riscv,isa", "rv64imafdcux")?;
        let controller = fdt.begin_node("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 1)?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_string("compatible", "riscv,cpu-intc")?;
        fdt.property_phandle(interrupt_controller(hart))?;
        fdt.end_node(controller)?;
        fdt.end_node(cpu)?;
    }
    fdt.end_node(cpus)?;

    let soc = fdt.begin_node("soc")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_string("compatible", "simple-bus")?;
    fdt.property_null("ranges")?;
    devices(&mut fdt, input, plic, test)?;
    let poweroff = fdt.begin_node("poweroff")?;
    system_request(&mut fdt, "syscon-poweroff", 0x5555, test)?;
    fdt.end_node(poweroff)?;
    let reboot = fdt.begin_node("reboot")?;
    system_request(&mut fdt, "syscon-reboot", 0x7777, test)?;
    fdt.end_node(reboot)?;
    fdt.end_node(soc)?;

    let chosen = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", input.bootargs)?;
    fdt.property_string("stdout-path", &format!("/soc/uart@{:x}", map::UART))?;
    if let Some((start, end)) = input.initrd {
        fdt.property_u32("linux,initrd-start", start)?;
        fdt.property_u32("linux,initrd-end", end)?;
    }
    fdt.end_node(chosen)?;
    fdt.end_node(root)?;
    fdt.finish()
}

fn system_request(fdt: &mut FdtWriter, compatible: &str, value: u32, test: u32) -> Result<(), Error> {
    fdt.property_string("compatible", compatible)?;
    fdt.property_u32("regmap", test)?;
    fdt.property_u32("offset", 0)?;
    fdt.property_u32("value", value)
}

fn devices(fdt: &mut FdtWriter, input: &TreeInput, plic: u32, test: u32) -> Result<(), Error> {
    let lines = |first: u32, second: u32| -> Vec<u32> {
        (0..input.harts)
            .flat_map(|hart| [interrupt_controller(hart), first, interrupt_controller(hart), second])
            .collect()
    };

    let uart = fdt.begin_node(&format!("uart@{:x}", map::UART))?;
    fdt.property_string("compatible", "ns16550a")?;
    fdt.property_array_u64("reg", &region(map::UART, map::UART_SIZE))?;
    fdt.property_u32("clock-frequency", map::UART_CLOCK)?;
    if input.uart != UartLayout::default() {
        fdt.property_u32("reg-shift", input.uart.shift)?;
        fdt.property_u32("reg-io-width", input.uart.width as u32)?;
    }
    fdt.property_u32("interrupts", map::UART_INTERRUPT)?;
    fdt.property_u32("interrupt-parent", plic)?;
    fdt.end_node(uart)?;

    let rtc = fdt.begin_node(&format!("rtc@{:x}", map::RTC))?;
    fdt.property_string("compatible", "google,goldfish-rtc")?;
    fdt.property_array_u64("reg", &region(map::RTC, map::RTC_SIZE))?;
    fdt.property_u32("interrupts", map::RTC_INTERRUPT)?;
    fdt.property_u32("interrupt-parent", plic)?;
    fdt.end_node(rtc)?;

    let finisher = fdt.begin_node(&format!("test@{:x}", map::TEST))?;
    fdt.property_string_list(
        "compatible",
        ["sifive,test1", "sifive,test0", "syscon"].map(str::to_owned).to_vec(),
    )?;
    fdt.property_array_u64("reg", &region(map::TEST, map::TEST_SIZE))?;
    fdt.property_phandle(test)?;
    fdt.end_node(finisher)?;

    for slot in (0..map::VIRTIO_SLOTS).rev() {
        let base = map::VIRTIO + slot * map::VIRTIO_SIZE;
        let virtio = fdt.begin_node(&format!("virtio_mmio@{base:x}"))?;
        fdt.property_string("compatible", "virtio,mmio")?;
        fdt.property_array_u64("reg", &region(base, map::VIRTIO_SIZE))?;
        fdt.property_u32("interrupts", slot as u32 + 1)?;
        fdt.property_u32("interrupt-parent", plic)?;
        fdt.end_node(virtio)?;
    }

    let controller_node = fdt.begin_node(&format!("plic@{:x}", map::PLIC))?;
    fdt.property_string("compatible", "riscv,plic0")?;
    fdt.property_array_u64("reg", &region(map::PLIC, map::PLIC_SIZE))?;
    fdt.property_u32("#address-cells", 0)?;
    fdt.property_u32("#interrupt-cells", 1)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_array_u32("interrupts-extended", &lines(MACHINE_EXTERNAL, SUPERVISOR_EXTERNAL))?;
    fdt.property_u32("riscv,ndev", map::PLIC_SOURCES as u32 - 1)?;
    fdt.property_phandle(plic)?;
    fdt.end_node(controller_node)?;

    let clint = fdt.begin_node(&format!("clint@{:x}", map::CLINT))?;
    fdt.property_string("compatible", "riscv,clint0")?;
    fdt.property_array_u64("reg", &region(map::CLINT, map::CLINT_SIZE))?;
    fdt.property_array_u32("interrupts-extended", &lines(MACHINE_SOFTWARE, MACHINE_TIMER))?;
    fdt.end_node(clint)
}

/// The reset ROM: jumps to `start` with a0 = hart, a1 = `tree`, a2 = address of the firmware information block.
pub(super) fn reset_rom(start: u64, tree: u64) -> Vec<u8> {
    const CODE: [u32; 6] = [
        0x0000_0297, // auipc t0, 0
        0x0282_8613, // addi  a2, t0, 40
        0xf140_2573, // csrr  a0, mhartid
        0x0202_b583, // ld    a1, 32(t0)
        0x0182_b283, // ld    t0, 24(t0)
        0x0002_8067, // jr    t0
    ];
    // Where to start, the tree; then the information block: magic, version, next address, next mode, options, boot hart.
    let data: [u64; 8] = [start, tree, 0x4942_534f, 2, start, 3, 0, 0];
    let code = CODE.iter().flat_map(|word| word.to_le_bytes());
    code.chain(data.iter().flat_map(|word| word.to_le_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phandle_is_unique() {
        for harts in 1..=map::MAX_HARTS {
            let input = TreeInput {
                harts,
                memory: 128 << 20,
                bootargs: "",
                initrd: None,
                uart: UartLayout::default(),
            };
            assert!(device_tree(&input).is_ok(), "{harts} harts");
        }
    }
}
