/* Streams between cVMs: bytes, or messages, from one writer to one reader, over a buffer that both map to read and to write. For hybrid
 * programs; link with stream.c and slot.c. The other side can be a program in Rust (`rt::stream`): what stands in the buffer is the same.
 * While the other side keeps up, neither makes a hostcall.
 *
 * Each side believes its own position only. What the other one says is loaded once, looked at, and refused with -CVM_EIO when it
 * cannot be: a hostile peer makes errors here, and no access outside of the buffer or of what the caller gave. -CVM_EFAULT says that the
 * buffer is gone. A peer that dies closes nothing: where the buffer was its own, the next call returns -CVM_EFAULT; else a timeout tells.
 *
 * A timeout counts nanoseconds; CVM_WAIT_FOREVER is none. It is over however often the other side wakes this one for nothing:
 * -CVM_ETIMEDOUT. One thread at a time may use a side. */

#ifndef INTRAVISOR_STREAM_H
#define INTRAVISOR_STREAM_H

#include "slot.h"

#ifndef __CHERI_PURE_CAPABILITY__

/* What a reader gets when the writer has closed and nothing is left: a message may be empty. */
#define CVM_STREAM_END (-0x1000)

/* One side of a stream. */
struct cvm_stream {
    const struct cvm_buffer *buffer;
    uint32_t capacity;          /* bytes, a power of two */
    uint32_t position;
    uint32_t events;            /* what the other side was woken for, counted */
    uint32_t own;               /* offsets in the buffer: this side's words, and the other one's */
    uint32_t other;
};

/* The writing end and the reading end of the stream in a buffer, which must outlive it; there is one of each. One that begins anew goes
 * on where it was. -CVM_EINVAL for a buffer that is too small. */
int64_t cvm_stream_writer(struct cvm_stream *stream, const struct cvm_buffer *buffer);
int64_t cvm_stream_reader(struct cvm_stream *stream, const struct cvm_buffer *buffer);

/* Says to the other side that nothing more comes, or is wanted. */
int64_t cvm_stream_close(struct cvm_stream *stream);

/* Writes as many bytes as there is room for now; how many. -CVM_EAGAIN when there is none, -CVM_ECONNRESET when the reader has closed. */
int64_t cvm_stream_try_write(struct cvm_stream *stream, const void *bytes, size_t length);

/* Writes all bytes; 0. Waits for room, for so long at a time; some may have been written before an error. */
int64_t cvm_stream_write(struct cvm_stream *stream, const void *bytes, size_t length, uint64_t timeout);

/* Sends a message, whole; 0. -CVM_E2BIG when the stream never has room for it; else as the above. */
int64_t cvm_stream_try_send(struct cvm_stream *stream, const void *message, size_t length);
int64_t cvm_stream_send(struct cvm_stream *stream, const void *message, size_t length, uint64_t timeout);

/* Reads as many bytes as are there now and fit, one at least if there is room for it; how many. -CVM_EAGAIN when there are none;
 * CVM_STREAM_END. The second one waits. */
int64_t cvm_stream_try_read(struct cvm_stream *stream, void *bytes, size_t length);
int64_t cvm_stream_read(struct cvm_stream *stream, void *bytes, size_t length, uint64_t timeout);

/* Receives a message; its bytes. -CVM_E2BIG when it is longer than that, and stays; else as the above. */
int64_t cvm_stream_try_receive(struct cvm_stream *stream, void *message, size_t length);
int64_t cvm_stream_receive(struct cvm_stream *stream, void *message, size_t length, uint64_t timeout);

#endif

#endif
