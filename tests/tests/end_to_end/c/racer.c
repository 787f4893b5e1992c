/* `honest` reads, as bytes and as messages in turn, what `hostile` makes of a stream: positions, lengths and ends at random, changed all the
 * time. Whatever comes, the reader gets bytes or an error, and its memory is as before. The exit code is 0 when that holds. */

#include "stream.h"

#define ROOM 64
#define ROUNDS 3000

static struct { unsigned char before[64], bytes[ROOM], behind[64]; } guarded;

static uint64_t next(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static int hostile(const struct cvm_buffer *buffer) {
    uint64_t state = 11;
    uint32_t word;
    /* Until the reader says that it has had enough. */
    while (cvm_slot_load(buffer->slot, 64 + 48, &word) == 0 && word == 0) {
        for (int turn = 0; turn < 1000; turn++) {
            uint32_t reader = 0;
            cvm_slot_load(buffer->slot, 64, &reader);
            switch (next(&state) % 5) {
            case 0:
                cvm_slot_store(buffer->slot, 0, reader + (uint32_t)(next(&state) % (ROOM + 8)));
                break;
            case 1:
                cvm_slot_store(buffer->slot, 0, (uint32_t)next(&state));
                break;
            case 2:
                cvm_slot_store(buffer->slot, 8, next(&state) % 16 == 0);
                break;
            case 3:
                cvm_slot_store(buffer->slot, 12, (uint32_t)next(&state));
                break;
            default:
                cvm_slot_store(buffer->slot, 128 + next(&state) % 16 * 4, (uint32_t)(next(&state) % 12));
            }
        }
        cvm_buffer_wake(buffer, 12, 1);
    }
    return 0;
}

static int honest(const struct cvm_buffer *buffer) {
    struct cvm_stream reader;
    int counts[3] = {0, 0, 0}, wrong = 0;
    for (size_t index = 0; index < 64; index++)
        guarded.before[index] = guarded.behind[index] = 0x5a;
    if (cvm_stream_reader(&reader, buffer) != 0)
        return 2;
    for (int round = 0; wrong == 0 && round < ROUNDS; round++) {
        int64_t got = round % 2 == 0 ? cvm_stream_read(&reader, guarded.bytes, ROOM, 1000)
                                     : cvm_stream_receive(&reader, guarded.bytes, ROOM, 1000);
        if (got >= 0 && got <= ROOM)
            counts[0]++;
        else if (got == -CVM_EIO || got == -CVM_E2BIG)
            counts[1]++;
        else if (got == -CVM_ETIMEDOUT || got == CVM_STREAM_END)
            counts[2]++;
        else
            wrong = 3;
        for (size_t index = 0; index < 64; index++)
            if (guarded.before[index] != 0x5a || guarded.behind[index] != 0x5a)
                wrong = 4;
        if (round % 16 == 0)
            cvm_yield();
    }
    cvm_slot_store(buffer->slot, 64 + 48, 1);
    /* Bytes and errors have come: it was a race. */
    return wrong != 0 ? wrong : counts[0] < 10 || counts[1] < 10 ? 5 : 0;
}

int main(int argc, char **argv) {
    struct cvm_buffer buffer;
    if (argc != 2 || cvm_buffer_open(&buffer, "ring", 4, CVM_BUFFER_READ | CVM_BUFFER_WRITE) != 0)
        return 1;
    return argv[1][2] == 's' ? hostile(&buffer) : honest(&buffer);
}
