/* Asks for slots and capabilities that cannot be, and for some that can. The exit code is the line of the first wrong answer, modulo
 * 256, or 0. */

#include "gate.h"

#define CHECK(condition)                                                                                                        \
    do {                                                                                                                        \
        if (!(condition))                                                                                                       \
            return __LINE__ % 256;                                                                                              \
    } while (0)

#define LARGE (1 << 20)

static _Alignas(4096) unsigned char large[LARGE];
static struct cvm_slot slot, other;
static struct { struct cvm_slot before; char off[24]; } unaligned;

static int covers(uintptr_t address, uint64_t length) {
    return cvm_slot_derive(&slot, (const void *)address, length, 1) == 0;
}

int main(int argc, char **argv) {
    const struct cvm_start_block *block = cvm_start_block();
    unsigned char bytes[40], back[40];
    uint32_t word;
    (void)argc, (void)argv;
    for (size_t index = 0; index < sizeof bytes; index++)
        bytes[index] = (unsigned char)(index + 1);

    /* A slot that is not aligned is refused by everything that would store or load a capability there. */
    struct cvm_slot *off = (struct cvm_slot *)(uintptr_t)(unaligned.off + 8);
    CHECK(cvm_slot_derive(off, bytes, 8, 1) == -CVM_EINVAL);
    CHECK(cvm_slot_copy(off, &slot) == -CVM_EINVAL && cvm_slot_copy(&slot, off) == -CVM_EINVAL);
    CHECK(cvm_capfile_slot("none", 4, off) == -CVM_EINVAL);
    CHECK(cvm_slot_read(off, 0, back, 1) == -CVM_EFAULT && cvm_slot_write(off, 0, back, 1) == -CVM_EFAULT);

    /* What is not this program's, and lengths that wrap. */
    uintptr_t end = block->base + block->memory_size;
    CHECK(covers((uintptr_t)large, 64));
    CHECK(!covers((uintptr_t)large, UINT64_MAX));
    CHECK(!covers((uintptr_t)large, -(uint64_t)(uintptr_t)large));
    CHECK(!covers((uintptr_t)large, -(uint64_t)(uintptr_t)large + 64));
    CHECK(!covers(end, 1) && !covers(end - 1, 2) && !covers(UINTPTR_MAX, 1) && !covers(UINTPTR_MAX - 63, 64));
    CHECK(cvm_slot_derive(&slot, (const void *)(block->base - 1), 1, 0) == -CVM_EFAULT);

    /* No byte more than was asked for: what cannot be said exactly is refused, and leaves nothing behind. */
    CHECK(covers((uintptr_t)large, LARGE));
    CHECK(cvm_slot_derive(&slot, large, LARGE - 1, 1) == -CVM_EINVAL && !cvm_slot_shape(&slot).tagged);
    CHECK(cvm_slot_derive(&slot, large + 1, LARGE - 4096, 1) == -CVM_EINVAL && !cvm_slot_shape(&slot).tagged);
    for (size_t start = 0; start < 16; start++) {
        CHECK(cvm_slot_derive(&slot, large + start, 1001, 1) == 0);
        CHECK(cvm_slot_shape(&slot).size == 1001 && cvm_slot_shape(&slot).base == cvm_slot_shape(&slot).address);
        CHECK(cvm_slot_write(&slot, 0, bytes, 1) == 0 && cvm_slot_write(&slot, 1000, bytes + 1, 1) == 0);
        CHECK(large[start] == 1 && large[start + 1000] == 2);
        large[start] = large[start + 1000] = 0;
    }

    /* Bounds and permissions, at every alignment of both sides. */
    for (size_t start = 0; start < 9; start++) {
        for (size_t length = 0; length < sizeof bytes - 9; length++) {
            for (size_t index = 0; index < 64; index++)
                large[index] = 0xee;
            CHECK(cvm_slot_derive(&slot, large + 16, 40, 1) == 0);
            CHECK(cvm_slot_write(&slot, start, bytes + start, length) == 0);
            for (size_t index = 0; index < 64; index++) {
                int inside = index >= 16 + start && index < 16 + start + length;
                CHECK(large[index] == (inside ? bytes[index - 16] : 0xee));
            }
            for (size_t index = 0; index < sizeof back; index++)
                back[index] = 0x55;
            CHECK(cvm_slot_read(&slot, start, back, length) == 0);
            for (size_t index = 0; index < sizeof back; index++)
                CHECK(back[index] == (index < length ? bytes[index + start] : 0x55));
        }
    }
    CHECK(cvm_slot_derive(&slot, large, 64, 0) == 0);
    CHECK(cvm_slot_write(&slot, 0, bytes, 1) == -CVM_EFAULT && cvm_slot_store(&slot, 0, 1) == -CVM_EFAULT);
    CHECK(cvm_slot_read(&slot, 64, back, 0) == 0 && cvm_slot_read(&slot, 64, back, 1) == -CVM_EFAULT);
    CHECK(cvm_slot_read(&slot, 65, back, 0) == -CVM_EFAULT && cvm_slot_read(&slot, 63, back, 2) == -CVM_EFAULT);
    CHECK(cvm_slot_read(&slot, UINT64_MAX, back, 2) == -CVM_EFAULT && cvm_slot_read(&slot, 2, back, UINT64_MAX) == -CVM_EFAULT);
    CHECK(cvm_slot_load(&slot, 2, &word) == -CVM_EINVAL && cvm_slot_load(&slot, 61, &word) == -CVM_EFAULT);
    CHECK(cvm_slot_derive(&slot, large, 64, 1) == 0 && cvm_slot_store(&slot, 60, 0x01020304) == 0);
    CHECK(cvm_slot_load(&slot, 60, &word) == 0 && word == 0x01020304 && large[60] == 4);
    CHECK(cvm_slot_store(&slot, 62, 0) == -CVM_EFAULT && cvm_slot_store(&slot, 58, 0) == -CVM_EINVAL);

    /* A slot that was copied as data, or holds an integer, is none. */
    other = slot;
    CHECK(!cvm_slot_shape(&other).tagged && cvm_slot_read(&other, 0, back, 1) == -CVM_EFAULT);
    CHECK(cvm_slot_copy(&other, &slot) == 0 && cvm_slot_read(&other, 0, back, 1) == 0);
    cvm_slot_set(&other, 7);
    CHECK(!cvm_slot_shape(&other).tagged && cvm_slot_shape(&other).address == 7);

    /* The local area: as many places as there are, each once, and nothing local anywhere else. */
    struct cvm_slot *all[4];
    CHECK(block->local_size == sizeof all / sizeof *all * sizeof(struct cvm_slot));
    CHECK(cvm_local_take(0) == NULL && cvm_local_take(5) == NULL && cvm_local_take(65) == NULL);
    for (size_t index = 0; index < 4; index++)
        CHECK((all[index] = cvm_local_take(1)) != NULL && (index == 0 || all[index] > all[index - 1]));
    CHECK(cvm_local_take(1) == NULL);
    struct cvm_buffer buffer;
    int64_t number = cvm_buffer_create(64);
    CHECK(number >= 0 && cvm_buffer_map(&buffer, number, CVM_BUFFER_READ) == -CVM_ENOMEM && buffer.slot == NULL);
    cvm_local_give(all[1], 1);
    CHECK(cvm_local_take(2) == NULL);
    cvm_local_give(all[2], 1);
    CHECK(cvm_local_take(2) == all[1]);
    cvm_local_give(all[1], 2);
    CHECK(cvm_slot_copy(all[0], &slot) == 0 && cvm_slot_shape(all[0]).usable);

    /* A buffer: what is local stays local, and is gone when it was taken back. */
    CHECK(cvm_buffer_map(&buffer, number + 1, CVM_BUFFER_READ) == -CVM_ENOENT && buffer.slot == NULL);
    CHECK(cvm_buffer_map(&buffer, number, 0) == -CVM_EINVAL);
    CHECK(cvm_buffer_map(&buffer, number, CVM_BUFFER_READ | CVM_BUFFER_WRITE) == 0 && buffer.size == 64);
    CHECK(cvm_slot_shape(buffer.slot).local && cvm_slot_copy(&other, buffer.slot) == -CVM_EPERM);
    CHECK(cvm_slot_copy(all[0], buffer.slot) == 0 && cvm_slot_write(all[0], 8, bytes, 8) == 0);
    CHECK(cvm_slot_read(buffer.slot, 8, back, 8) == 0 && back[7] == 8);
    CHECK(cvm_buffer_wait(&buffer, 0, 1, CVM_WAIT_FOREVER) == -CVM_EAGAIN && cvm_buffer_wake(&buffer, 0, 1) == 0);
    CHECK(cvm_buffer_wait(&buffer, 65, 0, 0) == -CVM_EFAULT && cvm_buffer_wait(&buffer, 2, 0, 0) == -CVM_EINVAL);
    struct cvm_holding holding;
    CHECK(cvm_holding(&holding, block->id, 0) == sizeof holding && holding.kind == CVM_HOLDING_BUFFER);
    CHECK(holding.number == (uint64_t)number && holding.size == 64 && holding.held == 2);
    CHECK(cvm_holding(&holding, block->id, 1) == -CVM_ENOENT);
    CHECK(cvm_buffer_destroy(number) == 0);
    CHECK(!cvm_slot_shape(buffer.slot).usable && !cvm_slot_shape(all[0]).usable);
    CHECK(cvm_slot_read(buffer.slot, 0, back, 1) == -CVM_EFAULT && cvm_buffer_wake(&buffer, 0, 1) == -CVM_EFAULT);
    cvm_buffer_unmap(&buffer);
    CHECK(cvm_buffer_wake(&buffer, 0, 1) == -CVM_EFAULT);

    /* A gate that there is not, and calls that come to nothing. */
    struct cvm_gate gate;
    CHECK(cvm_gate_open(&gate, "nobody.nothing", 14) == -CVM_ENOENT && gate.token == NULL);
    CHECK(CVM_CALL_GATE(&gate, cvm_integer(1)) == -CVM_EINVAL);
    cvm_gate_close(&gate);
    CHECK(cvm_local_take(2) == all[1]);
    return 0;
}
