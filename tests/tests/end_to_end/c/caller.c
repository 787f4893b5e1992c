/* Calls the gates of `calculator` with what they do not expect; with an argument, one that wants its words aligned. The exit code is the line of the first wrong answer, modulo 256, or 0. */

#include "gate.h"

#define CHECK(condition)                                                                                                        \
    do {                                                                                                                        \
        if (!(condition))                                                                                                       \
            return __LINE__ % 256;                                                                                              \
    } while (0)

static _Alignas(4096) uint64_t numbers[4096];

int main(int argc, char **argv) {
    struct cvm_gate add, mean, squares;
    struct cvm_buffer buffer;
    (void)argv;
    CHECK(cvm_gate_open(&add, "calculator.add", 14) == 0);
    CHECK(cvm_gate_open(&mean, "calculator.mean", 15) == 0);
    CHECK(cvm_gate_open(&squares, "calculator.squares", 18) == 0);
    CHECK(cvm_gate_open(&add, "calculator.main", 15) == -CVM_ENOENT);
    CHECK(cvm_gate_open(&add, "calculator.add", 14) == 0);

    /* Integers, nothing and too little where memory is expected; memory to be read where it is to be written. */
    CHECK(CVM_CALL_GATE(&mean, cvm_integer(0)) == -CVM_EINVAL);
    CHECK(CVM_CALL_GATE(&mean, cvm_integer((uintptr_t)numbers)) == -CVM_EINVAL);
    CHECK(CVM_CALL_GATE(&mean, cvm_readable(numbers, 0)) == -CVM_EINVAL);
    CHECK(CVM_CALL_GATE(&mean, cvm_readable(numbers, 7)) == -CVM_EINVAL);
    CHECK(CVM_CALL_GATE(&squares, cvm_readable(numbers, 16)) == -CVM_EFAULT);
    CHECK(CVM_CALL_GATE(&squares, cvm_integer(UINT64_MAX)) == 0);
    CHECK(CVM_CALL_GATE(&squares, cvm_writable((char *)numbers + 4, 16)) == (argc > 1 ? -CVM_EINVAL : 2));
    /* A token where memory is expected: sealed, so that it arrives as an integer; here it is not even passed. */
    CHECK(CVM_CALL_GATE(&mean, cvm_foreign(add.token)) == -CVM_EFAULT);

    /* Memory that is not this program's, a length that wraps, and what no capability covers exactly: nothing is called. */
    CHECK(CVM_CALL_GATE(&mean, cvm_readable((const void *)(UINTPTR_MAX - 7), 8)) == -CVM_EFAULT);
    CHECK(CVM_CALL_GATE(&mean, cvm_readable(numbers, UINT64_MAX)) == -CVM_EFAULT);
    CHECK(CVM_CALL_GATE(&squares, cvm_writable((char *)numbers + 1, 31 * 1024)) == -CVM_EINVAL);
    const struct cvm_argument seven[7] = {cvm_integer(1)};
    CHECK(cvm_gate_call(&add, seven, 7) == -CVM_EINVAL && cvm_gate_call(&add, seven, 6) == 1);
    CHECK(cvm_gate_call(&add, NULL, 0) == 0);

    /* Exactly what was passed is changed, at both ends. */
    for (size_t index = 0; index < 4096; index++)
        numbers[index] = 3;
    CHECK(CVM_CALL_GATE(&squares, cvm_writable(numbers + 1, 8 * 8)) == 8);
    CHECK(numbers[0] == 3 && numbers[1] == 9 && numbers[8] == 9 && numbers[9] == 3);
    CHECK(CVM_CALL_GATE(&mean, cvm_readable(numbers, sizeof numbers)) == 3);
    CHECK(CVM_CALL_GATE(&add, cvm_integer(UINT64_MAX), cvm_integer(1)) == -CVM_EINVAL);

    /* A buffer, and one that was taken back. */
    int64_t number = cvm_buffer_create(32);
    CHECK(number >= 0 && cvm_buffer_map(&buffer, number, CVM_BUFFER_READ | CVM_BUFFER_WRITE) == 0);
    CHECK(cvm_slot_write(buffer.slot, 0, numbers, 32) == 0);
    CHECK(CVM_CALL_GATE(&squares, cvm_shared(&buffer)) == 4 && CVM_CALL_GATE(&mean, cvm_shared(&buffer)) == 63);
    CHECK(cvm_buffer_destroy(number) == 0 && CVM_CALL_GATE(&mean, cvm_shared(&buffer)) == -CVM_EFAULT);
    cvm_buffer_unmap(&buffer);
    CHECK(CVM_CALL_GATE(&mean, cvm_shared(&buffer)) == -CVM_EFAULT);

    /* Again and again: no place is lost. */
    for (int index = 0; index < 100; index++) {
        cvm_gate_close(&add);
        CHECK(cvm_gate_open(&add, "calculator.add", 14) == 0 && CVM_CALL_GATE(&add, cvm_integer(20), cvm_integer(22)) == 42);
    }
    cvm_gate_close(&add);
    CHECK(CVM_CALL_GATE(&add, cvm_integer(20)) == -CVM_EINVAL);
    return 0;
}
