#pragma once

void writes(void);                              /* sections of its own: writes to read-only page tables */
