#include "numbered.h"

static char line[80];

const char *numbered(const char *name, long number)
{
    char digits[24], *end = digits + sizeof(digits), *to = line;
    unsigned long value = number < 0 ? -(unsigned long)number : (unsigned long)number;

    *--end = 0;
    do
        *--end = '0' + value % 10;
    while (value /= 10);
    if (number < 0)
        *--end = '-';
    while (*name)
        *to++ = *name++;
    *to++ = ' ';
    while (*end)
        *to++ = *end++;
    *to = 0;
    return line;
}
