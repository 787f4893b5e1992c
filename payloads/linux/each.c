/* Runs the programs of /bin that its arguments name, one after the other, and says how each has ended. Returns how many have failed. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

int main(int count, char **names) {
    int failed = 0;
    for (int index = 1; index < count; index++) {
        char path[256];
        char *arguments[] = {names[index], NULL};
        int status, error;
        pid_t child;
        snprintf(path, sizeof path, "/bin/%s", names[index]);
        error = posix_spawn(&child, path, NULL, NULL, arguments, environ);
        if (error) {
            printf("%s: cannot be started: %s\n", names[index], strerror(error));
            failed++;
            continue;
        }
        if (waitpid(child, &status, 0) != child) {
            perror("waitpid");
            return 125;
        }
        if (WIFSIGNALED(status))
            printf("%s: ended by signal %d\n", names[index], WTERMSIG(status));
        else
            printf("%s: status %d\n", names[index], WEXITSTATUS(status));
        fflush(stdout);
        failed += status != 0;
    }
    return failed;
}
