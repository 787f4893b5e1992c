/* Time without a call: the function of the page tells the same time as the call. */
#define _GNU_SOURCE
#include "page.h"
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static long long nanoseconds(struct timespec time) {
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void) {
    function *tell = find_clock();
    if (!tell) {
        printf("there is no %s@%s\n", NAME, VERSION);
        return 1;
    }
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                                       CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    for (unsigned index = 0; index < sizeof clocks / sizeof *clocks; index++) {
        struct timespec before, told, after;
        for (int round = 0; round < 100; round++) {
            int wrong = syscall(SYS_clock_gettime, clocks[index], &before) | tell(clocks[index], &told) |
                        syscall(SYS_clock_gettime, clocks[index], &after);
            if (wrong || told.tv_nsec >= 1000000000 || nanoseconds(told) < nanoseconds(before) ||
                nanoseconds(told) > nanoseconds(after)) {
                printf("clock %d: %lld is not between %lld and %lld\n", clocks[index], nanoseconds(told),
                       nanoseconds(before), nanoseconds(after));
                return 1;
            }
        }
    }
    /* What the page does not know is the call's. */
    struct timespec time;
    if (tell(CLOCK_PROCESS_CPUTIME_ID, &time) != 0 || tell(99, &time) != -22 || tell(-1, &time) != -22) {
        printf("other clocks are not those of the call\n");
        return 1;
    }
    printf("time without a call: all right\n");
    return 0;
}
