/* Looks at the global pointer wherever the monitor, or another cVM, enters a program: in a thread, in a handler, in a gate's function. With `gate`
 * or `call` as its argument, the client of that. The exit code is 0 when it was everywhere what linkers count on. */

#include "gate.h"
#include "pthread.h"

#if defined(__riscv)
extern char __global_pointer$[];

static int is_right(void) {
    char *global;
    __asm__ volatile("mv %0, gp" : "=r"(global));
    return global == __global_pointer$;
}
#else
static int is_right(void) { return 1; }
#endif

static void *look(void *argument) { return is_right() ? argument : NULL; }

CVM_GATE(work, passed) { return is_right() ? (int64_t)cvm_passed_integer(passed, 0) + 1 : -CVM_EINVAL; }

CVM_HANDLER(first, second, third, fourth, fifth, sixth, caller, number) {
    (void)second, (void)third, (void)fourth, (void)fifth, (void)sixth, (void)caller;
    if (number != CVM_WAKE)
        cvm_delegate();
    cvm_reply(is_right() ? (int64_t)first + 2 : -CVM_EINVAL);
}

int main(int argc, char **argv) {
    pthread_t thread;
    void *result;
    struct cvm_gate gate;
    if (argc > 1 && argv[1][0] == 'g')
        return cvm_gate_open(&gate, "server.work", 11) != 0 || CVM_CALL_GATE(&gate, cvm_integer(41)) != 42 || !is_right();
    if (argc > 1)
        return cvm_hostcall(CVM_WAKE, 40, 0, 0, 0, 0, 0).first != 42 || !is_right();
    if (pthread_create(&thread, NULL, look, &thread) != 0 || pthread_join(thread, &result) != 0 || result != &thread)
        return 3;
    return cvm_serve() != 0 || !is_right();
}
