/*
 * The one path that text takes out of (and keys take into) a guest: console_io, or the PV console ring of
 * xen:public/io/console.h. The ring's page is found by its frame number through the machine-to-physical table.
 */
#include "paging.h"
#include <xen/io/console.h>

start_info_t *start_info;

static volatile struct xencons_interface *ring;

int is_dom0(void)
{
    return (start_info->flags & SIF_INITDOMAIN) != 0;
}

static void notify_ring(void)
{
    struct evtchn_send send = { .port = start_info->console.domU.evtchn };

    event_channel_op(EVTCHNOP_send, &send);
}

void console_write(const char *text, size_t size)
{
    if (!ring) {
        console_io(CONSOLEIO_write, size, text);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        while (ring->out_prod - ring->out_cons >= sizeof(ring->out)) {
            notify_ring();
            sched_op(SCHEDOP_yield, 0);
        }
        ring->out[MASK_XENCONS_IDX(ring->out_prod, ring->out)] = text[i];
        barrier();                              /* the byte first, then the index that publishes it */
        ring->out_prod++;
    }
    notify_ring();
}

int console_read(void)
{
    unsigned char key;

    if (!ring)
        return console_io(CONSOLEIO_read, 1, &key) == 1 ? key : -1;
    if (ring->in_cons == ring->in_prod)
        return -1;
    barrier();
    key = ring->in[MASK_XENCONS_IDX(ring->in_cons, ring->in)];
    barrier();                                  /* the byte is read before its place is given back */
    ring->in_cons++;
    notify_ring();
    return key;
}

static void shut_down(unsigned int reason)
{
    struct sched_shutdown arg = { .reason = reason };

    while (ring && ring->out_cons != ring->out_prod)    /* the last words must leave first */
        sched_op(SCHEDOP_yield, 0);
    sched_op(SCHEDOP_shutdown, &arg);
    for (;;)
        ;
}

void poweroff(void)
{
    shut_down(SHUTDOWN_poweroff);
    __builtin_unreachable();
}

void panic(const char *why)
{
    print("panic: %s\n", why);
    shut_down(SHUTDOWN_crash);
    __builtin_unreachable();
}

/* Called by start-pv64.S. */
void guest_start(start_info_t *info)
{
    start_info = info;
    if (!is_dom0())
        ring = (void *)(VIRT_BASE + machine_to_physical[info->console.domU.mfn] * PAGE_SIZE);
    guest_main();
    poweroff();
}
