// Ways to end the run. Each returns when nobody serves it: the instruction then is undefined, which the trap handler
// turns into the next line. FROM Rust, IRQ off. LIVE: the C convention.

// intravisor_semihosting(x0 = operation, x1 = its argument)
.globl intravisor_semihosting
intravisor_semihosting:
    GUARDED 1f
    HLT_SEMIHOSTING
1:  ret

// intravisor_hypervisor_call(x0 = function), intravisor_secure_call(x0 = function): PSCI.
.globl intravisor_hypervisor_call
intravisor_hypervisor_call:
    GUARDED 1f
    hvc #0
1:  ret

.globl intravisor_secure_call
intravisor_secure_call:
    GUARDED 1f
    SMC_0
1:  ret

// intravisor_seal_firmware(x0 = root slot, x1 = slot for the code, x2 = slot for the data, x3 = object type)
// The data: all memory, to load and store integers. The code: the lines below. Nobody can unseal them when the root is gone.
.globl intravisor_seal_firmware
intravisor_seal_firmware:
    LDR_C 9, 0, 0
    SCVALUE 10, 9, 3            // the key
    movz x11, #0xfefe           // all but Load, Store, BranchSealedPair, Global
    CLRPERM 12, 9, 11
    SEAL 12, 12, 10
    STR_C 12, 0, 2
    adr x11, firmware_call
    SCVALUE 12, 9, 11
    mov x11, #firmware_call_end - firmware_call
    SCBNDSE 12, 12, 11
    movz x11, #0x7cfc
    movk x11, #3, lsl #16       // all but Execute, System, BranchSealedPair, Executive, Global
    CLRPERM 12, 12, 11
    SEAL 12, 12, 10
    STR_C 12, 0, 1
    mov x9, xzr
    mov x10, xzr
    mov x12, xzr
    ret

// intravisor_call_firmware(x0 = function, x1 = slot of the code, x2 = slot of the data): does not return.
.globl intravisor_call_firmware
intravisor_call_firmware:
    LDR_C 9, 0, 1
    LDR_C 10, 0, 2
    BRS 9, 10

// FROM above alone: these are the bounds of PCC. LIVE: x0, C29 = the data. The firmware's stack and data are reached
// through DDC_EL0, which it leaves as it finds it.
firmware_call:
    MSR_C DDC_EL0, 29
    mov x29, xzr
    GUARDED 1f
    SMC_0
1:  MSR_C DDC_EL0, 31
2:  wfi
    b 2b
firmware_call_end:
