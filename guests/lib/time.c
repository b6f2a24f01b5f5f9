#include "time.h"
#include "paging.h"

uint64_t system_time(void)
{
    volatile vcpu_time_info_t *info = &shared_info->vcpu_info[0].time;
    uint32_t version, low, high;
    uint64_t delta, scaled, time;

    do {
        version = info->version;
        barrier();
        asm volatile ("rdtsc" : "=a" (low), "=d" (high));
        delta = ((uint64_t)high << 32 | low) - info->tsc_timestamp;
        delta = info->tsc_shift >= 0 ? delta << info->tsc_shift : delta >> -info->tsc_shift;
        asm ("mulq %3" : "=a" (scaled), "=d" (time) : "a" (delta), "r" ((uint64_t)info->tsc_to_system_mul) : "cc");
        time = info->system_time + (time << 32 | scaled >> 32);
        barrier();
    } while (version & 1 || version != info->version);
    return time;
}

void wall_clock(uint64_t *seconds, uint32_t *nanoseconds)
{
    volatile shared_info_t *info = shared_info;
    uint32_t version;

    do {
        version = info->wc_version;
        barrier();
        *seconds = (uint64_t)info->wc_sec_hi << 32 | info->wc_sec;
        *nanoseconds = info->wc_nsec;
        barrier();
    } while (version & 1 || version != info->wc_version);
}

void sleep_for(uint64_t nanoseconds)
{
    struct sched_poll poll = { .timeout = system_time() + nanoseconds };

    while (system_time() < poll.timeout)        /* an event on any port ends a poll of none */
        sched_op(SCHEDOP_poll, &poll);
}
