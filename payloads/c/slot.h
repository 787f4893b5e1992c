/* Capabilities in the memory of a hybrid program: slots, the local area, and buffers. Link with slot.c.
 *
 * Compiled hybrid code moves integers only: a capability that is copied as data has lost its tag. So one lies in a slot, and
 * stays there; what uses it is told the slot's address. A slot is aligned to 16 bytes: one that is not is -CVM_EINVAL here.
 *
 * Capabilities over memory of others are local: only slots of the local area take them (`local:` in the YAML file). Where one
 * was taken back, its slot holds none any more, and what uses it returns -CVM_EFAULT. A copy that is going on in that very
 * moment faults, as any use of what was taken back. */

#ifndef INTRAVISOR_SLOT_H
#define INTRAVISOR_SLOT_H

#include "intravisor.h"

#ifndef __CHERI_PURE_CAPABILITY__

/* Room for a capability. */
struct cvm_slot {
    _Alignas(16) uint64_t words[2];
};

/* What lies in a slot. */
struct cvm_shape {
    uint64_t address;           /* where it points to, or the integer that is no capability */
    uint64_t base;              /* lowest address of what it covers */
    uint64_t size;              /* its bytes */
    int tagged;                 /* it is a capability */
    int usable;                 /* it is one, and not sealed */
    int loads;                  /* it lets data be loaded */
    int stores;                 /* it lets data be stored */
    int local;                  /* it is local */
};

struct cvm_shape cvm_slot_shape(const struct cvm_slot *slot);

/* Puts an integer into the slot: what was there is gone. */
void cvm_slot_set(struct cvm_slot *slot, uint64_t value);

/* Puts a capability over exactly these bytes of this program's memory into the slot, to load data and, if written, to store it.
 * -CVM_EFAULT when some of them are not this program's; -CVM_EINVAL when no capability covers just these: beyond some KiB begin
 * and end must be multiples of 8, or more. */
int64_t cvm_slot_derive(struct cvm_slot *slot, const void *bytes, size_t length, int written);

/* Puts what one slot holds into another one. -CVM_EPERM for a local capability, when the other one is not of the local area. */
int64_t cvm_slot_copy(struct cvm_slot *to, const struct cvm_slot *from);

/* Copies bytes from, or to, an offset in the memory behind the capability; -CVM_EFAULT, and nothing is copied, when the slot
 * holds none that covers them and lets them be loaded, or stored. */
int64_t cvm_slot_read(const struct cvm_slot *slot, size_t offset, void *bytes, size_t length);
int64_t cvm_slot_write(const struct cvm_slot *slot, size_t offset, const void *bytes, size_t length);

/* Loads and stores an aligned 32-bit word, by one access; -CVM_EINVAL when it is not aligned, else as cvm_slot_read. */
int64_t cvm_slot_load(const struct cvm_slot *slot, size_t offset, uint32_t *word);
int64_t cvm_slot_store(const struct cvm_slot *slot, size_t offset, uint32_t word);

/* Puts the capability over a capfile into the slot and returns its size. -CVM_EPERM for a slot that is not of the local area. */
int64_t cvm_capfile_slot(const char *name, size_t length, struct cvm_slot *slot);

/* So many slots of the local area, one behind the other, that nobody else has; NULL when there are not so many. */
struct cvm_slot *cvm_local_take(unsigned count);

/* Clears them, and gives them back. */
void cvm_local_give(struct cvm_slot *first, unsigned count);

/* A buffer that is mapped into the local area. */
struct cvm_buffer {
    struct cvm_slot *slot;
    uint64_t size;
};

/* Maps the buffer of this number, to do with it what the rights say as far as this cVM may. 0, or an error of CVM_BUFFER_MAP;
 * -CVM_ENOMEM when the local area is full. */
int64_t cvm_buffer_map(struct cvm_buffer *buffer, int64_t number, uint64_t rights);

/* Maps the manifest's buffer of this name. */
int64_t cvm_buffer_open(struct cvm_buffer *buffer, const char *name, size_t length, uint64_t rights);

/* Ends that: the capability is gone from the local area. */
void cvm_buffer_unmap(struct cvm_buffer *buffer);

/* As cvm_wait and cvm_wake, for the aligned word at an offset of the buffer. */
int64_t cvm_buffer_wait(const struct cvm_buffer *buffer, size_t offset, uint32_t expected, uint64_t timeout);
int64_t cvm_buffer_wake(const struct cvm_buffer *buffer, size_t offset, uint64_t count);

/* A hostcall whose first two results are put as they are into this slot of the local area, and the one behind it if `both`. The
 * first one as an integer; the second one goes to *second. */
int64_t cvm_hostcall_local(uint64_t number, uint64_t first, uint64_t argument, struct cvm_slot *place, int both,
                           uint64_t *second);

#endif

#endif
