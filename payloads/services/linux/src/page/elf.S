// The shared object that a program finds at AT_SYSINFO_EHDR, as it lies in memory: one segment from its header on, one
// symbol, one version. Nothing links it: all places are distances from `intravisor_page`, all numbers by the System V ABI.
// The architecture's file brings NAMES, the texts, and CODE, the instructions.
.pushsection .rodata.intravisor_page, "a"
.balign 16
.globl intravisor_page
intravisor_page:
    .ascii "\177ELF\2\1\1"
    .zero 9
    .2byte 3, {machine}                         // ET_DYN
    .4byte 1
    .8byte 0, headers - intravisor_page, 0
    .4byte {flags}
    .2byte 64, 56, 2, 0, 0, 0
headers:
    .4byte 1, 5                                 // PT_LOAD, read and execute
    .8byte 0, 0, 0, intravisor_page_end - intravisor_page, intravisor_page_end - intravisor_page, 4096
    .4byte 2, 4                                 // PT_DYNAMIC
    .8byte dynamic - intravisor_page, dynamic - intravisor_page, dynamic - intravisor_page
    .8byte hash - dynamic, hash - dynamic, 8
dynamic:
    .8byte 4, hash - intravisor_page            // DT_HASH
    .8byte 5, texts - intravisor_page           // DT_STRTAB
    .8byte 6, symbols - intravisor_page         // DT_SYMTAB
    .8byte 10, texts_end - texts                // DT_STRSZ
    .8byte 11, 24                               // DT_SYMENT
    .8byte 14, soname - texts                   // DT_SONAME
    .8byte 0x6ffffff0, versions - intravisor_page     // DT_VERSYM
    .8byte 0x6ffffffc, definitions - intravisor_page  // DT_VERDEF
    .8byte 0x6ffffffd, 2                        // DT_VERDEFNUM
    .8byte 0, 0
hash:
    .4byte 1, 2, 1, 0, 0                        // one bucket, two symbols
    .balign 8
symbols:
    .zero 24
    .4byte function - texts
    .byte 0x12, 0                               // a global function
    .2byte 1
    .8byte clock_gettime - intravisor_page, clock_gettime_end - clock_gettime
versions:
    .2byte 0, 2
definitions:
    .2byte 1, 1, 1, 1                           // the object itself
    .4byte 0xdeebfa1, 20, 28, soname - texts, 0
    .2byte 1, 0, 2, 1
    .4byte {version_hash}, 20, 0, version - texts, 0
texts:
    .byte 0
    NAMES
texts_end:
    .balign 16
    CODE
    .balign 8
// What the library OS fills in: ticks of the counter in a second, what it showed at the start of time, and when that was, in
// seconds since 1970 and nanoseconds.
.globl intravisor_page_data
intravisor_page_data:
    .8byte 1, 0, 0, 0
.globl intravisor_page_end
intravisor_page_end:
.popsection
