/* See stream.h; payloads/rt/src/stream.rs is the same in Rust. */

#include "stream.h"

#ifndef __CHERI_PURE_CAPABILITY__

/* Offsets: where each side's words begin, and the bytes of the stream. */
#define WRITER 0
#define READER 64
#define BYTES 128

/* Of a side's words: its position, whether it waits for the other one, whether it will not go on, and what the other one waits for. */
#define POSITION 0
#define WAITS 4
#define CLOSED 8
#define EVENTS 12

/* Bytes of a message's length, which stands before it. */
#define LENGTH 4
#define CAPACITY_LIMIT (UINT32_C(1) << 30)

static int64_t load(const struct cvm_stream *stream, size_t offset, uint32_t *word) {
    return cvm_slot_load(stream->buffer->slot, offset, word);
}

static int64_t store(const struct cvm_stream *stream, size_t offset, uint32_t word) {
    return cvm_slot_store(stream->buffer->slot, offset, word);
}

static int64_t begin(struct cvm_stream *stream, const struct cvm_buffer *buffer, uint32_t own, uint32_t other) {
    uint32_t capacity = 1;
    int64_t error;
    if (buffer->slot == NULL)
        return -CVM_EFAULT;
    if (buffer->size <= BYTES)
        return -CVM_EINVAL;
    while (capacity < CAPACITY_LIMIT && capacity * UINT64_C(2) <= buffer->size - BYTES)
        capacity *= 2;
    *stream = (struct cvm_stream){buffer, capacity, 0, 0, own, other};
    if ((error = load(stream, own + POSITION, &stream->position)) != 0 ||
        (error = load(stream, own + EVENTS, &stream->events)) != 0)
        return error;
    return store(stream, own + CLOSED, 0);
}

int64_t cvm_stream_writer(struct cvm_stream *stream, const struct cvm_buffer *buffer) {
    return begin(stream, buffer, WRITER, READER);
}

int64_t cvm_stream_reader(struct cvm_stream *stream, const struct cvm_buffer *buffer) {
    return begin(stream, buffer, READER, WRITER);
}

/* How many bytes this side can move now: room for the writer, what is there for the reader. The other side's position is loaded once,
 * and refused when it cannot be. */
static int64_t ready(const struct cvm_stream *stream) {
    uint32_t other;
    int64_t error = load(stream, stream->other + POSITION, &other);
    if (error != 0)
        return error;
    /* What the other side did before it said so is there. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint32_t used = stream->own == WRITER ? stream->position - other : other - stream->position;
    if (used > stream->capacity)
        return -CVM_EIO;
    return stream->own == WRITER ? stream->capacity - used : used;
}

/* 1 = the other side has closed, 0 = it has not, or an error. */
static int64_t other_closed(const struct cvm_stream *stream) {
    uint32_t closed;
    int64_t error = load(stream, stream->other + CLOSED, &closed);
    return error != 0 ? error : closed != 0;
}

/* Copies bytes to, or from, one or two pieces of the buffer, so far behind this side's position. They are at most the capacity. */
static int64_t put(const struct cvm_stream *stream, uint32_t behind, const void *bytes, size_t length) {
    uint32_t start = (stream->position + behind) & (stream->capacity - 1);
    size_t first = stream->capacity - start;
    if (first > length)
        first = length;
    int64_t error = cvm_slot_write(stream->buffer->slot, BYTES + start, bytes, first);
    if (error == 0 && first < length)
        error = cvm_slot_write(stream->buffer->slot, BYTES, (const char *)bytes + first, length - first);
    return error;
}

static int64_t take(const struct cvm_stream *stream, uint32_t behind, void *bytes, size_t length) {
    uint32_t start = (stream->position + behind) & (stream->capacity - 1);
    size_t first = stream->capacity - start;
    if (first > length)
        first = length;
    int64_t error = cvm_slot_read(stream->buffer->slot, BYTES + start, bytes, first);
    if (error == 0 && first < length)
        error = cvm_slot_read(stream->buffer->slot, BYTES, (char *)bytes + first, length - first);
    return error;
}

static int64_t wake(struct cvm_stream *stream) {
    int64_t error = store(stream, stream->own + EVENTS, ++stream->events);
    if (error == 0)
        error = cvm_buffer_wake(stream->buffer, stream->own + EVENTS, 1);
    return error < 0 ? error : 0;
}

/* This side's position is so many bytes on; who waits for that wakes. */
static int64_t advance(struct cvm_stream *stream, uint32_t bytes) {
    uint32_t waits;
    int64_t error;
    stream->position += bytes;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if ((error = store(stream, stream->own + POSITION, stream->position)) != 0)
        return error;
    /* Either the other side sees what has been stored, or this one sees that it waits. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if ((error = load(stream, stream->other + WAITS, &waits)) != 0 || waits == 0)
        return error;
    if ((error = store(stream, stream->other + WAITS, 0)) != 0)
        return error;
    return wake(stream);
}

/* Waits until at least so many bytes can be moved; how many can. Fewer when the other side has closed. */
static int64_t wait_for(struct cvm_stream *stream, uint32_t wanted, uint64_t timeout) {
    uint64_t began = 0;
    int is_first = 1;
    for (;;) {
        uint32_t events;
        int64_t error, closed, now = ready(stream);
        if (now < 0 || now >= (int64_t)wanted)
            return now;
        if ((error = store(stream, stream->own + WAITS, 1)) != 0)
            return error;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if ((error = load(stream, stream->other + EVENTS, &events)) != 0)
            return error;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        /* What was stored before it closed counts. */
        if ((closed = other_closed(stream)) < 0)
            return closed;
        now = ready(stream);
        if (now < 0 || closed || now >= (int64_t)wanted)
            return now;
        uint64_t left = timeout;
        if (timeout != CVM_WAIT_FOREVER) {
            uint64_t clock = cvm_clock();
            if (is_first)
                began = clock;
            is_first = 0;
            left = clock - began < timeout ? timeout - (clock - began) : 0;
        }
        error = cvm_buffer_wait(stream->buffer, stream->other + EVENTS, events, left);
        /* Woken for nothing, again and again, this side still comes to the end of its time. */
        if (error == -CVM_EAGAIN && timeout != CVM_WAIT_FOREVER && left == 0)
            return -CVM_ETIMEDOUT;
        if (error != 0 && error != -CVM_EAGAIN)
            return error;
    }
}

int64_t cvm_stream_close(struct cvm_stream *stream) {
    int64_t error = store(stream, stream->own + CLOSED, 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return error != 0 ? error : wake(stream);
}

int64_t cvm_stream_try_write(struct cvm_stream *stream, const void *bytes, size_t length) {
    int64_t error = other_closed(stream);
    if (error != 0)
        return error < 0 ? error : -CVM_ECONNRESET;
    int64_t room = ready(stream);
    if (room < 0 || length == 0)
        return room < 0 ? room : 0;
    if (room == 0)
        return -CVM_EAGAIN;
    if (length > (size_t)room)
        length = (size_t)room;
    if ((error = put(stream, 0, bytes, length)) != 0 || (error = advance(stream, (uint32_t)length)) != 0)
        return error;
    return (int64_t)length;
}

int64_t cvm_stream_write(struct cvm_stream *stream, const void *bytes, size_t length, uint64_t timeout) {
    const char *left = bytes;
    while (length > 0) {
        int64_t written = cvm_stream_try_write(stream, left, length);
        if (written == -CVM_EAGAIN) {
            int64_t room = wait_for(stream, 1, timeout);
            if (room < 0)
                return room;
        } else if (written < 0) {
            return written;
        } else {
            left += written;
            length -= (size_t)written;
        }
    }
    return 0;
}

/* Stores a message for which there is room. */
static int64_t put_message(struct cvm_stream *stream, const void *message, size_t length) {
    uint32_t whole = LENGTH + (uint32_t)length;
    unsigned char before[LENGTH] = {(unsigned char)length, (unsigned char)(length >> 8), (unsigned char)(length >> 16),
                                    (unsigned char)(length >> 24)};
    int64_t error = put(stream, 0, before, LENGTH);
    if (error == 0)
        error = put(stream, LENGTH, message, length);
    return error != 0 ? error : advance(stream, whole);
}

static int is_too_long(const struct cvm_stream *stream, size_t length) {
    return stream->capacity < LENGTH || length > stream->capacity - LENGTH;
}

int64_t cvm_stream_try_send(struct cvm_stream *stream, const void *message, size_t length) {
    if (is_too_long(stream, length))
        return -CVM_E2BIG;
    int64_t error = other_closed(stream);
    if (error != 0)
        return error < 0 ? error : -CVM_ECONNRESET;
    int64_t room = ready(stream);
    if (room < 0)
        return room;
    return (size_t)room < length + LENGTH ? -CVM_EAGAIN : put_message(stream, message, length);
}

int64_t cvm_stream_send(struct cvm_stream *stream, const void *message, size_t length, uint64_t timeout) {
    if (is_too_long(stream, length))
        return -CVM_E2BIG;
    int64_t room = wait_for(stream, LENGTH + (uint32_t)length, timeout);
    if (room < 0)
        return room;
    int64_t closed = other_closed(stream);
    if (closed < 0)
        return closed;
    return closed || (size_t)room < length + LENGTH ? -CVM_ECONNRESET : put_message(stream, message, length);
}

int64_t cvm_stream_try_read(struct cvm_stream *stream, void *bytes, size_t length) {
    /* Before the position: what was written before the end counts. */
    int64_t error, closed = other_closed(stream);
    if (closed < 0)
        return closed;
    int64_t there = ready(stream);
    if (there < 0)
        return there;
    if (there == 0)
        return closed ? CVM_STREAM_END : -CVM_EAGAIN;
    if (length > (size_t)there)
        length = (size_t)there;
    if ((error = take(stream, 0, bytes, length)) != 0 || (error = advance(stream, (uint32_t)length)) != 0)
        return error;
    return (int64_t)length;
}

int64_t cvm_stream_read(struct cvm_stream *stream, void *bytes, size_t length, uint64_t timeout) {
    for (;;) {
        int64_t read = cvm_stream_try_read(stream, bytes, length);
        if (read != -CVM_EAGAIN)
            return read;
        int64_t there = wait_for(stream, 1, timeout);
        if (there < 0)
            return there;
    }
}

/* Takes a message out of the bytes that are there. */
static int64_t take_message(struct cvm_stream *stream, uint32_t there, void *message, size_t room) {
    unsigned char before[LENGTH];
    int64_t error;
    if (there < LENGTH)
        return -CVM_EIO;
    if ((error = take(stream, 0, before, LENGTH)) != 0)
        return error;
    uint32_t length = before[0] | (uint32_t)before[1] << 8 | (uint32_t)before[2] << 16 | (uint32_t)before[3] << 24;
    /* A message comes whole. */
    if (length > there - LENGTH)
        return -CVM_EIO;
    if (length > room)
        return -CVM_E2BIG;
    if ((error = take(stream, LENGTH, message, length)) != 0 || (error = advance(stream, LENGTH + length)) != 0)
        return error;
    return length;
}

int64_t cvm_stream_try_receive(struct cvm_stream *stream, void *message, size_t length) {
    int64_t closed = other_closed(stream);
    if (closed < 0)
        return closed;
    int64_t there = ready(stream);
    if (there < 0)
        return there;
    if (there == 0)
        return closed ? CVM_STREAM_END : -CVM_EAGAIN;
    return take_message(stream, (uint32_t)there, message, length);
}

int64_t cvm_stream_receive(struct cvm_stream *stream, void *message, size_t length, uint64_t timeout) {
    int64_t there = wait_for(stream, LENGTH, timeout);
    if (there < 0)
        return there;
    return there == 0 ? CVM_STREAM_END : take_message(stream, (uint32_t)there, message, length);
}

#endif
