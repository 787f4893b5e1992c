//! The instructions of Morello, encoded as the Arm Architecture Reference Manual Supplement for Morello says (DDI 0606) and
//! named as there, with plain register numbers 0 to 31 as operands.

instructions! { $
    // Capability loads and stores of the current state: in A64 the base is an integer, checked against DDC.
    LDR_C ct, offset, xn: ".inst 0xc2400000 | (" offset ") / 16 << 10 | " xn " << 5 | " ct;
    STR_C ct, offset, xn: ".inst 0xc2000000 | (" offset ") / 16 << 10 | " xn " << 5 | " ct;
    LDP_C ct, ct2, offset, xn: ".inst 0x42c00000 | (" offset ") / 16 << 15 | " ct2 " << 10 | " xn " << 5 | " ct;
    STP_C ct, ct2, offset, xn: ".inst 0x42800000 | (" offset ") / 16 << 15 | " ct2 " << 10 | " xn " << 5 | " ct;
    // Loads and stores through a capability (alternate base) in A64.
    ALDRB wt, offset, cn: ".inst 0x82600400 | (" offset ") << 12 | " cn " << 5 | " wt;
    ASTRB wt, offset, cn: ".inst 0x82400400 | (" offset ") << 12 | " cn " << 5 | " wt;
    ALDR_W wt, offset, cn: ".inst 0x82600800 | (" offset ") / 4 << 12 | " cn " << 5 | " wt;
    ASTR_W wt, offset, cn: ".inst 0x82400800 | (" offset ") / 4 << 12 | " cn " << 5 | " wt;
    ALDR_X xt, offset, cn: ".inst 0x82600c00 | (" offset ") / 8 << 12 | " cn " << 5 | " xt;
    ASTR_X xt, offset, cn: ".inst 0x82400c00 | (" offset ") / 8 << 12 | " cn " << 5 | " xt;
    ALDR_C ct, offset, cn: ".inst 0x82600000 | (" offset ") / 16 << 12 | " cn " << 5 | " ct;
    ASTR_C ct, offset, cn: ".inst 0x82400000 | (" offset ") / 16 << 12 | " cn " << 5 | " ct;
    // Bit n of \xt: tag n of the four at a multiple of 64. As LDR_C, the base is an integer in A64, a capability in C64.
    LDCT xt, xn: ".inst 0xc2c4b000 | " xn " << 5 | " xt;
    GCTAG xd, cn: ".inst 0xc2c09000 | " cn " << 5 | " xd;
    CLRTAG cd, cn: ".inst 0xc2c19000 | " cn " << 5 | " cd;
    GCSEAL xd, cn: ".inst 0xc2c0b000 | " cn " << 5 | " xd;
    GCBASE xd, cn: ".inst 0xc2c01000 | " cn " << 5 | " xd;
    GCLEN xd, cn: ".inst 0xc2c03000 | " cn " << 5 | " xd;
    GCPERM xd, cn: ".inst 0xc2c0d000 | " cn " << 5 | " xd;
    SCVALUE cd, cn, xm: ".inst 0xc2c04000 | " xm " << 16 | " cn " << 5 | " cd;
    SCBNDSE cd, cn, xm: ".inst 0xc2c02000 | " xm " << 16 | " cn " << 5 | " cd;
    CLRPERM cd, cn, xm: ".inst 0xc2c0a000 | " xm " << 16 | " cn " << 5 | " cd;
    // Sealed for branches to its address only (a sentry).
    SEAL_RB cd, cn: ".inst 0xc2c33000 | " cn " << 5 | " cd;
    // \cn sealed with the object type that \cm has as its address.
    SEAL cd, cn, cm: ".inst 0xc2c00800 | " cm " << 16 | " cn " << 5 | " cd;
    // Branches to sealed code \cn, with data \cm, sealed with the same type, unsealed in C29.
    BRS cn, cm: ".inst 0xc2c08400 | " cm " << 16 | " cn " << 5";
    ADD_C_IMMEDIATE cd, cn, immediate: ".inst 0x02000000 | (" immediate ") << 10 | " cn " << 5 | " cd;
    // Adds a 64-bit register (extension UXTX, no shift).
    ADD_C_REGISTER cd, cn, xm: ".inst 0xc2a06000 | " xm " << 16 | " cn " << 5 | " cd;
    // PCC with the value of \xn.
    CVTP_C cd, xn: ".inst 0xc2c5b000 | " xn " << 5 | " cd;
    BR_C cn: ".inst 0xc2c21000 | " cn " << 5";
    // On to the next instruction, from A64 to C64 or back.
    BX_NEXT: ".inst 0xc2c273e0";
    // Cleans a data cache line to the point of unification; in C64 the register is a capability.
    DC_CVAU ct: ".inst 0xd50b7b20 | " ct;
    // For a debugger or emulator to serve (semihosting).
    HLT_SEMIHOSTING: ".inst 0xd45e0000";
    // Floating point: the monitor itself is built without.
    STP_Q qt, qt2, offset, xn: ".inst 0xad000000 | (" offset ") / 16 << 15 | " qt2 " << 10 | " xn " << 5 | " qt;
    LDP_Q qt, qt2, offset, xn: ".inst 0xad400000 | (" offset ") / 16 << 15 | " qt2 " << 10 | " xn " << 5 | " qt;
    // In C64 the base of loads and stores is a capability; offsets may be negative.
    GLDP ct, ct2, offset, cn: ".inst 0x42c00000 | ((" offset ") / 16 & 0x7f) << 15 | " ct2 " << 10 | " cn " << 5 | " ct;
    GSTP ct, ct2, offset, cn: ".inst 0x42800000 | ((" offset ") / 16 & 0x7f) << 15 | " ct2 " << 10 | " cn " << 5 | " ct;
    // Branches to a sentry without Executive, and leaves a link that is a sentry; or leaves none.
    BLRR cn: ".inst 0xc2c23003 | " cn " << 5";
    RETR cn: ".inst 0xc2c25003 | " cn " << 5";
    SUB_C_IMMEDIATE cd, cn, immediate: ".inst 0x02800000 | (" immediate ") << 10 | " cn " << 5 | " cd;
    MSR_CSP_EL0 ct: ".inst 0xc2884100 | " ct;
    MRS_CSP_EL0 ct: ".inst 0xc2984100 | " ct;
    RRLEN xd, xn: ".inst 0xc2c71000 | " xn " << 5 | " xd;
    RRMASK xd, xn: ".inst 0xc2c73000 | " xn " << 5 | " xd;
    // Sealed for branches by a pair that is loaded.
    SEAL_LPB cd, cn: ".inst 0xc2c35000 | " cn " << 5 | " cd;
    // Not of Morello, but of extensions that the monitor is built without.
    MOVI_ZERO vd: ".inst 0x6f00e400 | " vd;
    MSR_FPCR_XZR: ".inst 0xd51b441f";
    MSR_FPSR_XZR: ".inst 0xd51b443f";
    SMC_0: ".inst 0xd4000003";
    MSR_PAN_0: ".inst 0xd500409f";
}
