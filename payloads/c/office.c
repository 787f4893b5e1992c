/* Lets another cVM calculate by gates: as the program `office` in Rust, and its exit code is 0 when all results are right. */

#include "gate.h"

#define NUMBERS 4

static struct cvm_gate add, mean, squares;

/* The gates of `calculator`, as functions with types. */
static int64_t call_add(uint64_t one, uint64_t other) { return CVM_CALL_GATE(&add, cvm_integer(one), cvm_integer(other)); }

static int64_t call_mean(const uint64_t *numbers, size_t count) {
    return CVM_CALL_GATE(&mean, cvm_readable(numbers, count * sizeof *numbers));
}

static int64_t call_squares(uint64_t *numbers, size_t count) {
    return CVM_CALL_GATE(&squares, cvm_writable(numbers, count * sizeof *numbers));
}

static void print(const char *text) {
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    cvm_write(1, text, length);
}

static void print_number(int64_t number) {
    char digits[21] = {0};
    char *at = digits + sizeof digits - 1;
    uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (number < 0)
        *--at = '-';
    print(at);
}

int main(int argc, char **argv) {
    uint64_t numbers[NUMBERS];
    (void)argc, (void)argv;
    if (cvm_gate_open(&add, "calculator.add", 14) != 0 || cvm_gate_open(&mean, "calculator.mean", 15) != 0 ||
        cvm_gate_open(&squares, "calculator.squares", 18) != 0)
        return 2;
    for (size_t index = 0; index < NUMBERS; index++)
        numbers[index] = index + 1;
    int64_t sum = call_add(30, 12);
    int64_t before = call_mean(numbers, NUMBERS);
    int64_t count = call_squares(numbers, NUMBERS);
    int64_t after = call_mean(numbers, NUMBERS);
    int64_t wrong = call_add(UINT64_MAX, 1);
    print("30 + 12 = ");
    print_number(sum);
    print("\nthe mean of 1 to ");
    print_number(count);
    print(" is ");
    print_number(before);
    print(", that of their squares ");
    print_number(after);
    print("\ntoo much: ");
    print_number(wrong);
    print("\n");
    return sum == 42 && before == 2 && count == NUMBERS && after == 7 && wrong == -CVM_EINVAL ? 0 : 1;
}
