/* What a tree of files has to be for the programs that use it. Prints what it checks when something is not so. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

static int checks, failures;
#define CHECK(what) \
    do { \
        checks++; \
        errno = 0; \
        if (!(what)) { \
            failures++; \
            printf("line %d: %s: %s\n", __LINE__, #what, strerror(errno)); \
        } \
    } while (0)
#define FAILS(what, with) CHECK((what) == -1 && errno == (with))

static int count_entries(const char *path) {
    int count = 0;
    DIR *folder = opendir(path);
    if (!folder)
        return -1;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

int main(void) {
    char buffer[256];
    struct stat facts;

    /* A file: holes, append, positions, truncation. */
    int file = open("/tmp/file", O_RDWR | O_CREAT | O_EXCL, 0640);
    CHECK(file >= 3);
    FAILS(open("/tmp/file", O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
    CHECK(write(file, "hello", 5) == 5);
    CHECK(pwrite(file, "world", 5, 10) == 5);
    CHECK(lseek(file, 0, SEEK_CUR) == 5);
    CHECK(lseek(file, -5, SEEK_END) == 10);
    CHECK(read(file, buffer, sizeof buffer) == 5 && !memcmp(buffer, "world", 5));
    CHECK(pread(file, buffer, sizeof buffer, 0) == 15 && !memcmp(buffer, "hello\0\0\0\0\0world", 15));
    FAILS(lseek(file, -100, SEEK_SET), EINVAL);
    CHECK(ftruncate(file, 3) == 0 && fstat(file, &facts) == 0 && facts.st_size == 3);
    CHECK(S_ISREG(facts.st_mode) && (facts.st_mode & 0777) == 0640 && facts.st_nlink == 1);
    int more = open("/tmp/file", O_WRONLY | O_APPEND);
    CHECK(write(more, "lo", 2) == 2 && write(file, "X", 1) == 1);
    FAILS(read(more, buffer, 1), EBADF);
    FAILS(write(open("/tmp/file", O_RDONLY), "x", 1), EBADF);
    CHECK(close(more) == 0);
    FAILS(close(more), EBADF);
    struct iovec parts[] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
    CHECK(ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0 && writev(file, parts, 3) == 5);
    CHECK(pread(file, buffer, 9, 0) == 5 && !memcmp(buffer, "abcde", 5));

    /* One that has no name any more is there as long as it is open. */
    CHECK(unlink("/tmp/file") == 0 && pread(file, buffer, 9, 1) == 4);
    FAILS(stat("/tmp/file", &facts), ENOENT);
    CHECK(close(file) == 0);

    /* A file in memory: a copy, and zeros behind its end. */
    int long_one = open("/tmp/long", O_RDWR | O_CREAT, 0600);
    CHECK(pwrite(long_one, "map", 3, 4094) == 3 && pwrite(long_one, "end", 3, 9000) == 3);
    char *map = mmap(NULL, 9003, PROT_READ | PROT_WRITE, MAP_PRIVATE, long_one, 0);
    CHECK(map != MAP_FAILED && map[0] == 0 && !memcmp(map + 4094, "map", 3) && !memcmp(map + 9000, "end\0\0", 5));
    map[4094] = 'x';
    CHECK(pread(long_one, buffer, 3, 4094) == 3 && buffer[0] == 'm' && munmap(map, 9003) == 0);
    map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, long_one, 4096);
    CHECK(map != MAP_FAILED && map[0] == 'p' && munmap(map, 4096) == 0);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, long_one, 1) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);

    /* Mapped shared: what is stored is in the file for who reads it, what is written is in memory. */
    char *shared = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, long_one, 0);
    char *read_only = mmap(NULL, 4096, PROT_READ, MAP_SHARED, long_one, 4096);
    CHECK(shared != MAP_FAILED && read_only != MAP_FAILED && !memcmp(shared + 4094, "map", 3));
    shared[5000] = 'S';
    CHECK(pread(long_one, buffer, 1, 5000) == 1 && buffer[0] == 'S');
    CHECK(pwrite(long_one, "new", 3, 5001) == 3 && !memcmp(shared + 5000, "Snew", 4) && !memcmp(read_only + 904, "Snew", 4));
    /* Behind the end of the file is nothing that stays. */
    shared[9500] = 'x';
    CHECK(msync(shared, 12288, MS_SYNC) == 0 && fstat(long_one, &facts) == 0 && facts.st_size == 9003);
    CHECK(ftruncate(long_one, 5002) == 0 && shared[5001] == 'n' && shared[5002] == 0 && read_only[906] == 0);
    FAILS(mprotect(read_only, 4096, PROT_READ | PROT_WRITE), EACCES);
    FAILS(msync(shared, 4096, MS_SYNC | MS_ASYNC), EINVAL);
    /* A part of it goes, the rest stays; the file needs neither descriptor nor name. */
    shared[0] = 'A', shared[4097] = 'B';
    CHECK(munmap(shared + 4096, 4096) == 0 && pread(long_one, buffer, 1, 4097) == 1 && buffer[0] == 'B');
    int again = open("/tmp/long", O_RDWR);
    CHECK(close(long_one) == 0 && unlink("/tmp/long") == 0);
    shared[1] = 'C';
    CHECK(pread(again, buffer, 2, 0) == 2 && !memcmp(buffer, "AC", 2) && munmap(shared, 12288) == 0);
    CHECK(pread(again, buffer, 1, 0) == 1 && close(again) == 0 && munmap(read_only, 4096) == 0);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open("/tmp", O_RDONLY), 0) == MAP_FAILED);
    int reads = open("/tmp/long", O_RDONLY | O_CREAT, 0600);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reads, 0) == MAP_FAILED && errno == EACCES);
    long_one = open("/tmp/long", O_RDWR);
    CHECK(close(long_one) == 0 && unlink("/tmp/long") == 0);

    /* Folders, names, links. */
    CHECK(mkdir("/tmp/folder", 0755) == 0 && chdir("/tmp/folder") == 0);
    CHECK(getcwd(buffer, sizeof buffer) && !strcmp(buffer, "/tmp/folder"));
    FAILS(getcwd(buffer, 4) ? 0 : -1, ERANGE);
    CHECK(close(open("a", O_WRONLY | O_CREAT, 0600)) == 0);
    CHECK(symlink("a", "link") == 0 && readlink("link", buffer, sizeof buffer) == 1 && buffer[0] == 'a');
    CHECK(lstat("link", &facts) == 0 && S_ISLNK(facts.st_mode));
    CHECK(stat("link", &facts) == 0 && S_ISREG(facts.st_mode));
    FAILS(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    CHECK(symlink("loop", "loop") == 0);
    FAILS(open("loop", O_RDONLY), ELOOP);
    CHECK(link("a", "b") == 0 && stat("b", &facts) == 0 && facts.st_nlink == 2);
    CHECK(count_entries(".") == 6);
    FAILS(rmdir("/tmp/folder"), ENOTEMPTY);
    FAILS(unlink("/tmp/folder"), EISDIR);
    FAILS(mkdir("/tmp/none/x", 0755), ENOENT);
    FAILS(mkdir("a/x", 0755), ENOTDIR);
    FAILS(rename("/tmp/folder", "/tmp/folder/in"), EINVAL);
    CHECK(rename("a", "../moved") == 0 && access("../moved", F_OK) == 0);
    CHECK(rename("../moved", "b") == 0 && stat("b", &facts) == 0);
    CHECK(unlink("b") == 0 && unlink("link") == 0 && unlink("loop") == 0 && count_entries(".") == 2);
    CHECK(chdir("..") == 0 && rmdir("folder") == 0);
    FAILS(open("folder", O_RDONLY | O_DIRECTORY), ENOENT);
    FAILS(open("/", O_WRONLY), EISDIR);

    /* Descriptors. */
    int first = open("/dev/null", O_RDWR);
    CHECK(dup2(first, 30) == 30 && fcntl(30, F_GETFD) == 0);
    CHECK(fcntl(first, F_DUPFD_CLOEXEC, 40) == 40 && fcntl(40, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(first, F_SETFL, O_NONBLOCK) == 0 && (fcntl(40, F_GETFL) & O_NONBLOCK));
    FAILS(fcntl(77, F_GETFD), EBADF);
    FAILS(dup2(first, 100000), EBADF);
    CHECK(read(first, buffer, 9) == 0 && write(first, buffer, 9) == 9);
    int zero = open("/dev/zero", O_RDONLY), random = open("/dev/urandom", O_RDONLY);
    memset(buffer, 1, sizeof buffer);
    CHECK(read(zero, buffer, 100) == 100 && buffer[0] == 0 && buffer[99] == 0 && buffer[100] == 1);
    CHECK(read(random, buffer, 16) == 16 && memcmp(buffer, buffer + 8, 8));
    CHECK(isatty(1) && !isatty(first));

    /* What there is of all, and how many descriptors there may be. */
    struct statvfs whole;
    CHECK(statvfs("/tmp", &whole) == 0 && whole.f_bsize == 4096 && whole.f_blocks == 1024 && whole.f_namemax == 255);
    CHECK(whole.f_bfree > 0 && whole.f_bfree <= whole.f_blocks);
    FAILS(statvfs("/nowhere", &whole), ENOENT);
    struct rlimit few = {45, 45}, now;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0 && getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 45);
    CHECK(fcntl(first, F_DUPFD, 44) == 44);
    FAILS(fcntl(first, F_DUPFD, 44), EMFILE);
    few.rlim_max = 46;
    FAILS(setrlimit(RLIMIT_NOFILE, &few), EPERM);

    /* Times. */
    int timed = open("/tmp/timed", O_RDWR | O_CREAT, 0600);
    struct timespec times[2] = {{5, 6}, {7, 8}};
    CHECK(futimens(timed, times) == 0 && fstat(timed, &facts) == 0);
    CHECK(facts.st_atim.tv_sec == 5 && facts.st_atim.tv_nsec == 6 && facts.st_mtim.tv_sec == 7 && facts.st_mtim.tv_nsec == 8);
    times[0].tv_nsec = UTIME_OMIT, times[1].tv_sec = 9;
    CHECK(utimensat(AT_FDCWD, "/tmp/timed", times, 0) == 0 && stat("/tmp/timed", &facts) == 0);
    CHECK(facts.st_atim.tv_sec == 5 && facts.st_mtim.tv_sec == 9 && unlink("/tmp/timed") == 0 && close(timed) == 0);

    /* More than there is room for. */
    int large = open("/tmp/large", O_WRONLY | O_CREAT, 0600);
    static char block[65536];
    int index = 0;
    while (index < 200 && write(large, block, sizeof block) > 0)
        index++;
    CHECK(index >= 32 && index < 200);
    FAILS(write(large, block, sizeof block), ENOSPC);
    FAILS(pwrite(large, "x", 1, 1L << 41), EFBIG);
    CHECK(ftruncate(large, 0) == 0 && pwrite(large, block, sizeof block, 3000000) == sizeof block);
    CHECK(fstat(large, &facts) == 0 && facts.st_size == 3000000 + sizeof block);

    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
