/* Reads, or with the second argument w writes, at the address that the first argument says. */
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
    volatile char *at = (volatile char *)strtoul(count > 1 ? arguments[1] : "0", NULL, 0);
    printf("about to touch %p\n", (void *)at);
    fflush(stdout);
    if (count > 2 && arguments[2][0] == 'w')
        *at = 1;
    printf("found %d\n", *at);
    return 0;
}
