/* SQL on a SQLite database: sqlite DATABASE [STATEMENT…]; without statements they come from standard input, one a line.
   Rows are printed with | between their columns. The exit status is 1 after an error. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static int print(void *unused, int columns, char **values, char **names) {
    (void)unused, (void)names;
    for (int index = 0; index < columns; index++)
        printf("%s%s", index ? "|" : "", values[index] ? values[index] : "");
    putchar('\n');
    return 0;
}

static int run(sqlite3 *database, const char *statement) {
    char *message = NULL;
    if (sqlite3_exec(database, statement, print, NULL, &message) == SQLITE_OK)
        return 0;
    fprintf(stderr, "sqlite: %s\n", message ? message : sqlite3_errmsg(database));
    sqlite3_free(message);
    return 1;
}

int main(int count, char **arguments) {
    sqlite3 *database;
    const char *name = count > 1 ? arguments[1] : ":memory:";
    if (sqlite3_open(name, &database) != SQLITE_OK) {
        fprintf(stderr, "sqlite: %s: %s\n", name, sqlite3_errmsg(database));
        return 1;
    }
    int failed = 0;
    for (int index = 2; index < count; index++)
        failed |= run(database, arguments[index]);
    if (count <= 2) {
        static char line[65536];
        while (fgets(line, sizeof line, stdin))
            failed |= run(database, line);
    }
    if (sqlite3_close(database) != SQLITE_OK)
        failed = 1;
    return failed;
}
