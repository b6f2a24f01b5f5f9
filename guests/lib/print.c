/*
 * printf for %s %c %d %u %x with an optional l, a width and a leading 0; and the few string functions that gcc may call.
 * A line is gathered and written at once, so that it is one console_io call or one ring notification.
 */
#include "guest.h"
#include <stdarg.h>

static char line[1024];
static size_t line_size;

static void flush(void)
{
    console_write(line, line_size);
    line_size = 0;
}

static void put(char c)
{
    line[line_size++] = c;
    if (c == '\n' || line_size == sizeof(line))
        flush();
}

static void put_padded(const char *text, int width, char pad)
{
    for (int i = strlen(text); i < width; i++)
        put(pad);
    while (*text)
        put(*text++);
}

static char *digits(char *end, uint64_t value, unsigned int base)
{
    *--end = 0;
    do
        *--end = "0123456789abcdef"[value % base];
    while (value /= base);
    return end;
}

void print(const char *format, ...)
{
    char number[24], *end = number + sizeof(number);
    va_list args;

    va_start(args, format);
    for (; *format; format++) {
        int width = 0, left = 0, wide = 0;
        char pad = ' ';
        long value;

        if (*format != '%') {
            put(*format);
            continue;
        }
        if (*++format == '-') {
            left = 1;
            format++;
        }
        if (*format == '0')
            pad = '0';
        while (*format >= '0' && *format <= '9')
            width = width * 10 + *format++ - '0';
        while (*format == 'l') {
            wide = 1;
            format++;
        }
        switch (*format) {
        case 's': {
            const char *text = va_arg(args, const char *);

            put_padded(text, left ? 0 : width, ' ');
            for (int i = strlen(text); left && i < width; i++)
                put(' ');
            break;
        }
        case 'c':
            put(va_arg(args, int));
            break;
        case 'd':
            value = wide ? va_arg(args, long) : va_arg(args, int);
            if (value < 0)
                put('-');
            put_padded(digits(end, value < 0 ? -(uint64_t)value : (uint64_t)value, 10), width, pad);
            break;
        case 'u':
        case 'x':
            value = wide ? va_arg(args, long) : (long)va_arg(args, unsigned int);
            put_padded(digits(end, value, *format == 'u' ? 10 : 16), width, pad);
            break;
        default:
            put(*format);
        }
    }
    va_end(args);
}

const char *errno_name(long result)
{
    static char other[24];
    char *text;

    if (result == 0)
        return "0";
#define XEN_ERRNO(name, value)      \
    if (result == -(value))         \
        return "-" #name;
#include <xen/errno.h>
    text = digits(other + sizeof(other), result < 0 ? -(uint64_t)result : (uint64_t)result, 10);
    if (result < 0)
        *--text = '-';
    return text;
}

void section(const char *title)
{
    print("== %s\n", title);
}

void result(const char *what, long result)
{
    print("%-52s -> %s\n", what, errno_name(result));
}

void claim(const char *what, int holds)
{
    print("%-52s -> %s\n", what, holds ? "ok" : "NO");
}

void *memcpy(void *to, const void *from, size_t size)
{
    void *start = to;

    asm volatile ("rep movsb" : "+D" (to), "+S" (from), "+c" (size) :: "memory");
    return start;
}

void *memset(void *to, int byte, size_t size)
{
    void *start = to;

    asm volatile ("rep stosb" : "+D" (to), "+c" (size) : "a" (byte) : "memory");
    return start;
}

size_t strlen(const char *text)
{
    size_t size = 0;

    while (text[size])
        size++;
    return size;
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}
