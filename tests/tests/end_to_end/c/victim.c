/* Calls a gate whose function leaves capabilities in every register that it may, and looks at what the compiler counts on. The exit
 * code is 0 when all of that is there. */

#include "gate.h"

int main(int argc, char **argv) {
    struct cvm_gate gate;
    volatile uint64_t sum = 0;
    uint64_t expected = 0;
    (void)argc, (void)argv;
    if (cvm_gate_open(&gate, "server.work", 11) != 0)
        return 1;
    /* More values than a compiler has registers for that a call must keep. */
    uint64_t a = sum + 1, b = sum + 2, c = sum + 3, d = sum + 4, e = sum + 5, f = sum + 6, g = sum + 7, h = sum + 8, i = sum + 9,
             j = sum + 10, k = sum + 11, l = sum + 12, m = sum + 13, n = sum + 14;
    for (uint64_t round = 0; round < 100; round++) {
        CVM_CALL_GATE(&gate, cvm_integer(round), cvm_readable(&a, sizeof a), cvm_writable(&b, sizeof b), cvm_integer(c),
                      cvm_integer(d), cvm_integer(e));
        sum = sum + a + b + c + d + e + f + g + h + i + j + k + l + m + n;
        expected += 105;
        /* A hostcall by integers is one by integers: no capability that came back stands in an argument register. */
        if (cvm_clock() == 0 || cvm_hostcall(CVM_NULL, 0, 0, 0, 0, 0, 0).first != 0)
            return 2;
    }
    return sum == expected ? 0 : 3;
}
