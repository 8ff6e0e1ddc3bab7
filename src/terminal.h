/* terminal: how wide it is, and whether it shows more than ASCII. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* Columns: those of the terminal that `fd` is; else what COLUMNS says; else 80. */
size_t terminal_columns(int fd);
/* Is `fd` a terminal, and does the locale say UTF-8? */
bool terminal_is_utf8(int fd);

#endif
