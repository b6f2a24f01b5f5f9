/* Numbers on a command line. */
#pragma once
#include "guest.h"

/* What comes behind the number at `text`; without one `number` stays. */
static inline const char *read_number(const char *text, uint32_t *number)
{
    while (*text == ' ')
        text++;
    if (*text >= '0' && *text <= '9')
        for (*number = 0; *text >= '0' && *text <= '9'; text++)
            *number = *number * 10 + *text - '0';
    return text;
}
