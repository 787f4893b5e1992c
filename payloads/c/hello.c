/* Prints its arguments and, when there is one, the capfile "test1". */

#include "slot.h"

static size_t length(const char *text) {
    size_t count = 0;
    while (text[count] != '\0')
        count++;
    return count;
}

static void print(const char *text) { cvm_write(1, text, length(text)); }

int main(int argc, char **argv) {
    char text[33] = {0};
    print("hello from C\n");
    for (int index = 1; index < argc; index++) {
        print(argv[index]);
        print("\n");
    }
#ifdef __CHERI_PURE_CAPABILITY__
    size_t size = 0;
    const char *file = cvm_capfile("test1", 5, &size);
    if (!__builtin_cheri_tag_get(file))
        return 0;
    for (size_t index = 0; index < size && index < 32; index++)
        text[index] = file[index];
#else
    struct cvm_slot *file = cvm_local_take(1);
    int64_t size = file != NULL ? cvm_capfile_slot("test1", 5, file) : -CVM_ENOENT;
    if (size == -CVM_ENOENT)
        return 0;
    if (size < 0 || cvm_slot_read(file, 0, text, size < 32 ? (size_t)size : 32) != 0)
        return 1;
    /* One byte beyond must not be had. */
    if (cvm_slot_read(file, (size_t)size, text + 32, 1) != -CVM_EFAULT)
        return 2;
#endif
    print(text);
    return 0;
}
