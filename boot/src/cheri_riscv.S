# Reset entry on CHERI-RISC-V.
#
# FROM the reset vector of the board, at the start of the image. LIVE: a0 = hart, a1 = device tree. M-mode, hybrid mode, IRQ
# off. PCC and DDC hold the root capability, and so do MTCC, MEPCC and the trap vectors of S- and U-mode.
#
# What this does, in order: park the other harts without any authority; put the end of the image in its place; clear what is
# behind the text's last instruction, and bss; relocate (ISAv9: to where the image lies; ISAv8: to 0, see
# arch::cheri_riscv::variant); keep the root capability in its slot; narrow PCC to the text; call boot_main on the monitor's
# stack.

.globl _start
_start:
    j   1f
    .word 0
    # A header as Linux images for RISC-V have it, for boot loaders that ask for one (Documentation/arch/riscv/boot-image-header).
    .dword 0                                    # text offset
    .dword intravisor_image_size                # bytes in memory; `intravisor pack` adds what it appends
    .dword 0                                    # flags: little endian
    .word 2                                     # version 0.2
    .word 0
    .dword 0
    .ascii "RISCV\0\0\0"
    .ascii "RSC\x05"
    .word 0
    # abi::image::ImageHeader; the rest is filled in by `intravisor pack`.
    .ascii "intravsr"
    .word 4
    .word 243
    .dword intravisor_image_size
    .dword 0, 0, 0, 0
    .dword headers_end - _start, intravisor_constant_end, intravisor_link_address
    .dword intravisor_gap_offset, intravisor_gap_end
gap_used:
    .dword 0
headers_end:

.balign 4
    # Firmware below enters in S-mode, with its entry as the trap vector: the first register of M-mode leads back here.
1:  li  t0, 0x4d2d6f6e                          # no register holds this by chance
    beq t6, t0, supervisor
    mv  t6, t0
    csrw mie, zero
    li  t6, 0
    csrw mstatus, zero
    # On a processor without CHERI the next instruction traps: say so.
    lla t0, no_cheri
    csrw mtvec, t0
    csrr x0, 0xbc0                              # mccsr
    # What reset may leave open: counters for U-mode but the time, protection entries, traps delegated to S-mode where there is
    # one.
    csrwi mcounteren, 2                         # TM
    csrw pmpcfg0, zero
    csrw pmpcfg2, zero
    csrr t0, misa
    srli t0, t0, 18
    andi t0, t0, 1
    beqz t0, 9f
    csrw medeleg, zero
    csrw mideleg, zero
9:  bnez a0, park

    # The end of the image, which lies in the file where stacks and bss will be. By capabilities, which take half as long; no
    # byte of a file has a tag.
    lla t0, intravisor_gap_start
    lla t2, gap_used
    ld  t2, 0(t2)
    lla t3, _start
    ld  t1, 16(t3)
    add t1, t1, t3                              # behind the end
    sub t2, t1, t2                              # its place
    bgeu t2, t1, 18f
17: LC  x16, 0, x5
    LC  x17, 16, x5
    LC  x18, 32, x5
    LC  x19, 48, x5
    LC  x20, 64, x5
    LC  x21, 80, x5
    LC  x22, 96, x5
    LC  x23, 112, x5
    SC  x16, 0, x7
    SC  x17, 16, x7
    SC  x18, 32, x7
    SC  x19, 48, x7
    SC  x20, 64, x7
    SC  x21, 80, x7
    SC  x22, 96, x7
    SC  x23, 112, x7
    addi t0, t0, 128
    addi t2, t2, 128
    bltu t2, t1, 17b
18: lla t0, intravisor_gap_start
    lla t1, intravisor_text_end
    jal t4, zero
    lla t0, intravisor_bss_start
    lla t1, intravisor_bss_end
    jal t4, zero

    # Bit 30 of mccsr: integer addresses are absolute (ISAv9), and the image lies where it is linked. s1 = what to add to a
    # pointer for its physical address.
    li  s1, 0
    csrr t1, 0xbc0                              # mccsr
    srli t1, t1, 30
    andi t1, t1, 1
    bnez t1, 3f
    lla s1, intravisor_image_start
    # The places that hold addresses, as DT_RELR lists them: an even word is one place, an odd one has a bit for each of the
    # 63 behind. The linker script sees to it that there are no relocations of another kind.
    lla t0, intravisor_relr_start
    lla t1, intravisor_relr_end
    j   13f
4:  ld  t2, 0(t0)                               # an entry
    addi t0, t0, 8
    andi t3, t2, 1
    bnez t3, 10f
    mv  t4, t2                                  # the next place: physical
    li  t2, 1 << 1                              # it alone
    li  t5, 8
    j   11f
10: li  t5, 63 * 8
11: add t5, t4, t5                              # the place behind those of this entry
12: srli t2, t2, 1
    andi t3, t2, 1
    beqz t3, 14f
    ld  t3, 0(t4)
    sub t3, t3, s1
    sd  t3, 0(t4)
14: addi t4, t4, 8
    bltu t4, t5, 12b
13: bltu t0, t1, 4b

    # DDC is the root: keep it in the root slot. From here on an address counts from the start of the image on ISAv8.
3:  lla t0, intravisor_root
    CSpecialRW x28, DDC, x0
    SC  x28, 0, x5
    CSetAddr x28, x28, x9
    CSpecialRW x0, DDC, x28
    li  x28, 0
    lla t0, intravisor_image_start
    lla t1, intravisor_text_end
    lla t2, narrowed
    sub t1, t1, t0
    li  t3, 0x403                               # Global, Execute, AccessSystemRegisters
    CSpecialRW x29, PCC, x0
    CSetAddr x29, x29, x5
    CSetBoundsExact x29, x29, x6
    CAndPerm x29, x29, x28
    CSetAddr x29, x29, x7
    CJALR x0, x29

    # FROM above. LIVE: a0, a1, s1; PCC = the text.
narrowed:
    li  x29, 0
    lla sp, intravisor_stack_top
    li  s0, 0
    li  ra, 0
    mv  a2, s1
    call boot_main
6:  wfi
    j   6b

# FROM above. LIVE: a0, a1; t0 = first byte and t1 = byte behind the last one of what becomes zero, multiples of 128;
# t4 = the way back.
zero:
    bgeu t0, t1, 19f
    SC  x0, 0, x5
    SC  x0, 16, x5
    SC  x0, 32, x5
    SC  x0, 48, x5
    SC  x0, 64, x5
    SC  x0, 80, x5
    SC  x0, 96, x5
    SC  x0, 112, x5
    addi t0, t0, 128
    j   zero
19: jr  t4

# FROM above, on every hart but the first. LIVE: nothing.
# Every special register that holds authority becomes NULL, PCC covers this loop alone.
park:
    lla t0, 7f
    lla t1, 8f
    sub t1, t1, t0
    li  t2, 0x403
    CSpecialRW x29, PCC, x0
    CSetAddr x29, x29, x5
    CSetBoundsExact x29, x29, x6
    CAndPerm x29, x29, x7
    CONTINUE_CAPABILITY x6, x7
    CMove x28, x0
    CSpecialRW x0, MTCC, x28
    CSpecialRW x0, MEPCC, x28
    CSpecialRW x0, STCC, x28
    CSpecialRW x0, SEPCC, x28
    CSpecialRW x0, DDC, x28
    # UTCC exists where mscratch is not the address of MScratchC (see arch::cheri_riscv, trap.S).
    CSpecialRW x0, MScratchC, x29
    CONTINUE_HYBRID x6
    csrr t1, mscratch
    beq t1, t0, 9f
    CONTINUE_CAPABILITY x6, x7
    CSpecialRW x0, UTCC, x28
    CSpecialRW x0, UEPCC, x28
    CONTINUE_HYBRID x6
9:  CONTINUE_CAPABILITY x6, x7
    CSpecialRW x0, MScratchC, x28
    CONTINUE_HYBRID x6
    li  x6, 0
    CJALR x0, x29
7:  li  x29, 0
10: wfi
    j   10b
8:

# FROM the start, after the trap of the first register of M-mode. LIVE: nothing. Prints and powers off by the legacy
# extension of SBI, which every firmware has.
supervisor:
    lla t0, supervisor_text
15: lbu a0, 0(t0)
    addi t0, t0, 1
    li  a7, 8                                   # shutdown
    beqz a0, 16f
    li  a7, 1                                   # console putchar
16: ecall
    j   15b
supervisor_text:
    .asciz "intravisor: started in S-mode by SBI firmware; the monitor needs M-mode and no firmware: -bios none\r\n"

# FROM the trap of the first capability instruction. Prints through the UART of the virt board and powers off.
.balign 4
no_cheri:
    lla t0, no_cheri_text
    li  t1, 0x10000000
11: lbu t2, 0(t0)
    beqz t2, 12f
    sb  t2, 0(t1)
    addi t0, t0, 1
    j   11b
12: li  t0, 0x100000
    li  t1, 0x13333
    sw  t1, 0(t0)
13: wfi
    j   13b
no_cheri_text:
    .asciz "intravisor: this processor has no CHERI extension; a CHERI-RISC-V processor (ISAv9 or ISAv8) is needed\r\n"
.balign 4
