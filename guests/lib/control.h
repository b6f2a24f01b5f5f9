/*
 * What the toolstack asks of a domain: a word in its xenstore node control/shutdown, which the guest takes away before it
 * obeys. The ring is looked at when obey_control() is called; no event is needed.
 */
#pragma once
#include "guest.h"

void control_init(void);                        /* watches the node; dom0 is asked nothing */
void obey_control(void);                        /* does not return when the guest shall power off or reboot */
