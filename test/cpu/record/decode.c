/*
 * Asks the real CPU how it decodes: reads cases from stdin (mode 64 or 32, then 15 bytes), writes for each the number of
 * bytes that the CPU fetched before it decided, and the exception vector (1: executed). An instruction is laid against the
 * end of a page whose successor cannot be fetched, one byte more at a time, and single-stepped with registers that make
 * every memory access fault.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define PAGE 0x10000
#define END (PAGE + 0x1000)
#define COMPATIBILITY_CS 0x23
#define TF 0x100

static uint8_t *cases, *results;
static long count, current = -1;
static int size;
static uint64_t fs_base;
static ucontext_t start;

static void restore_fs(void)
{
    long result;
    asm volatile("syscall" : "=a"(result) : "0"(SYS_arch_prctl), "D"(0x1002), "S"(fs_base) : "rcx", "r11", "memory");
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)number, (void)info;
    restore_fs();
    if (current < 0) {
        memcpy(start.uc_mcontext.gregs, registers, sizeof start.uc_mcontext.gregs);
        current = 0, size = 1;
    } else {
        int vector = registers[REG_TRAPNO];
        if (vector == 14 && (registers[REG_ERR] & 16) && registers[REG_CR2] == END && registers[REG_RIP] == END - size && size < 15)
            size++;
        else {
            results[current * 2] = size;
            results[current * 2 + 1] = vector;
            current++, size = 1;
        }
    }
    memcpy(registers, start.uc_mcontext.gregs, sizeof start.uc_mcontext.gregs);
    if (current == count) {
        registers[REG_RIP] += 2; /* behind the UD2 that began it */
        return;
    }
    const uint8_t *bytes = cases + current * 16;
    memcpy((uint8_t *)END - size, bytes + 1, size);
    const int zeroed[] = { REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    for (unsigned i = 0; i < sizeof zeroed / sizeof *zeroed; i++)
        registers[zeroed[i]] = 0;
    registers[REG_RAX] = 0x1ff; /* no system call, no segment selector */
    registers[REG_RIP] = END - size;
    registers[REG_EFL] = 0x202 | TF;
    if (bytes[0] == 32)
        registers[REG_CSGSFS] = (registers[REG_CSGSFS] & ~0xffff) | COMPATIBILITY_CS;
}

int main(int argc, char **argv)
{
    const int signals[] = { SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP };
    stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    if (argc != 2)
        return 1;
    count = atol(argv[1]);
    cases = malloc(count * 16);
    results = malloc(count * 2);
    if (fread(cases, 16, count, stdin) != (size_t)count)
        return 1;
    mmap((void *)PAGE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    mmap((void *)END, 0x1000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    syscall(SYS_arch_prctl, 0x1003, &fs_base);
    sigaltstack(&stack, 0);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, 0);
    asm volatile("ud2" ::: "memory");
    fwrite(results, 2, count, stdout);
    return 0;
}
