/*
 * What a vCPU's time went into, as Xen tells it in the runstate area: a record that is complete while the vCPU runs, as Xen
 * writes it when it puts the vCPU on a CPU.
 */
#pragma once
#include "guest.h"

void watch_runstate(unsigned int vcpu, volatile vcpu_runstate_info_t *area);
uint64_t time_running(const volatile vcpu_runstate_info_t *area);       /* until now, by the vCPU that it is about */
uint64_t time_stolen(const volatile vcpu_runstate_info_t *area);        /* wanted to run, and did not: runnable or offline */
