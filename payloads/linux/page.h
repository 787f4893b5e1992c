/* The function of the page that a program finds at AT_SYSINFO_EHDR: clock_gettime without a call, looked up as a C library does it. */
#include <elf.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#if defined(__riscv)
#define NAME "__vdso_clock_gettime"
#define VERSION "LINUX_4.15"
#else
#define NAME "__kernel_clock_gettime"
#define VERSION "LINUX_2.6.39"
#endif

typedef int function(clockid_t, struct timespec *);

static function *find_clock(void) {
    const char *page = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (!page)
        return NULL;
    const Elf64_Ehdr *header = (const void *)page;
    const Elf64_Phdr *segments = (const void *)(page + header->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    for (int index = 0; index < header->e_phnum; index++)
        if (segments[index].p_type == PT_DYNAMIC)
            dynamic = (const void *)(page + segments[index].p_offset);
    if (memcmp(page, ELFMAG, SELFMAG) || header->e_type != ET_DYN || !dynamic)
        return NULL;
    const Elf64_Sym *symbols = NULL;
    const char *texts = NULL;
    const Elf64_Word *hash = NULL;
    const Elf64_Half *versions = NULL;
    const char *definition = NULL;
    for (; dynamic->d_tag; dynamic++) {
        const void *at = page + dynamic->d_un.d_ptr;
        switch (dynamic->d_tag) {
        case DT_SYMTAB: symbols = at; break;
        case DT_STRTAB: texts = at; break;
        case DT_HASH: hash = at; break;
        case DT_VERSYM: versions = at; break;
        case DT_VERDEF: definition = at; break;
        }
    }
    for (Elf64_Word index = 1; index < hash[1]; index++) {
        if (strcmp(texts + symbols[index].st_name, NAME))
            continue;
        for (;;) {
            const Elf64_Verdef *version = (const void *)definition;
            const Elf64_Verdaux *name = (const void *)(definition + version->vd_aux);
            if (version->vd_ndx == versions[index] && !strcmp(texts + name->vda_name, VERSION))
                return (function *)(page + symbols[index].st_value);
            if (!version->vd_next)
                return NULL;
            definition += version->vd_next;
        }
    }
    return NULL;
}
