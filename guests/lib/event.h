/*
 * Two-level event channels: Xen sets a port's bit in shared_info->evtchn_pending, and where the port is not masked, calls
 * the event callback, which here only counts.
 */
#pragma once
#include "guest.h"

struct event { unsigned int count; uint64_t time; };    /* how many came; system time of the last */

extern volatile struct event events[64];        /* by port: the few ports of these guests are below 64 */
extern volatile unsigned int upcalls;

void events_init(void);                         /* after traps_init; takes trap_hook */
int bind_virq(unsigned int virq, evtchn_port_t *port);
void mask_port(evtchn_port_t port);
long unmask_port(evtchn_port_t port);
int is_pending(evtchn_port_t port);
void clear_pending(evtchn_port_t port);
