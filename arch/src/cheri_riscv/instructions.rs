//! The capability instructions, encoded as the CHERI ISA manual says (UCAM-CL-TR-987, ISAv9) and named as there, with plain
//! register numbers `x0` to `x31` as operands. The suffix `_CAP` stands for `.CAP`: loads and stores with an explicit
//! capability, no offset; `LC` and `SC` are those of the current mode: through DDC in hybrid mode.

instructions! { $
    CSetBoundsExact cd, cs, rt: ".insn r 0x5b, 0, 0x09, " cd ", " cs ", " rt;
    CAndPerm cd, cs, rt: ".insn r 0x5b, 0, 0x0d, " cd ", " cs ", " rt;
    CSetFlags cd, cs, rt: ".insn r 0x5b, 0, 0x0e, " cd ", " cs ", " rt;
    CSetAddr cd, cs, rt: ".insn r 0x5b, 0, 0x10, " cd ", " cs ", " rt;
    CIncOffsetImm cd, cs, imm: ".insn i 0x5b, 1, " cd ", " cs ", " imm;
    CClearTag cd, cs: ".insn r 0x5b, 0, 0x7f, " cd ", " cs ", x11";
    CMove cd, cs: ".insn r 0x5b, 0, 0x7f, " cd ", " cs ", x10";
    CLoadTags rd, cs: ".insn r 0x5b, 0, 0x7f, " rd ", " cs ", x18";
    CJALR cd, cs: ".insn r 0x5b, 0, 0x7f, " cd ", " cs ", x12";
    CGetBase rd, cs: ".insn r 0x5b, 0, 0x7f, " rd ", " cs ", x2";
    CGetLen rd, cs: ".insn r 0x5b, 0, 0x7f, " rd ", " cs ", x3";
    CGetTag rd, cs: ".insn r 0x5b, 0, 0x7f, " rd ", " cs ", x4";
    CGetSealed rd, cs: ".insn r 0x5b, 0, 0x7f, " rd ", " cs ", x5";
    CSealEntry cd, cs: ".insn r 0x5b, 0, 0x7f, " cd ", " cs ", x17";
    // Loads and stores with an explicit capability, no offset.
    LBU_CAP rd, cs: ".insn r 0x5b, 0, 0x7d, " rd ", " cs ", x12";
    LD_CAP rd, cs: ".insn r 0x5b, 0, 0x7d, " rd ", " cs ", x11";
    SB_CAP rs, cs: ".insn r 0x5b, 0, 0x7c, x8, " cs ", " rs;
    SD_CAP rs, cs: ".insn r 0x5b, 0, 0x7c, x11, " cs ", " rs;
    LC_CAP cd, cs: ".insn r 0x5b, 0, 0x7d, " cd ", " cs ", x31";
    SC_CAP cs2, cs: ".insn r 0x5b, 0, 0x7c, x12, " cs ", " cs2;
    // Capability load and store of the current mode: through DDC in hybrid mode, through the base register otherwise.
    LC cd, imm, base: ".insn i 0x0f, 2, " cd ", " imm "(" base ")";
    SC cs2, imm, base: ".insn s 0x23, 4, " cs2 ", " imm "(" base ")";
    // CSpecialRW by the number of the special capability register.
    SPECIAL cd, scr, cs: ".insn r 0x5b, 0, 0x01, " cd ", " cs ", " scr;
    CSeal cd, cs, ct: ".insn r 0x5b, 0, 0x0b, " cd ", " cs ", " ct;
    CIncOffset cd, cs, rt: ".insn r 0x5b, 0, 0x11, " cd ", " cs ", " rt;
    CGetPerm rd, cs: ".insn r 0x5b, 0, 0x7f, " rd ", " cs ", x0";
    CGetFlags rd, cs: ".insn r 0x5b, 0, 0x7f, " rd ", " cs ", x7";
    CRRL rd, rs: ".insn r 0x5b, 0, 0x7f, " rd ", " rs ", x8";
    CRAM rd, rs: ".insn r 0x5b, 0, 0x7f, " rd ", " rs ", x9";
    LWU_CAP rd, cs: ".insn r 0x5b, 0, 0x7d, " rd ", " cs ", x14";
    SW_CAP rs, cs: ".insn r 0x5b, 0, 0x7c, x10, " cs ", " rs;
    // Without the extension by that name, which the assembler would ask for.
    FENCE_I: ".insn i 0x0f, 1, x0, x0, 0";
}
