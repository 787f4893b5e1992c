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
    .inst 0xd4000003            // smc #0
1:  ret
