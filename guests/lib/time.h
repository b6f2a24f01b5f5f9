/*
 * Time as Xen tells it: nanoseconds since boot from vcpu_time_info and the TSC, seconds since 1970 from the wall clock
 * of shared_info. Xen rewrites both while we read, so each is read between two looks at its version.
 */
#pragma once
#include <stdint.h>

#define MILLISECOND 1000000UL
#define SECOND      (1000 * MILLISECOND)

uint64_t system_time(void);
void wall_clock(uint64_t *seconds, uint32_t *nanoseconds);      /* of the moment when system_time was 0 */

/* Gives the CPU away for a while (sched_op poll of no port); events may be taken meanwhile. */
void sleep_for(uint64_t nanoseconds);
