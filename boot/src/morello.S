// Reset entry on Morello.
//
// FROM the boot loader or the EFI entry, at the start of the image, at EL1, EL2 or EL3. LIVE: x0 = device tree, or 0 when
// the image was loaded as an ELF file (the tree then lies at the start of RAM); x1 = a PL011 to tell of each step, or 0.
// MMU and data cache off, IRQ off. PCC and DDC hold the root capability, and so do DDC_EL0 and RDDC_EL0 and the DDC of
// every lower level.
//
// What this does, in order: go down to EL1, leaving no authority above; park all processors but the first; put the end of the
// image in its place; map the memory and turn the caches on; clear what is behind the text's last instruction, and bss;
// relocate; keep the root capability in its slot; narrow PCC to the text; call boot_main on the monitor's stack.

// cd := PCC narrowed to the text and what the monitor needs, at \label. x9 and x10 are lost.
.macro NARROW_PCC cd, label
    adr x9, intravisor_image_start
    adrp x10, intravisor_text_end
    sub x10, x10, x9
    CVTP_C \cd, 9
    SCBNDSE \cd, \cd, 10
    mov x10, #0x7dfc
    movk x10, #3, lsl #16       // all but Execute, System, Executive, Global
    CLRPERM \cd, \cd, 10
    adr x9, \label
    SCVALUE \cd, \cd, 9
    mov x9, xzr
.endm

// Tells the PL011 at x24, if there is one, what has been done. x9 is lost.
.macro STEP letter
    cbz x24, 771f
    mov w9, #\letter
    str w9, [x24]
771:
.endm

.globl _start
_start:
    // A header as Linux images for arm64 have it (Documentation/arch/arm64/booting.rst). Its first instruction does
    // nothing and reads MZ, so that EFI firmware follows the last word to the header of a PE/COFF file.
    .word 0xfa405a4d            // ccmp x18, #0, #13, pl
    b   1f
    .quad 0                     // text offset: any multiple of 2 MiB will do
    .quad intravisor_image_size // bytes in memory; `intravisor pack` adds what it appends
    .quad 0xa                   // flags: little endian, 4 KiB pages, anywhere in memory
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .word pe_header - _start
    // abi::image::ImageHeader; the rest is filled in by `intravisor pack`.
    .ascii "intravsr"
    .word 4
    .word 183
    .quad intravisor_image_size
    .quad 0, 0, 0, 0
    .quad headers_end - _start, intravisor_constant_end, intravisor_link_address
    .quad intravisor_gap_offset, intravisor_gap_end
gap_used:
    .quad 0

// Every place of the file is the same place in memory. `intravisor pack` fills in what depends on what it appends.
pe_header:
    .ascii "PE\0\0"
    .hword 0xaa64               // arm64
    .hword 2                    // sections
    .word 0, 0, 0               // no time, no symbols
    .hword sections - optional_header
    .hword 0x206                // executable, no line numbers, no debugging information
optional_header:
    .hword 0x20b                // PE32+
    .hword 0
    .word intravisor_efi_text_size
    .word 0, 0                  // initialised data, other data
    .word intravisor_efi_start - _start
    .word 0x1000                // base of the code
    .quad 0                     // image base: anywhere
    .word 0x1000, 0x200         // alignment in memory and in the file
    .word 0, 0, 0, 0            // versions
    .word 0                     // size of the image
    .word 0x1000                // size of all headers, the reset code among them
    .word 0                     // no checksum
    .hword 10, 0                // EFI application
    .quad 0, 0, 0, 0
    .word 0, 6                  // directories, all empty
    .quad 0, 0, 0, 0, 0, 0
sections:
    .ascii ".text\0\0\0"
    .word intravisor_efi_text_size, 0x1000, intravisor_efi_text_size, 0x1000
    .word 0, 0, 0
    .word 0x60000020            // code, to read and execute
    .ascii ".data\0\0\0"
    .word 0, intravisor_efi_data, 0, intravisor_efi_data
    .word 0, 0, 0
    .word 0xc0000040            // initialised data, to read and write
headers_end:

1:  mov x20, x0                 // device tree
    mov x24, x1                 // early console
    mrs x0, id_aa64pfr1_el1
    ubfx x0, x0, #20, #4        // CE: capabilities
    cbz x0, no_morello
    mrs x21, CurrentEL
    lsr x21, x21, #2            // level of entry
    cmp x21, #2
    b.eq from_el2
    b.lo from_el1

// FROM above, at EL3, where nobody has been before: no real board, but QEMU's virt board with a secure world. LIVE: x20,
// x21. The secure world is not used, so all interrupts are handed to the other one.
    mov x0, #1 << 9             // CPTR_EL3.EC: capabilities for all levels
    msr cptr_el3, x0
    mov x0, #0x531              // SCR_EL3: lower levels non-secure and AArch64, HVC on
    msr scr_el3, x0
    isb
    movz x1, #0x0800, lsl #16   // the interrupt distributor of the virt board
    mov w2, #-1
    add x3, x1, #0x80           // GICD_IGROUPR: group 1
    mrs x0, id_aa64pfr0_el1
    ubfx x0, x0, #24, #4
    cbnz x0, 22f
    add x4, x3, #0x80
21: str w2, [x3], #4
    cmp x3, x4
    b.ne 21b
    movz x3, #0x0801, lsl #16
    mov w2, #0xff
    str w2, [x3, #4]            // GICC_PMR: all priorities
    b   24f
22: mov x4, #0xf
    msr S3_6_C12_C12_5, x4      // ICC_SRE_EL3: system registers, for lower levels, too
    isb
    mov w4, #0x30
    str w4, [x1]                // GICD_CTLR: affinity routing in both worlds
    add x4, x3, #0x80
23: str w2, [x3], #4
    cmp x3, x4
    b.ne 23b
    movz x3, #0x080b, lsl #16
    str w2, [x3, #0x80]         // GICR_IGROUPR0
    mov x4, #0xff
    msr S3_0_C4_C6_0, x4        // ICC_PMR_EL1: all priorities
24:
    MRS_C 11, DDC
    MSR_C DDC_EL1, 11
    mov x12, #0x3c5             // EL1, interrupts masked
    mrs x0, id_aa64pfr0_el1
    ubfx x0, x0, #8, #4
    cbnz x0, 2f
    NARROW_PCC 13, from_el1
    b   3f
2:  MSR_C DDC_EL2, 11
    mov x12, #0x3c9             // EL2
    NARROW_PCC 13, from_el2
3:  MSR_C CELR_EL3, 13
    msr spsr_el3, x12
    msr sctlr_el1, xzr
    MSR_C CVBAR_EL3, 31
    MSR_C CTPIDR_EL3, 31
    mov x11, xzr
    mov x13, xzr
    MSR_C DDC, 31
    isb
    eret

// FROM above, at EL2. LIVE: x20, x21, x24.
from_el2:
    STEP '2'
    mov x0, #1 << 31            // HCR_EL2: EL1 is AArch64 …
    orr x0, x0, #1 << 29        // … and cannot call EL2, where nobody is
    msr hcr_el2, x0
    isb
    mov x0, #0x31ff             // CPTR_EL2: no traps of capabilities (TC) and floating point (TFP)
    msr cptr_el2, x0
    mrs x0, mdcr_el2
    and x0, x0, #0x1f           // debug and performance monitors are not trapped, their number is left
    msr mdcr_el2, x0
    mov x0, #3                  // counter and timer are EL1's
    msr cnthctl_el2, x0
    msr cntvoff_el2, xzr
    mrs x0, midr_el1
    msr vpidr_el2, x0
    mrs x0, mpidr_el1
    msr vmpidr_el2, x0
    mrs x0, id_aa64pfr0_el1
    ubfx x0, x0, #24, #4        // GIC: system registers exist
    cbz x0, 4f
    mov x0, #0xf
    msr S3_4_C12_C9_5, x0       // ICC_SRE_EL2: in use, and EL1 may use them, too
    isb
    msr S3_4_C12_C11_0, xzr     // ICH_HCR_EL2
4:  isb
    MRS_C 11, DDC
    MSR_C DDC_EL1, 11
    NARROW_PCC 13, from_el1
    MSR_C CELR_EL2, 13
    mov x0, #0x3c5              // EL1, interrupts masked
    msr spsr_el2, x0
    msr sctlr_el1, xzr
    MSR_C CVBAR_EL2, 31
    MSR_C CTPIDR_EL2, 31
    mov x11, xzr
    mov x13, xzr
    MSR_C DDC, 31
    isb
    eret

// FROM above or by ERET, at EL1. LIVE: x20, x21, x24.
from_el1:
    msr daifset, #0xf
    msr spsel, #1
    STEP '1'
    // An EL3 below which this was entered decides on capabilities, too, and QEMU has no firmware there that allows them.
    // No processor with capabilities has EL3 without EL2, so this is QEMU with `secure=on`: say what will happen next.
    mrs x0, id_aa64pfr0_el1
    cmp x21, #1
    b.ne 5f
    tst x0, #0xf00              // EL2
    b.ne 5f
    tst x0, #0xf000             // EL3
    b.eq 5f
    adr x0, closed_text
    bl  print
5:  movz x0, #0x0800
    movk x0, #0x30d0, lsl #16   // SCTLR_EL1: MMU and caches off, and the bits that are always 1
    msr sctlr_el1, x0
    movz x0, #0x1c, lsl #16     // CPACR_EL1: capabilities for EL1 and EL0 (CEN), floating point traps at EL0 (FPEN)
    msr cpacr_el1, x0
    movz x0, #2                 // EL0VCTEN: EL0 reads the virtual counter, no other one, and sets no timer
    msr cntkctl_el1, x0
    movz x0, #0x1000            // TDCC: no debug communication channel, nor any other debug register
    msr mdscr_el1, x0
    mrs x0, id_aa64dfr0_el1
    ubfx x0, x0, #8, #4         // PMUVer
    sub x0, x0, #1
    cmp x0, #0xe
    b.hs 20f
    msr pmuserenr_el0, xzr      // and no performance monitors
20: isb
    msr S3_0_C1_C2_2, xzr       // CCTLR_EL1: plain A64, DDC and PCC do not relocate, exceptions enter A64
    isb
    mrs x22, mpidr_el1
    and x22, x22, #0xffffff     // this processor
    cbnz x22, park
    cbnz x20, 6f
    adr x20, intravisor_image_start
    and x20, x20, #~0x3fffffff  // loaded as an ELF file: the tree is at the start of RAM

    // The caches are off, but may remember what was where the end of the image goes, or write it back.
6:  bl  end_of_image
    bl  forget
    bl  unfold
    dmb sy
    bl  end_of_image
    bl  forget

    // The first map: the gigabyte where the image lies is memory, everything else in 512 GiB is devices, and there is nothing
    // in the 512 GiB behind that.
    adrp x0, intravisor_reset_table
    adr x1, intravisor_image_start
    lsr x1, x1, #30
    movz x3, #0x0c05            // block, device, accessed, not global
    movk x3, #0x60, lsl #48     // never executed
    movz x4, #0x0f01            // block, normal, inner shareable, accessed, not global
    movk x4, #0x3040, lsl #48   // not executed at EL0; tags may be loaded and stored
    mov x2, xzr
7:  cmp x2, x1
    csel x5, x4, x3, eq
    orr x5, x5, x2, lsl #30
    str x5, [x0, x2, lsl #3]
    add x2, x2, #1
    cmp x2, #512
    b.ne 7b
    adrp x6, reset_root
    add x6, x6, :lo12:reset_root
    add x5, x0, #3              // a table
    stp x5, xzr, [x6]
    dmb sy
    dc  ivac, x6
    add x1, x0, #4096
    bl  forget

    mov x5, #0x00ff             // MAIR_EL1: 0 = normal, write-back; 1 = device nGnRnE
    msr mair_el1, x5
    movz x5, #0x3518            // TCR_EL1: 40 bits through TTBR0, none through TTBR1, 40-bit physical addresses,
    movk x5, #0x0080, lsl #16   // cached and shared walks, descriptor bits 59 to 62 in use (HPD0, HWU0)
    movk x5, #0x7a02, lsl #32
    msr tcr_el1, x5
    msr ttbr0_el1, x6
    dsb sy
    tlbi vmalle1
    ic  iallu
    dsb sy
    isb
    movz x0, #0x181d            // SCTLR_EL1: M, C, SA, SA0, I and the bits that are always 1;
    movk x0, #0x30d5, lsl #16   // WFI and WFE are not trapped, and traps leave PSTATE.PAN alone (SPAN)
    msr sctlr_el1, x0
    isb
    MSR_PAN_0
    STEP 'm'

    adrp x0, intravisor_gap_start
    add x0, x0, :lo12:intravisor_gap_start
    adrp x1, intravisor_text_end
    bl  zero
    adrp x0, intravisor_bss_start
    add x0, x0, :lo12:intravisor_bss_start
    adrp x1, intravisor_bss_end
    add x1, x1, :lo12:intravisor_bss_end
    bl  zero

    STEP 'z'
    // x23 = what to add to a linked address.
    adr x0, link_address
    ldr x0, [x0]
    adr x23, intravisor_image_start
    sub x23, x23, x0
    cbz x23, 29f
    // The places that hold addresses, as DT_RELR lists them: an even word is one place, an odd one has a bit for each of
    // the 63 behind. The linker script sees to it that there are no relocations of another kind.
    adrp x0, intravisor_relr_start
    add x0, x0, :lo12:intravisor_relr_start
    adrp x1, intravisor_relr_end
    add x1, x1, :lo12:intravisor_relr_end
    b   26f
10: ldr x2, [x0], #8            // an entry
    tbnz x2, #0, 11f
    add x4, x2, x23             // the next place
    mov x2, #1 << 1             // it alone
    add x5, x4, #8
    b   27f
11: add x5, x4, #63 * 8         // the place behind those of this entry
27: lsr x2, x2, #1
    tbz x2, #0, 28f
    ldr x3, [x4]
    add x3, x3, x23
    str x3, [x4]
28: add x4, x4, #8
    cmp x4, x5
    b.lo 27b
26: cmp x0, x1
    b.lo 10b

29: STEP 'r'
    // DDC is the root: keep it in the root slot.
    adrp x0, intravisor_root
    add x0, x0, :lo12:intravisor_root
    MRS_C 11, DDC
    STR_C 11, 0, 0
    mov x11, xzr
    adrp x0, intravisor_entry_level
    str x21, [x0, :lo12:intravisor_entry_level]
    NARROW_PCC 13, narrowed
    BR_C 13

    // FROM above. LIVE: x20, x22, x24; PCC = the text.
narrowed:
    STEP 'n'
    mov x13, xzr
    adrp x0, intravisor_stack_top
    add x0, x0, :lo12:intravisor_stack_top
    mov sp, x0
    mov x29, xzr
    mov x30, xzr
    mov x0, x22
    mov x1, x20
    mov x2, x24
    bl  boot_main
12: wfi
    b   12b

// zero(x0 = first byte, x1 = behind the last one, multiples of 128).
8:  stp xzr, xzr, [x0], #16
    stp xzr, xzr, [x0], #16
    stp xzr, xzr, [x0], #16
    stp xzr, xzr, [x0], #16
zero:
    cmp x0, x1
    b.lo 8b
    ret

// forget(x0 = first byte, x1 = behind the last one): no cache remembers them. x2 and x3 are lost.
forget:
    mrs x2, ctr_el0
    ubfx x2, x2, #16, #4        // DminLine: words of the shortest line, as a power of two
    mov x3, #4
    lsl x2, x3, x2
    b   31f
30: dc  ivac, x0
    add x0, x0, x2
31: cmp x0, x1
    b.lo 30b
    ret

// FROM above, on every processor but the first. LIVE: nothing.
// Every register that holds authority becomes NULL, PCC covers this loop alone.
park:
    adr x9, 13f
    mov x10, #14f - 13f
    CVTP_C 13, 9
    SCBNDSE 13, 13, 10
    mov x10, #0x7ffc
    movk x10, #3, lsl #16       // all but Execute, Executive (or BR would clear the tag), Global
    CLRPERM 13, 13, 10
    MSR_C DDC_EL0, 31
    MSR_C RDDC_EL0, 31
    MSR_C CELR_EL1, 31
    MSR_C CVBAR_EL1, 31
    MSR_C DDC, 31
    BR_C 13
13: mov x13, xzr
15: wfi
    b   15b
14:

// FROM the start. LIVE: nothing. Prints through the UART of the virt board and powers off.
no_morello:
    adr x0, no_morello_text
    bl  print
    movz x0, #0x8400, lsl #16
    movk x0, #8                 // PSCI: SYSTEM_OFF
    mrs x1, CurrentEL
    cmp x1, #2 << 2
    b.hi 17f
    b.eq 16f
    hvc #0
    b   17f
16: SMC_0
17: wfi
    b   17b

// print(x0 = text that ends with NUL) to the UART of the virt board. x1 and x2 are lost.
print:
    movz x1, #0x0900, lsl #16
18: ldrb w2, [x0], #1
    cbz w2, 19f
    str w2, [x1]
    b   18b
19: ret

// FROM the firmware, which has entered `intravisor_efi_entry`: the rest of that is Rust, for which the image must be in order.
.pushsection .text.efi_start, "ax"
.globl intravisor_efi_start
intravisor_efi_start:
    mov x5, x0
    mov x6, x1
    mov x7, x30
    bl  unfold
    mov x0, x5
    mov x1, x6
    mov x30, x7
    b   intravisor_efi_entry

// end_of_image() -> x0 = where the part of the image goes that lies in its gap, x1 = behind that. x2 is lost.
end_of_image:
    adrp x0, intravisor_image_start
    ldr x1, [x0, #16]           // bytes in memory
    add x1, x1, x0
    ldr x2, [x0, #gap_used - _start]
    sub x0, x1, x2
    ret

// Puts the end of the image, which the file has where stacks and bss are, in its place. x0 to x4 and x9 are lost.
unfold:
    mov x9, x30
    bl  end_of_image
    adrp x2, intravisor_gap_start
    add x2, x2, :lo12:intravisor_gap_start
    b   33f
32: ldp x3, x4, [x2], #16
    stp x3, x4, [x0], #16
    ldp x3, x4, [x2], #16
    stp x3, x4, [x0], #16
    ldp x3, x4, [x2], #16
    stp x3, x4, [x0], #16
    ldp x3, x4, [x2], #16
    stp x3, x4, [x0], #16
33: cmp x0, x1
    b.lo 32b
    ret x9
.popsection

// The root of the first map, two entries, in a cache line of its own as far as it goes.
.pushsection .data
.balign 64
reset_root:
    .fill 8, 8, 0
.popsection

.balign 8
link_address:
    .quad intravisor_link_address
no_morello_text:
    .asciz "intravisor: this processor has no capabilities; a Morello processor is needed\r\n"
closed_text:
    .asciz "intravisor: entered at EL1 below an EL3; nothing more will follow if EL3 keeps capabilities to itself, as with secure=on\r\n"
.balign 4
