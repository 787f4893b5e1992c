/* Offers functions that other cVMs call by gates: as the program `calculator` in Rust, the sum of two numbers, the mean of numbers in
 * the caller's memory, and the squares of numbers, which it writes there. */

#include "gate.h"

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    return cvm_serve() == 0 ? 0 : 1;
}

CVM_GATE(add, passed) {
    uint64_t one = cvm_passed_integer(passed, 0), sum = one + cvm_passed_integer(passed, 1);
    return sum < one || (int64_t)sum < 0 ? -CVM_EINVAL : (int64_t)sum;
}

CVM_GATE(mean, passed) {
    uint64_t count = cvm_passed_size(passed, 0) / sizeof(uint64_t), sum = 0;
    for (uint64_t index = 0; index < count; index++) {
        uint64_t number;
        if (cvm_passed_read(passed, 0, index * sizeof number, &number, sizeof number) != 0)
            return -CVM_EFAULT;
        if ((sum += number) < number)
            return -CVM_EINVAL;
    }
    return count == 0 || (int64_t)(sum / count) < 0 ? -CVM_EINVAL : (int64_t)(sum / count);
}

CVM_GATE(squares, passed) {
    uint64_t count = cvm_passed_size(passed, 0) / sizeof(uint64_t);
    for (uint64_t index = 0; index < count; index++) {
        uint64_t number;
        /* Read once: the caller's other threads may change it meanwhile. */
        if (cvm_passed_read(passed, 0, index * sizeof number, &number, sizeof number) != 0)
            return -CVM_EFAULT;
        number *= number;
        if (cvm_passed_write(passed, 0, index * sizeof number, &number, sizeof number) != 0)
            return -CVM_EFAULT;
    }
    return (int64_t)count;
}
