/* The capability instructions of hybrid code, which stock assemblers do not know, as text for __asm__: named as in the
 * architecture's manual. Registers are names on RISC-V (c6 and t1 are the same one), numbers on Morello (c9 and x9 are). */

#ifndef INTRAVISOR_INSTRUCTIONS_H
#define INTRAVISOR_INSTRUCTIONS_H

#if defined(__riscv)

#define LC(cd, offset, rs) ".insn i 0x0f, 2, " #cd ", " #offset "(" #rs ")\n\t"
#define SC(cs, offset, rs) ".insn s 0x23, 4, " #cs ", " #offset "(" #rs ")\n\t"
#define LBU_CAP(rd, cs) ".insn r 0x5b, 0, 0x7d, " #rd ", " #cs ", x12\n\t"
#define LW_CAP(rd, cs) ".insn r 0x5b, 0, 0x7d, " #rd ", " #cs ", x10\n\t"
#define LD_CAP(rd, cs) ".insn r 0x5b, 0, 0x7d, " #rd ", " #cs ", x11\n\t"
#define SB_CAP(rs, cs) ".insn r 0x5b, 0, 0x7c, x8, " #cs ", " #rs "\n\t"
#define SW_CAP(rs, cs) ".insn r 0x5b, 0, 0x7c, x10, " #cs ", " #rs "\n\t"
#define SD_CAP(rs, cs) ".insn r 0x5b, 0, 0x7c, x11, " #cs ", " #rs "\n\t"
#define SC_CAP(cs2, cs) ".insn r 0x5b, 0, 0x7c, x12, " #cs ", " #cs2 "\n\t"
#define CSPECIALR(cd, scr) ".insn r 0x5b, 0, 0x01, " #cd ", x0, " scr "\n\t"
#define PCC "x0"
#define DDC "x1"
#define CSETBOUNDS(cd, cs, rs) ".insn r 0x5b, 0, 0x08, " #cd ", " #cs ", " #rs "\n\t"
#define CANDPERM(cd, cs, rs) ".insn r 0x5b, 0, 0x0d, " #cd ", " #cs ", " #rs "\n\t"
#define CSETADDR(cd, cs, rs) ".insn r 0x5b, 0, 0x10, " #cd ", " #cs ", " #rs "\n\t"
#define CINCOFFSET(cd, cs, rs) ".insn r 0x5b, 0, 0x11, " #cd ", " #cs ", " #rs "\n\t"
#define CINCOFFSETIMM(cd, cs, immediate) ".insn i 0x5b, 1, " #cd ", " #cs ", " #immediate "\n\t"
#define CGET(rd, cs, field) ".insn r 0x5b, 0, 0x7f, " #rd ", " #cs ", " field "\n\t"
#define PERM "x0"
#define BASE "x2"
#define LEN "x3"
#define TAG "x4"
#define SEALED "x5"
#define ADDR "x15"
#define CINVOKE(cs1, cs2) ".insn r 0x5b, 0, 0x7e, x1, " #cs1 ", " #cs2 "\n\t"

#elif defined(__aarch64__)

#define LDR_C(ct, offset, xn) ".inst 0xc2400000 | (" #offset ") / 16 << 10 | " #xn " << 5 | " #ct "\n\t"
#define STR_C(ct, offset, xn) ".inst 0xc2000000 | (" #offset ") / 16 << 10 | " #xn " << 5 | " #ct "\n\t"
/* Through a capability (alternate base). */
#define LDRB_CAP(wt, cn) ".inst 0x82600400 | " #cn " << 5 | " #wt "\n\t"
#define LDRW_CAP(wt, cn) ".inst 0x82600800 | " #cn " << 5 | " #wt "\n\t"
#define LDRX_CAP(xt, offset, cn) ".inst 0x82600c00 | (" #offset ") / 8 << 12 | " #cn " << 5 | " #xt "\n\t"
#define STRB_CAP(wt, cn) ".inst 0x82400400 | " #cn " << 5 | " #wt "\n\t"
#define STRW_CAP(wt, cn) ".inst 0x82400800 | " #cn " << 5 | " #wt "\n\t"
#define STRX_CAP(xt, offset, cn) ".inst 0x82400c00 | (" #offset ") / 8 << 12 | " #cn " << 5 | " #xt "\n\t"
#define STR_C_CAP(ct, offset, cn) ".inst 0x82400000 | (" #offset ") / 16 << 12 | " #cn " << 5 | " #ct "\n\t"
#define MRS_DDC(ct) ".inst 0xc29b4120 | " #ct "\n\t"
#define SCVALUE(cd, cn, xm) ".inst 0xc2c04000 | " #xm " << 16 | " #cn " << 5 | " #cd "\n\t"
#define SCBNDS(cd, cn, xm) ".inst 0xc2c00000 | " #xm " << 16 | " #cn " << 5 | " #cd "\n\t"
#define CLRPERM(cd, cn, xm) ".inst 0xc2c0a000 | " #xm " << 16 | " #cn " << 5 | " #cd "\n\t"
#define CLRTAG(cd, cn) ".inst 0xc2c19000 | " #cn " << 5 | " #cd "\n\t"
#define ADD_C(cd, cn, immediate) ".inst 0x02000000 | (" #immediate ") << 10 | " #cn " << 5 | " #cd "\n\t"
#define SUB_C(cd, cn, immediate) ".inst 0x02800000 | (" #immediate ") << 10 | " #cn " << 5 | " #cd "\n\t"
#define ADD_C_X(cd, cn, xm) ".inst 0xc2a06000 | " #xm " << 16 | " #cn " << 5 | " #cd "\n\t"
#define GCTAG(xd, cn) ".inst 0xc2c09000 | " #cn " << 5 | " #xd "\n\t"
#define GCTYPE(xd, cn) ".inst 0xc2c0f000 | " #cn " << 5 | " #xd "\n\t"
#define GCPERM(xd, cn) ".inst 0xc2c0d000 | " #cn " << 5 | " #xd "\n\t"
#define GCBASE(xd, cn) ".inst 0xc2c01000 | " #cn " << 5 | " #xd "\n\t"
#define GCLEN(xd, cn) ".inst 0xc2c03000 | " #cn " << 5 | " #xd "\n\t"
#define GCVALUE(xd, cn) ".inst 0xc2c05000 | " #cn " << 5 | " #xd "\n\t"
#define LDPBLR(ct, cn) ".inst 0xc2c43000 | " #cn " << 5 | " #ct "\n\t"
#define RET_C(cn) ".inst 0xc2c25000 | " #cn " << 5\n\t"

#endif

#endif
