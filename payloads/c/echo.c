/* Answers every line of console input, until the end of input, Ctrl-C or "quit". */

#include "line.h"

static void print(const char *text) {
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    cvm_write(1, text, length);
}

int main(int argc, char **argv) {
    static struct cvm_lines lines;
    char line[256];
    int64_t length;
    (void)argc, (void)argv;
    print("say something; quit ends\n");
    while ((length = cvm_read_line(&lines, line, sizeof line)) >= 0) {
        if (length == 4 && line[0] == 'q' && line[1] == 'u' && line[2] == 'i' && line[3] == 't')
            break;
        print("you said: ");
        cvm_write(1, line, (size_t)length);
        print("\n");
    }
    if (length < 0 && length != CVM_LINE_END && length != CVM_LINE_INTERRUPT)
        return 1;
    print("goodbye\n");
    return 0;
}
