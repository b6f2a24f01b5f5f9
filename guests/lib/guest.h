/*
 * What every guest here stands on: its start_info, one console, printf, and an orderly end.
 * The console is console_io for dom0 (no ring there) and the PV console ring for a domU (where Xen refuses
 * console_io), so the same program prints the same text in both places.
 */
#pragma once

#include "hypercall.h"

#define VIRT_BASE 0xffffffff80000000UL          /* pseudo-physical page 0, see guest.lds */
#define PAGE_SIZE 4096UL
#define barrier() asm volatile ("" ::: "memory")

extern start_info_t *start_info;

void guest_main(void);                          /* each guest's own */

int is_dom0(void);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void console_write(const char *text, size_t size);
int console_read(void);                         /* the next key, or -1 when there is none now */
void poweroff(void) __attribute__((noreturn));
void panic(const char *why) __attribute__((noreturn));

/* A heading; "what    -> -EINVAL"; "what    -> ok" or "NO". */
void section(const char *title);
void result(const char *what, long result);
void claim(const char *what, int holds);

/* "0", "-EINVAL" and so on: the names of the errnos that these guests meet. */
const char *errno_name(long result);

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int strcmp(const char *a, const char *b);
size_t strlen(const char *text);
