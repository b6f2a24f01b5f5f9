#include "runstate.h"
#include "time.h"

void watch_runstate(unsigned int vcpu, volatile vcpu_runstate_info_t *area)
{
    struct vcpu_register_runstate_memory_area arg = { .addr.v = (void *)area };

    if (vcpu_op(VCPUOP_register_runstate_memory_area, vcpu, &arg))
        panic("no runstate area");
}

/* Xen rewrites the area only when the vCPU does not run, and then changes the entry time. */
#define CONSISTENT(area, value) ({                          \
        uint64_t entry_, value_;                            \
        do {                                                \
            entry_ = (area)->state_entry_time;              \
            barrier();                                      \
            value_ = (value);                               \
            barrier();                                      \
        } while (entry_ != (area)->state_entry_time);       \
        value_; })

uint64_t time_running(const volatile vcpu_runstate_info_t *area)
{
    return CONSISTENT(area, area->time[RUNSTATE_running] + system_time() - area->state_entry_time);
}

uint64_t time_stolen(const volatile vcpu_runstate_info_t *area)
{
    return CONSISTENT(area, area->time[RUNSTATE_runnable] + area->time[RUNSTATE_offline]);
}
