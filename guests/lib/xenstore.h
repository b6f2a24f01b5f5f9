/*
 * Xenstore for a guest that waits for each answer: one request at a time, no watches, no transactions. Paths are relative to
 * the domain's own. xen:public/io/xs_wire.h.
 */
#pragma once
#include "guest.h"

void xenstore_init(void);
int xenstore_read(const char *path, char *value, size_t size);         /* its length, -1: it cannot be read; ends with a 0 */
int xenstore_write(const char *path, const char *value);               /* 0, or -1 */
