/*
 * Runs instructions on the real CPU: reads cases from stdin, writes the resulting states to stdout. Built and fed by
 * record.ts. With TF in the input flags it also counts instructions. Code lies at 0x10000, a memory window of 256 bytes at
 * 0x28000, both as in the emulated machine of the tests.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define CODE 0x10000
#define WINDOW 0x28000
#define TF 0x100
#ifndef CODE_SIZE
#define CODE_SIZE 31
#endif

struct input {
    uint8_t length, code[CODE_SIZE];
    uint64_t gpr[16], flags;
    uint8_t fx[512], window[256];
};

struct output {
    uint64_t gpr[16], flags;
    int64_t vector; /* of an exception, or -1 - the instructions counted */
    uint8_t fx[512], window[256];
};

uint64_t gpr[16], flags, host_rsp, leave_at;
uint8_t fx[512] __attribute__((aligned(16))), host_fx[512] __attribute__((aligned(16)));
extern void enter(void);
extern char leave_here[];

asm(".text\n"
    "enter: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    " fxsave64 host_fx; mov %rsp, host_rsp; fxrstor64 fx; pushq flags; popfq\n"
    " mov gpr+32, %rsp; mov gpr, %rax; mov gpr+8, %rcx; mov gpr+16, %rdx; mov gpr+24, %rbx\n"
    " mov gpr+40, %rbp; mov gpr+48, %rsi; mov gpr+56, %rdi; mov gpr+64, %r8; mov gpr+72, %r9\n"
    " mov gpr+80, %r10; mov gpr+88, %r11; mov gpr+96, %r12; mov gpr+104, %r13; mov gpr+112, %r14\n"
    " mov gpr+120, %r15; jmp 0x10000\n"
    "leave_here: mov %rax, gpr; mov %rcx, gpr+8; mov %rdx, gpr+16; mov %rbx, gpr+24; mov %rsp, gpr+32\n"
    " mov %rbp, gpr+40; mov %rsi, gpr+48; mov %rdi, gpr+56; mov %r8, gpr+64; mov %r9, gpr+72\n"
    " mov %r10, gpr+80; mov %r11, gpr+88; mov %r12, gpr+96; mov %r13, gpr+104; mov %r14, gpr+112\n"
    " mov %r15, gpr+120; mov host_rsp, %rsp; pushfq; popq flags; cld; fxsave64 fx; fxrstor64 host_fx\n"
    " pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static int64_t vector;
static uint64_t end;
static int is_stepping;

static void on_signal(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)number, (void)info;
    if (is_stepping && registers[REG_TRAPNO] == 1) {
        uint64_t rip = registers[REG_RIP];
        if (rip >= CODE && rip <= end)
            vector--;
        else if (rip == (uint64_t)leave_here)
            registers[REG_EFL] &= ~TF;
        return;
    }
    vector = registers[REG_TRAPNO];
    registers[REG_EFL] &= ~0x500;
    registers[REG_RIP] = (greg_t)leave_here;
}

int main(void)
{
    static struct input in;
    static struct output out;
    const int signals[] = { SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP };
    stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    mmap((void *)CODE, 0x30000, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    sigaltstack(&stack, 0);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, 0);
    leave_at = (uint64_t)leave_here;
    while (fread(&in, sizeof in, 1, stdin) == 1) {
        uint8_t *tail = (uint8_t *)CODE + in.length;
        uint32_t pointer = (uint32_t)(uint64_t)&leave_at;
        memcpy((void *)CODE, in.code, in.length);
        memcpy(tail, (uint8_t[]){ 0xff, 0x24, 0x25 }, 3); /* jmp *leave_at */
        memcpy(tail + 3, &pointer, 4);
        memcpy((void *)WINDOW, in.window, sizeof in.window);
        memcpy(gpr, in.gpr, sizeof gpr);
        memcpy(fx, in.fx, sizeof fx);
        flags = in.flags;
        /* The jump to the first instruction is counted, too. */
        end = (uint64_t)CODE + in.length;
        is_stepping = (flags & TF) != 0;
        vector = is_stepping ? 0 : -1;
        enter();
        memcpy(out.gpr, gpr, sizeof gpr);
        memcpy(out.fx, fx, sizeof fx);
        out.flags = flags;
        out.vector = vector;
        memcpy(out.window, (void *)WINDOW, sizeof out.window);
        fwrite(&out, sizeof out, 1, stdout);
    }
    return 0;
}
