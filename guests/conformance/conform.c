#include "conform.h"

unsigned char page[2 * PAGE_SIZE] __attribute__((aligned(4096)));
unsigned char read_only_page[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char cut_page[2 * PAGE_SIZE] __attribute__((aligned(4096)));

struct wild wild[] = {
    { "NULL", 0 },
    { "unmapped", UNMAPPED },
    { "in Xen", IN_XEN },
    { "non-canonical", NON_CANONICAL },
    { "at the last byte of the address space", -1UL },
    { "cut by an unmapped page", (unsigned long)cut_page + PAGE_SIZE - 1 },
};

static unsigned int checks;

void asked(const char *call)
{
    print("ok %u - %s: ", ++checks, call);
}

void *zeroed(void)
{
    return memset(page, 0, sizeof(page));
}

void *filled(void)
{
    return memset(page, FILL, sizeof(page));
}

unsigned int written(void)
{
    unsigned int size = sizeof(page);

    while (size > 0 && page[size - 1] == FILL)
        size--;
    return size;
}

long raw(unsigned long nr, unsigned long a1, unsigned long a2, unsigned long a3, unsigned long a4, unsigned long a5)
{
    register unsigned long rax asm("rax") = nr, rdi asm("rdi") = a1, rsi asm("rsi") = a2, rdx asm("rdx") = a3;
    register unsigned long r10 asm("r10") = a4, r8 asm("r8") = a5;

    asm volatile ("syscall" : "+r" (rax), "+r" (rdi), "+r" (rsi), "+r" (rdx), "+r" (r10), "+r" (r8) :: "rcx", "r9", "r11", "memory");
    return rax;
}

domid_t own_domid(void)
{
    struct evtchn_alloc_unbound port = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_status status = { .dom = DOMID_SELF };
    struct evtchn_close close;

    if (event_channel_op(EVTCHNOP_alloc_unbound, &port))
        panic("no free port");
    close.port = status.port = port.port;
    event_channel_op(EVTCHNOP_status, &status);
    event_channel_op(EVTCHNOP_close, &close);
    return status.u.unbound.dom;
}

void guest_main(void)
{
    print("TAP version 13\n");
    map_shared_info();
    remap(read_only_page, PTE_RDONLY);
    remap(cut_page + PAGE_SIZE, 0);
    suite();
    print("1..%u\n", checks);
}
