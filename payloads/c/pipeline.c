/* A stage of the example `pipeline`, as the program `pipeline` in Rust: `source`, `filter` or `sink`; then how many messages (`source`). The
 * exit code is 0 when the stream came to its end. */

#include "stream.h"

#define MESSAGE 64

static int64_t open_stream(struct cvm_stream *stream, struct cvm_buffer *buffer, const char *name, size_t length, int writes) {
    int64_t error = cvm_buffer_open(buffer, name, length, CVM_BUFFER_READ | CVM_BUFFER_WRITE);
    if (error != 0)
        return error;
    return writes ? cvm_stream_writer(stream, buffer) : cvm_stream_reader(stream, buffer);
}

/* Puts a text, or a number, behind what there is; the new end. */
static char *append(char *at, const char *text) {
    while (*text != '\0')
        *at++ = *text++;
    return at;
}

static char *append_number(char *at, uint32_t number) {
    if (number >= 10)
        at = append_number(at, number / 10);
    *at++ = (char)('0' + number % 10);
    return at;
}

static int source(const char *count) {
    struct cvm_stream to;
    struct cvm_buffer buffer;
    uint32_t messages = 0;
    for (; *count >= '0' && *count <= '9'; count++)
        messages = messages * 10 + (uint32_t)(*count - '0');
    if (open_stream(&to, &buffer, "first", 5, 1) != 0)
        return 2;
    for (uint32_t number = 1; number <= messages; number++) {
        char message[MESSAGE];
        char *end = append_number(append(append_number(append(message, "message "), number), " of "), messages);
        *end++ = '\n';
        if (cvm_stream_send(&to, message, (size_t)(end - message), CVM_WAIT_FOREVER) != 0)
            return 3;
    }
    return cvm_stream_close(&to) != 0;
}

static int filter(void) {
    struct cvm_stream from, to;
    struct cvm_buffer first, second;
    char message[MESSAGE];
    int64_t length;
    if (open_stream(&from, &first, "first", 5, 0) != 0 || open_stream(&to, &second, "second", 6, 1) != 0)
        return 2;
    while ((length = cvm_stream_receive(&from, message, sizeof message, CVM_WAIT_FOREVER)) >= 0) {
        for (int64_t index = 0; index < length; index++)
            if (message[index] >= 'a' && message[index] <= 'z')
                message[index] = (char)(message[index] - 'a' + 'A');
        if (cvm_stream_write(&to, message, (size_t)length, CVM_WAIT_FOREVER) != 0)
            return 3;
    }
    if (length != CVM_STREAM_END)
        return 4;
    return cvm_stream_close(&from) != 0 || cvm_stream_close(&to) != 0;
}

static int sink(void) {
    struct cvm_stream from;
    struct cvm_buffer buffer;
    char bytes[10];
    int64_t length;
    if (open_stream(&from, &buffer, "second", 6, 0) != 0)
        return 2;
    while ((length = cvm_stream_read(&from, bytes, sizeof bytes, CVM_WAIT_FOREVER)) >= 0)
        cvm_write(1, bytes, (size_t)length);
    cvm_write(1, "the end\n", 8);
    return length != CVM_STREAM_END || cvm_stream_close(&from) != 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && argv[1][0] == 's' && argv[1][1] == 'o')
        return source(argv[2]);
    if (argc == 2 && argv[1][0] == 'f')
        return filter();
    if (argc == 2 && argv[1][0] == 's')
        return sink();
    return 64;
}
