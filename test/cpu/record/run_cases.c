// Executes recorded cases on the real CPU: reads cases from standard input, writes outcomes to standard output. A case is
// one instruction and a complete user-mode state, an outcome the state behind it or the exception that it raised.
// Formats: test/support/vectors.ts. Build: gcc -O1 -o run_cases run_cases.c
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define CODE 0x100000
#define WINDOW 0x200000
#define WINDOW_SIZE 640

// The layout of a state image; assembler below knows its offsets.
struct state {
  uint64_t gpr[16];
  uint64_t rflags;
  uint64_t unused;
  uint8_t fx[512];
  uint8_t window[WINDOW_SIZE];
} __attribute__((aligned(16)));

struct input {
  uint32_t size;
  uint8_t code[28];
  struct state state;
};

struct outcome {
  uint32_t vector; // 0xffffffff: none
  uint32_t mxcsr;  // at the exception
  uint64_t unused;
  struct state state;
};

struct state in, out;
void *host_rsp;
void execute(void);

__asm__(
  ".text\n.globl execute\nexecute:\n"
  "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
  "mov %rsp, host_rsp(%rip)\n"
  "fxrstor64 in+144(%rip)\n"
  "pushq in+128(%rip); popfq\n"
  "mov in+0(%rip), %rax; mov in+8(%rip), %rcx; mov in+16(%rip), %rdx; mov in+24(%rip), %rbx\n"
  "mov in+32(%rip), %rsp; mov in+40(%rip), %rbp; mov in+48(%rip), %rsi; mov in+56(%rip), %rdi\n"
  "mov in+64(%rip), %r8; mov in+72(%rip), %r9; mov in+80(%rip), %r10; mov in+88(%rip), %r11\n"
  "mov in+96(%rip), %r12; mov in+104(%rip), %r13; mov in+112(%rip), %r14; mov in+120(%rip), %r15\n"
  "jmp *code_address(%rip)\n"
  ".globl finish\nfinish:\n"
  "mov %rax, out+0(%rip); mov %rcx, out+8(%rip); mov %rdx, out+16(%rip); mov %rbx, out+24(%rip)\n"
  "mov %rsp, out+32(%rip); mov %rbp, out+40(%rip); mov %rsi, out+48(%rip); mov %rdi, out+56(%rip)\n"
  "mov %r8, out+64(%rip); mov %r9, out+72(%rip); mov %r10, out+80(%rip); mov %r11, out+88(%rip)\n"
  "mov %r12, out+96(%rip); mov %r13, out+104(%rip); mov %r14, out+112(%rip); mov %r15, out+120(%rip)\n"
  "mov host_rsp(%rip), %rsp\n"
  "pushfq; popq out+128(%rip)\n"
  "fxsave64 out+144(%rip)\n"
  "cld\n"
  "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
  "ret\n"
  ".data\ncode_address: .quad 0x100000\n.text\n");
extern char finish[];

static sigjmp_buf escape;
static uint32_t vector, mxcsr;

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  ucontext_t *c = context;
  vector = (uint32_t)c->uc_mcontext.gregs[REG_TRAPNO];
  mxcsr = c->uc_mcontext.fpregs->mxcsr;
  siglongjmp(escape, 1);
}

static void *map(uintptr_t at, size_t size, int protection) {
  void *got = mmap((void *)at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (got != (void *)at) exit((perror("mmap"), 1));
  return got;
}

int main(void) {
  uint8_t *code = map(CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
  uint8_t *window = map(WINDOW, 4096, PROT_READ | PROT_WRITE);
  stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
  sigaltstack(&stack, NULL);
  struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
  for (int *s = (int[]){ SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, 0 }; *s; s++) sigaction(*s, &action, NULL);

  static struct input input;
  static struct outcome outcome;
  while (fread(&input, sizeof input, 1, stdin) == 1) {
    memcpy(code, input.code, input.size);
    uint8_t jump[6] = { 0xff, 0x25, 0, 0, 0, 0 };
    memcpy(code + input.size, jump, 6);
    *(uint64_t *)(code + input.size + 6) = (uintptr_t)finish;
    in = input.state;
    memcpy(window, in.window, WINDOW_SIZE);
    memset(&outcome, 0, sizeof outcome);
    if (sigsetjmp(escape, 1) == 0) {
      execute();
      out.unused = 0;
      outcome.vector = 0xffffffff;
      outcome.state = out;
      memcpy(outcome.state.window, window, WINDOW_SIZE);
    } else {
      outcome.vector = vector;
      outcome.mxcsr = mxcsr;
      outcome.state = in;
    }
    uint32_t standard = 0x1f80;
    __asm__ volatile("cld; fninit; ldmxcsr %0" : : "m"(standard));
    fwrite(&outcome, sizeof outcome, 1, stdout);
  }
  return 0;
}
