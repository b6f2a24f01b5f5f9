/*
 * Random instructions that ring -1 is asked about. repertoire.c chooses one with its operands and prints what it is; the frame,
 * instructions.c, runs it and prints what came of it. Everything lies at the same addresses in kernel and in user mode.
 */
#pragma once
#include "paging.h"
#include "trap.h"

/* Pages from USER_BASE on. */
#define CODE      0x400000UL                    /* the instruction; what is behind it is int3 */
#define STACK     0x402000UL                    /* two pages, behind an absent one */
#define DATA      0x404000UL                    /* then an absent one */
#define READ_ONLY 0x406000UL
#define PRIVATE   0x407000UL                    /* without US, which Xen adds for the kernel */
#define STACK_TOP (STACK + 0x1c00)              /* rsp; what stands there an instruction may pop */

#define IN_XEN        0xffff830000000000UL
#define NON_CANONICAL 0x800000000000UL

#define DESCRIPTORS 24                          /* of the GDT and of the LDT; those that Xen refuses are left out */
#define KERNEL_MODE 0
#define USER_MODE   1

struct step {
    struct regs regs;                           /* as it begins */
    unsigned char code[32];
    unsigned int size;
    unsigned char *rex;                         /* that prefix, if there is one */
    int is_undefined;                           /* most likely #UD */
    int mode, bits;                             /* KERNEL_MODE, USER_MODE; 64, 32 */
    uint64_t hidden;                            /* registers whose values are the machine's, by bit; see HIDE_* */
    uint64_t frame[6];                          /* at STACK_TOP */
    uint16_t segments[4];                       /* ds es fs gs */
    uint64_t bases[3];                          /* fs, gs, the other mode's gs */
    uint64_t debug[5];                          /* dr0 to dr3, dr7 */
    int task_switched;
    unsigned int iopl;
    uint64_t cr4;
};

/* Bits of `hidden`: a register by its number in instructions, and memory. */
#define HIDE(register) (1UL << (register))
#define HIDE_MEMORY (1UL << 16)
#define HIDE_UNDEFINED (1UL << 17)              /* bits 16 to 19 of what LAR gives */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R11 = 11, R15 = 15 };

extern int as_dom0;
unsigned int any(unsigned int below);
#define chance(n) (any(n) == 0)
#define one_of(list) ((list)[any(sizeof(list) / sizeof(*(list)))])

extern const uint64_t descriptors[DESCRIPTORS];
void choose(struct step *step);                 /* fills it, and prints what it is */
void set_register(struct step *step, unsigned int number, uint64_t value);
uint64_t get_register(const struct regs *regs, unsigned int number);
extern const char *const register_names[16];
