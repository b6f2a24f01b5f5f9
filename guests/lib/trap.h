/*
 * Exceptions and callbacks, and probes: a probe runs a few instructions that are expected to trap, notes what Xen
 * delivered, and goes on behind them.
 */
#pragma once

/* Vectors above the trap table's 256, for the three callbacks. */
#define EVENT_CALLBACK    256
#define FAILSAFE_CALLBACK 257
#define SYSCALL_CALLBACK  258

/* #DF #TS #NP #SS #GP #PF #AC push an error code. */
#define ERROR_CODE_VECTORS 0x00027d00

#define KERNEL_CS 0xe033                        /* FLAT_RING3_CS64; a frame shows it with RPL 0, kernel mode */
#define KERNEL_SS 0xe02b

#define TI_CLEAR_EVENTS 4                       /* trap_info.flags: enter with events masked */

#define RFLAGS_CF 0x1
#define RFLAGS_TF 0x100
#define RFLAGS_IF 0x200
#define RFLAGS_IOPL 0x3000
#define RFLAGS_NT 0x4000
#define RFLAGS_RF 0x10000
#define RFLAGS_AC 0x40000

#ifndef __ASSEMBLER__
#include "guest.h"

struct regs {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector;
    union { uint64_t error, iret_flags; };      /* the first on the way in, the second on the way out */
    uint64_t rip;
    uint16_t cs, pad1;
    uint8_t saved_upcall_mask, pad2[3];
    uint64_t rflags, rsp, ss;
};

extern struct probe {
    uint64_t rsp;
    uint64_t start, resume;                     /* where the probed instructions begin, and where to go on */
    const volatile void *target;                /* the address they touch; cr2 is told relative to it */
    unsigned int count;                         /* traps so far */
    struct regs regs;                           /* as the first trap delivered them */
    uint64_t cr2;
    uint64_t iret_flags;                        /* 0 or VGCF_in_syscall: how to go back */
    uint8_t upcall_mask;                        /* evtchn_upcall_mask inside the handler */
} probe;

/* PROBE("instructions", outputs : inputs : clobbers) */
#define PROBE(instructions, ...) do {                                       \
        probe.count = 0;                                                    \
        barrier();                                                          \
        asm volatile ("movq %%rsp, probe\n\tmovq $1f, probe+8\n\tmovq $2f, probe+16\n" \
                      "1:\t" instructions "\n"                              \
                      "2:\tmovq $0, probe+16" : __VA_ARGS__);                \
        barrier();                                                          \
    } while (0)

extern char trap_entries[], event_entry[], failsafe_entry[], syscall_entry[];
extern uint64_t failsafe_selectors[4];          /* ds es fs gs */
#define TRAP_ENTRY(vector) ((uint64_t)trap_entries + 16 * (vector))

/* A guest may take traps itself: handled when it returns nonzero. Called before any probe sees the trap. */
extern int (*trap_hook)(struct regs *regs);

/* Takes over shared_info, the exceptions 0-19 and the three callbacks; events stay masked. */
void traps_init(void);
void set_trap(unsigned int vector, unsigned int flags, uint64_t address);
void return_to(const struct regs *regs) __attribute__((noreturn));

/* "ud2   -> #UD at +0": what the last probe met. */
void report(const char *what);
const char *vector_name(unsigned int vector);
#endif
