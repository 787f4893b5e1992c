/* A C program as anywhere on Linux: greets, shows its arguments and its environment. */
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
    const char *home = getenv("HOME");
    printf("hello from %s\n", arguments[0]);
    for (int index = 1; index < count; index++)
        printf("argument %d: %s\n", index, arguments[index]);
    printf("HOME is %s\n", home ? home : "not set");
    return 0;
}
