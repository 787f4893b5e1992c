/* Lines from the console, cooked as a terminal's driver does it, for hybrid and purecap programs: what is typed is shown,
 * Backspace takes back a character, Ctrl-U the line, and Ctrl-C is told to the caller. Other control characters and the keys
 * that send several characters, like arrows, do nothing. As `rt::read_line` for Rust programs; CONSOLE_MODE=raw in the
 * environment leaves all to the program, CONSOLE_INTERRUPT=cvm makes Ctrl-C end the cVM with code 130. */

#ifndef INTRAVISOR_LINE_H
#define INTRAVISOR_LINE_H

#include "intravisor.h"

/* What cvm_read_line returns when there is no line; other negative results are error numbers of CVM_READ or CVM_WRITE. */
#define CVM_LINE_END (-0x1000)
#define CVM_LINE_INTERRUPT (-0x1001)

/* What is left of the input; all zero at first. */
struct cvm_lines {
    unsigned char bytes[64];
    size_t next;
    size_t end;
    int after_return;
    int key; /* 0, or in the characters of one key: 1 behind ESC, 2 behind ESC [ or ESC O */
};

/* Whether a byte belongs to a key that is more than one character. */
static inline int cvm_line_is_key(struct cvm_lines *lines, unsigned char byte) {
    int part = lines->key != 0 || byte == 0x1b;
    if (byte == '\r' || byte == '\n' || byte == 0x03) {
        lines->key = 0;
        return 0; /* nothing that ends a line, or the input, is swallowed */
    }
    if (byte == 0x1b)
        lines->key = 1;
    else if ((lines->key == 1 && (byte == '[' || byte == 'O')) || (lines->key == 2 && byte >= ' ' && byte <= '?'))
        lines->key = 2;
    else
        lines->key = 0;
    return part;
}

/* Bytes of the last character of a text in UTF-8 that is not empty. */
static inline size_t cvm_line_last(const char *line, size_t length) {
    size_t count = 1;
    while (count < 4 && count < length && ((unsigned char)line[length - count] & 0xc0) == 0x80)
        count++;
    return ((unsigned char)line[length - count] & 0xc0) == 0xc0 || count == 1 ? count : 1;
}

/* The bytes of the next line, without its end, or a negative result. A line that does not fit is cut: the rest comes next. */
static inline int64_t cvm_read_line(struct cvm_lines *lines, char *line, size_t size) {
    const char *mode = cvm_environment("CONSOLE_MODE");
    const char *interrupt = cvm_environment("CONSOLE_INTERRUPT");
    int cooked = mode == NULL || mode[0] != 'r';
    size_t length = 0;
    while (length < size) {
        if (lines->next == lines->end) {
            int64_t got = cvm_read(0, lines->bytes, sizeof lines->bytes, 0);
            if (got < 0)
                return got;
            if (got == 0)
                return length > 0 ? (int64_t)length : CVM_LINE_END;
            lines->next = 0;
            lines->end = (size_t)got;
        }
        unsigned char byte = lines->bytes[lines->next++];
        int second_of_pair = byte == '\n' && lines->after_return;
        lines->after_return = byte == '\r';
        if (second_of_pair || (cooked && cvm_line_is_key(lines, byte)))
            continue;
        int64_t shown = 0;
        if (byte == '\r' || byte == '\n') {
            shown = cooked ? cvm_write(1, "\n", 1) : 0;
            return shown < 0 ? shown : (int64_t)length;
        }
        if (cooked && byte == 0x03) {
            lines->next = lines->end; /* what was typed ahead goes with the line */
            shown = cvm_write(1, "^C\n", 3);
            if (interrupt != NULL && interrupt[0] == 'c')
                cvm_exit(130);
            return shown < 0 ? shown : CVM_LINE_INTERRUPT;
        }
        if (cooked && (byte == 0x08 || byte == 0x7f || byte == 0x15)) {
            while (length > 0 && shown >= 0) {
                length -= cvm_line_last(line, length);
                shown = cvm_write(1, "\b", 1);
                if (byte != 0x15)
                    break;
            }
        } else if (!cooked || byte >= ' ' || byte == '\t') {
            line[length++] = (char)byte;
            shown = cooked ? cvm_write(1, &line[length - 1], 1) : 0;
        }
        if (shown < 0)
            return shown;
    }
    return (int64_t)length;
}

#endif
