/*
 * What the toolstack asks of a domain: a word in its xenstore node control/shutdown, which the guest takes away before it
 * obeys, and in cpu/N/availability which of its vCPUs it shall use. The ring is looked at when obey_control() is called; no
 * event is needed.
 */
#pragma once
#include "guest.h"

void control_init(void);                        /* watches the node; dom0 is asked nothing */
void control_watch_vcpus(void);                 /* after control_init() */
int vcpu_is_wanted(unsigned int vcpu);          /* as far as obey_control() knows; at first all are */
void obey_control(void);                        /* does not return when the guest shall power off or reboot */
