/* SPDX-License-Identifier: MIT */
/*
 * Feeds a fuzz target what fuzzing has found before: every line of the files that it is given. Takes
 * the place of libFuzzer in builds that have none, so that no compiler but the usual one is needed.
 *
 * A line is one input: printable ASCII as it is, but \\ \n \t \xNN for every other byte. Empty lines
 * and lines that begin with '#' are none. scripts/fuzz reads and writes the same form.
 * Each line's number is printed before it runs: after a crash the last one is that of the culprit.
 */
#include "fuzz.h"

#include <stdio.h>

#define LINE_MAX_BYTES (1u << 20)

static int digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* One byte from behind a backslash; moves *at. False: there is no such escape. */
static bool unescape(const char **at, uint8_t *out)
{
    char c = *(*at)++;
    int high, low;
    switch (c) {
    case 'n': *out = '\n'; return true;
    case 't': *out = '\t'; return true;
    case '\\': *out = '\\'; return true;
    case 'x':
        high = digit((*at)[0]);
        low = high < 0 ? -1 : digit((*at)[1]);
        if (low < 0)
            return false;
        *out = (uint8_t)(high << 4 | low);
        *at += 2;
        return true;
    }
    return false;
}

/* The input that a line stands for, in memory of exactly its size. */
static bool line_run(const char *line)
{
    uint8_t *bytes = malloc(strlen(line) + 1), *input;
    size_t n = 0;
    assert(bytes);
    for (bool good = true; *line; n++) {
        char c = *line++;
        bytes[n] = (uint8_t)c;
        if (c == '\\')
            good = unescape(&line, &bytes[n]);
        if (!good) {
            free(bytes);
            return false;
        }
    }
    input = malloc(n ? n : 1);
    assert(input);
    memcpy(input, bytes, n);
    free(bytes);
    LLVMFuzzerTestOneInput(input, n);
    free(input);
    return true;
}

/* Returns how many inputs there were, -1: it cannot be read. */
static int file_run(const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = malloc(LINE_MAX_BYTES);
    int inputs = 0, number = 0;
    assert(line);
    while (file && inputs >= 0 && fgets(line, LINE_MAX_BYTES, file)) {
        line[strcspn(line, "\n")] = '\0';
        number++;
        if (line[0] == '#' || line[0] == '\0')
            continue;
        fprintf(stderr, "%s:%d\n", path, number);
        inputs = line_run(line) ? inputs + 1 : -1;
    }
    free(line);
    if (!file || fclose(file) != 0)
        return -1;
    return inputs;
}

int main(int argc, char **argv)
{
    int inputs = 0;
    for (int i = 1; i < argc; i++) {
        int n = file_run(argv[i]);
        if (n <= 0) {
            fprintf(stderr, "%s: cannot be read, or a line is no input\n", argv[i]);
            return 1;
        }
        inputs += n;
    }
    printf("%d inputs\n", inputs);
    return inputs > 0 ? 0 : 1;
}
