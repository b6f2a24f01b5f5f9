/*
 * The conformance suite's own TAP: a check is one call and one line, and the line has everything that was asked and answered:
 *
 *     ok 17 - event_channel_op.send: port 9 -> -EINVAL
 *     ok 18 - xen_version.get_features: submap 1 -> -EINVAL {submap=0}
 *     ok 19 - memory_op.populate_physmap: one page: is the m2p entry right? -> yes
 *
 * What is before the colon is the call, what is behind the arrow the answer. No program here knows what is right: the real
 * Xen's output is committed beside it (NAME.domU.tap, NAME.dom0.tap) and `beneath conform` compares.
 * So a line must be the same on every machine and run: no address, frame, time or domain number, only relations of them.
 */
#pragma once
#include "event.h"
#include "paging.h"

/* check("event_channel_op.send", send(9), "port %u", 9), and its answer as value. */
#define check(call, answer, ...) ({                 \
        long answer_ = (answer);                    \
        asked(call);                                \
        print(__VA_ARGS__);                         \
        print(" -> %s\n", errno_name(answer_));     \
        answer_; })

/* The same with out fields: check_out("...", call(&arg), ("port %u", 9), ("status=%u", arg.status)). */
#define check_out(call, answer, words, out) ({      \
        long answer_ = (answer);                    \
        asked(call);                                \
        print words;                                \
        print(" -> %s {", errno_name(answer_));     \
        print out;                                  \
        print("}\n");                               \
        answer_; })

/* What must hold for a call: fact("...", a == b, "is it so?"). */
#define fact(call, condition, ...) do {             \
        int holds_ = (condition) != 0;              \
        asked(call);                                \
        print(__VA_ARGS__);                         \
        print(" -> %s\n", holds_ ? "yes" : "no");   \
    } while (0)

/* Pointers that no call may follow. The last two begin well: one page is there, the next is not. */
struct wild { const char *name; unsigned long address; };
extern struct wild wild[];
#define WILD        6
#define CUT         5                           /* index of the pointer whose first byte is the last of a mapped page */
#define for_wild(w) for (struct wild *w = wild; w < wild + WILD; w++)

#define UNMAPPED      8UL
#define IN_XEN        0xffff830000000000UL
#define NON_CANONICAL 0x800000000000UL
#define READ_ONLY     ((unsigned long)read_only_page)
#define FILL          0x55

extern unsigned char read_only_page[PAGE_SIZE];
/* Two pages for arguments; `zeroed` and `filled` (FILL) prepare them. */
extern unsigned char page[2 * PAGE_SIZE];
void *zeroed(void);
void *filled(void);
unsigned int written(void);                     /* bytes of `page` that a call wrote since `filled` */

void asked(const char *call);
/* A batch of the same call: for each wild pointer. */
#define check_wild(call, answer, what) for_wild(w) check(call, answer, "%s %s", what, w->name)

/* Any hypercall by number; argument registers in order. */
long raw(unsigned long nr, unsigned long a1, unsigned long a2, unsigned long a3, unsigned long a4, unsigned long a5);

/* The guest's own domain number, which a domU can only learn from an event channel. */
domid_t own_domid(void);

void suite(void);                               /* each program's own */
