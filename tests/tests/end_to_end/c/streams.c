/* Both sides of a stream, and a peer that writes nonsense into its buffer, in one program: what a side does with it is known exactly. The
 * exit code is the line of the first wrong answer, modulo 256, or 0. */

#include "stream.h"

#define CHECK(condition)                                                                                                        \
    do {                                                                                                                        \
        if (!(condition))                                                                                                       \
            return __LINE__ % 256;                                                                                              \
    } while (0)

#define ROOM 64
#define MILLISECOND 1000000
/* Where the words of the two sides are; see stream.c. */
#define WRITER 0
#define READER 64
#define CLOSED 8
#define EVENTS 12

static struct cvm_buffer buffer, peer;
static struct { unsigned char before[16], bytes[ROOM], behind[16]; } guarded;

/* What the peer says. */
static void say(size_t offset, uint32_t word) { cvm_slot_store(peer.slot, offset, word); }

static uint32_t said(size_t offset) {
    uint32_t word = 0;
    cvm_slot_load(peer.slot, offset, &word);
    return word;
}

static int is_untouched(void) {
    for (size_t index = 0; index < 16; index++)
        if (guarded.before[index] != 0x5a || guarded.behind[index] != 0x5a)
            return 0;
    return 1;
}

int main(int argc, char **argv) {
    struct cvm_stream writer, reader;
    struct cvm_buffer small;
    unsigned char bytes[2 * ROOM], back[2 * ROOM];
    (void)argc, (void)argv;
    for (size_t index = 0; index < sizeof bytes; index++)
        bytes[index] = (unsigned char)index;
    for (size_t index = 0; index < 16; index++)
        guarded.before[index] = guarded.behind[index] = 0x5a;

    int64_t number = cvm_buffer_create(128 + ROOM), tiny = cvm_buffer_create(128);
    CHECK(number >= 0 && tiny >= 0);
    CHECK(cvm_buffer_map(&buffer, number, CVM_BUFFER_READ | CVM_BUFFER_WRITE) == 0);
    CHECK(cvm_buffer_map(&peer, number, CVM_BUFFER_READ | CVM_BUFFER_WRITE) == 0);
    CHECK(cvm_buffer_map(&small, tiny, CVM_BUFFER_READ | CVM_BUFFER_WRITE) == 0);
    CHECK(cvm_stream_writer(&writer, &small) == -CVM_EINVAL);
    cvm_buffer_unmap(&small);
    CHECK(cvm_stream_writer(&writer, &small) == -CVM_EFAULT);
    CHECK(cvm_stream_writer(&writer, &buffer) == 0 && cvm_stream_reader(&reader, &buffer) == 0 && writer.capacity == ROOM);

    /* Around the ring, at every place, in every size. */
    for (size_t length = 0; length <= ROOM; length++) {
        CHECK(cvm_stream_try_write(&writer, bytes, length) == (int64_t)length);
        CHECK(length == 0 || cvm_stream_try_read(&reader, back, sizeof back) == (int64_t)length);
        for (size_t index = 0; index < length; index++)
            CHECK(back[index] == index);
        if (length <= ROOM - 4) {
            CHECK(cvm_stream_try_send(&writer, bytes, length) == 0);
            CHECK(cvm_stream_try_receive(&reader, back, length) == (int64_t)length);
            for (size_t index = 0; index < length; index++)
                CHECK(back[index] == index);
        }
    }
    CHECK(cvm_stream_try_read(&reader, back, 1) == -CVM_EAGAIN && cvm_stream_try_receive(&reader, back, 1) == -CVM_EAGAIN);
    CHECK(cvm_stream_try_write(&writer, bytes, sizeof bytes) == ROOM && cvm_stream_try_write(&writer, bytes, 1) == -CVM_EAGAIN);
    CHECK(cvm_stream_try_send(&writer, bytes, 0) == -CVM_EAGAIN && cvm_stream_try_send(&writer, bytes, ROOM - 3) == -CVM_E2BIG);
    CHECK(cvm_stream_try_send(&writer, bytes, SIZE_MAX) == -CVM_E2BIG && cvm_stream_try_send(&writer, bytes, 0xfffffffc) == -CVM_E2BIG);
    CHECK(cvm_stream_send(&writer, bytes, SIZE_MAX - 3, 0) == -CVM_E2BIG);
    CHECK(cvm_stream_write(&writer, bytes, 1, MILLISECOND) == -CVM_ETIMEDOUT);
    CHECK(cvm_stream_read(&reader, back, sizeof back, CVM_WAIT_FOREVER) == ROOM);
    CHECK(cvm_stream_read(&reader, back, 1, MILLISECOND) == -CVM_ETIMEDOUT);
    CHECK(cvm_stream_receive(&reader, back, 1, 0) == -CVM_ETIMEDOUT);
    CHECK(cvm_stream_send(&writer, bytes, 9, 0) == 0 && cvm_stream_receive(&reader, back, 8, 0) == -CVM_E2BIG);
    CHECK(cvm_stream_receive(&reader, back, 9, 0) == 9);

    /* A writer's position that cannot be: an error here, and nothing is touched. */
    uint32_t honest = said(WRITER);
    const uint32_t wrong[] = {honest - 1, honest + ROOM + 1, honest + UINT32_C(0x80000000), 0 - honest};
    for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index++) {
        say(WRITER, wrong[index]);
        CHECK(cvm_stream_try_read(&reader, guarded.bytes, ROOM) == -CVM_EIO);
        CHECK(cvm_stream_read(&reader, guarded.bytes, ROOM, CVM_WAIT_FOREVER) == -CVM_EIO);
        CHECK(cvm_stream_try_receive(&reader, guarded.bytes, ROOM) == -CVM_EIO);
        CHECK(cvm_stream_receive(&reader, guarded.bytes, ROOM, CVM_WAIT_FOREVER) == -CVM_EIO);
    }
    /* Lengths of messages that cannot be. */
    for (uint32_t there = 0; there <= ROOM; there++) {
        const uint32_t lengths[] = {there, there + 1, ROOM, ROOM + 1, UINT32_C(0x7fffffff), UINT32_MAX - 3, UINT32_MAX};
        say(WRITER, honest + there);
        for (size_t index = 0; index < sizeof lengths / sizeof *lengths; index++) {
            unsigned char before[4];
            for (size_t byte = 0; byte < 4; byte++) {
                before[byte] = (unsigned char)(lengths[index] >> 8 * byte);
                CHECK(cvm_slot_write(peer.slot, 128 + (honest + byte) % ROOM, before + byte, 1) == 0);
            }
            int64_t expected = there == 0 ? -CVM_EAGAIN : -CVM_EIO;
            CHECK(cvm_stream_try_receive(&reader, guarded.bytes, ROOM) == expected);
        }
    }
    CHECK(is_untouched());
    /* A reader's position that cannot be. */
    say(WRITER, honest);
    CHECK(cvm_stream_try_write(&writer, bytes, 8) == 8 && said(WRITER) == honest + 8);
    const uint32_t ahead[] = {honest + 9, honest - ROOM + 7, honest + UINT32_C(0x80000000)};
    for (size_t index = 0; index < sizeof ahead / sizeof *ahead; index++) {
        say(READER, ahead[index]);
        CHECK(cvm_stream_try_write(&writer, bytes, 1) == -CVM_EIO && cvm_stream_write(&writer, bytes, 1, 0) == -CVM_EIO);
        CHECK(cvm_stream_try_send(&writer, bytes, 1) == -CVM_EIO && cvm_stream_send(&writer, bytes, 1, 0) == -CVM_EIO);
    }
    /* This side's own words are its record only in its own memory: what the peer makes of them changes nothing. */
    say(READER, honest);
    say(WRITER, 0xdeadbeef);
    CHECK(cvm_stream_try_write(&writer, bytes, 1) == 1 && said(WRITER) == honest + 9);
    CHECK(cvm_stream_try_read(&reader, back, sizeof back) == 9 && said(READER) == honest + 9);

    /* A peer that only pretends that something has happened: this side's time comes to its end. */
    uint64_t began = cvm_clock();
    say(WRITER + EVENTS, 77);
    CHECK(cvm_stream_read(&reader, back, 1, MILLISECOND) == -CVM_ETIMEDOUT && cvm_clock() - began >= MILLISECOND);

    /* The end: what was written before counts. */
    CHECK(cvm_stream_try_write(&writer, bytes, 3) == 3 && cvm_stream_close(&writer) == 0);
    CHECK(cvm_stream_read(&reader, back, 2, CVM_WAIT_FOREVER) == 2 && cvm_stream_read(&reader, back, 2, CVM_WAIT_FOREVER) == 1);
    CHECK(cvm_stream_read(&reader, back, 2, CVM_WAIT_FOREVER) == CVM_STREAM_END);
    CHECK(cvm_stream_receive(&reader, back, 2, CVM_WAIT_FOREVER) == CVM_STREAM_END);
    CHECK(cvm_stream_try_receive(&reader, back, 2) == CVM_STREAM_END && cvm_stream_close(&reader) == 0);
    CHECK(cvm_stream_try_write(&writer, bytes, 1) == -CVM_ECONNRESET && cvm_stream_send(&writer, bytes, 1, 0) == -CVM_ECONNRESET);
    /* Half a message, and the end. */
    CHECK(cvm_stream_writer(&writer, &buffer) == 0 && cvm_stream_reader(&reader, &buffer) == 0);
    CHECK(cvm_stream_try_write(&writer, bytes, 2) == 2 && cvm_stream_close(&writer) == 0);
    CHECK(cvm_stream_receive(&reader, back, 2, CVM_WAIT_FOREVER) == -CVM_EIO);

    /* The buffer is gone. */
    CHECK(cvm_buffer_destroy(number) == 0);
    CHECK(cvm_stream_try_write(&writer, bytes, 1) == -CVM_EFAULT && cvm_stream_send(&writer, bytes, 1, 0) == -CVM_EFAULT);
    CHECK(cvm_stream_read(&reader, back, 1, 0) == -CVM_EFAULT && cvm_stream_receive(&reader, back, 1, 0) == -CVM_EFAULT);
    CHECK(cvm_stream_close(&writer) == -CVM_EFAULT && is_untouched());
    return 0;
}
