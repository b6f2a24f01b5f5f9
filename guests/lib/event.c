#include "event.h"
#include "paging.h"
#include "time.h"
#include "trap.h"

volatile struct event events[64];
volatile unsigned int upcalls;

/* The flag first, then the selector, then the words: an event that arrives meanwhile sets all three again. */
static int take_event(struct regs *regs)
{
    vcpu_info_t *vcpu = &shared_info->vcpu_info[0];
    uint64_t selector = 0;

    if (regs->vector != EVENT_CALLBACK)
        return 0;
    upcalls++;
    vcpu->evtchn_upcall_pending = 0;
    asm volatile ("xchgq %0, %1" : "+r" (selector), "+m" (vcpu->evtchn_pending_sel) :: "memory");
    if (selector & 1) {
        uint64_t ready = shared_info->evtchn_pending[0] & ~shared_info->evtchn_mask[0];

        asm volatile ("lock andq %1, %0" : "+m" (shared_info->evtchn_pending[0]) : "r" (~ready) : "memory");
        for (int port = 0; port < 64; port++)
            if (ready & 1UL << port) {
                events[port].count++;
                events[port].time = system_time();
            }
    }
    regs->iret_flags = 0;
    return 1;
}

void events_init(void)
{
    trap_hook = take_event;
}

int bind_virq(unsigned int virq, evtchn_port_t *port)
{
    struct evtchn_bind_virq bind = { .virq = virq, .vcpu = 0 };
    int rc = event_channel_op(EVTCHNOP_bind_virq, &bind);

    if (!rc)
        *port = bind.port;
    return rc;
}

void mask_port(evtchn_port_t port)
{
    asm volatile ("lock btsq %1, %0" : "+m" (shared_info->evtchn_mask[0]) : "r" ((uint64_t)port) : "memory", "cc");
}

long unmask_port(evtchn_port_t port)
{
    struct evtchn_unmask unmask = { .port = port };

    return event_channel_op(EVTCHNOP_unmask, &unmask);
}

int is_pending(evtchn_port_t port)
{
    return shared_info->evtchn_pending[0] >> port & 1;
}

void clear_pending(evtchn_port_t port)
{
    asm volatile ("lock btrq %1, %0" : "+m" (shared_info->evtchn_pending[0]) : "r" ((uint64_t)port) : "memory", "cc");
}
