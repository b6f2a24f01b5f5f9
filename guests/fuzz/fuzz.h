/*
 * Random hypercalls. A generator fills a struct call and prints what it asks for; fuzz.c makes the call, alone or in a
 * multicall, and prints what came of it: the answer, the words of the arguments that changed, and the memory that changed
 * (watch.c). No line may depend on a machine: frames have names, times are hidden.
 */
#pragma once
#include "guest.h"
#include "paging.h"
#include "trap.h"
#include <xen/grant_table.h>

#define PAGES   8                               /* p0 ... */
#define TABLES  6                               /* t0 ... */
#define EXTRAS  4                               /* x0 ...: frames that come and go */
#define WINDOWS 8                               /* w0 ...: addresses without a frame of their own */
#define FIRST_REF 16                            /* of the grants that are played with */
#define REFS    10
#define PORTS   16                              /* from first_port on */
#define RANGES  6

#define UNMAPPED      8UL
#define IN_XEN        0xffff830000000000UL
#define NON_CANONICAL 0x800000000000UL

/* Memory of the guest that a call may change. What its 4-byte words are: '.' a number, '-' hidden, 'h' a number in its upper
   half, 'f' with the next one a frame, 'm' with the next one a machine address; the last letter stands for all that follow. */
struct range { unsigned char *at; unsigned int size; const char *words; };

struct call {
    unsigned long nr, args[5];
    struct range ranges[RANGES];
    unsigned int ranges_used;
    int is_hidden;                              /* an answer above 0 depends on the machine */
    void (*after)(const struct call *call, long answer);
};

struct pick { const char *name; uint64_t value; };

extern unsigned char pages[PAGES][PAGE_SIZE], tables[TABLES][PAGE_SIZE], windows[WINDOWS][PAGE_SIZE], table_page[PAGE_SIZE];
extern uint64_t extras[EXTRAS];                 /* 0: none */
extern domid_t self;
extern evtchn_port_t first_port;
extern unsigned int last_handle, grant_version;
/* This step copies what is the machine's, frame numbers for example: changes of pages are undone and not told. */
extern int is_hushed;

/* random.c */
void random_init(uint32_t seed);
unsigned int any(unsigned int below);           /* 0 to below - 1 */
#define chance(n) (any(n) == 0)
#define one_of(list) ((list)[any(sizeof(list) / sizeof(*(list)))])
struct pick frame(void);                        /* any that there is, or is not */
struct pick own_frame(void);                    /* of p, t or x: its content is ours to lose */
struct pick domain(void);
struct pick address(void);                      /* a virtual one */
struct pick count_of(unsigned int sane);        /* mostly 1 to `sane` */
uint64_t flags_of_entry(void);
uint64_t number(void);                          /* 64 bits that may mean something */
evtchn_port_t port(void);
unsigned int vcpu_number(void);
const char *frame_name(uint64_t mfn);
int is_page(uint64_t mfn);                      /* a p: with a content that is the same everywhere */

/* fuzz.c: arguments. `argument` is memory for this step, set to zero; `pointer` its address, or one that fails. */
void *argument(struct call *call, unsigned int size, const char *words);
uint64_t pointer(struct call *call, void *argument, unsigned int size);
uint64_t pointer_to_many(struct call *call, void *argument, unsigned int size, int has_end);  /* with has_end there is nothing behind it */
void *scratch(unsigned int size);               /* memory for this step that is not told about */

typedef void generator(struct call *call);
generator an_event, a_grant, an_entry, an_extended, a_memory, a_cpu, a_vcpu, another, a_raw;
void an_instruction(void);

/* watch.c */
void watch_init(void);
void tell_changes(void);
void tell_queues(void);                         /* events.c */
void tell_word(const char *kind, const unsigned char *at);
