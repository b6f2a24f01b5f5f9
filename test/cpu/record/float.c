// Records what the processor of this machine answers to SSE and x87 instructions on special and random operands, for
// test/cpu/float.test.ts to replay. Build and run: gcc -O1 -o float float.c && ./float SSE_CASES X87_CASES SEED | gzip -9n
// Output: one JSON line naming the SSE instructions in the order of their numbers and the number of records of each
// section, then `struct sse_case`s, then `struct x87_case`s, little endian.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static u64 seed = 1;
static u64 rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed * 0x2545f4914f6cdd1dull;
}
static u32 below(u32 n) { return (u32)((rnd() >> 33) % n); }

static u8 *code;
static sigjmp_buf escape;
static u32 mxcsr_at_signal;

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)info;
  mxcsr_at_signal = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  siglongjmp(escape, number);
}

// A significand of `bits` bits: few leading ones, few trailing ones, all ones, one bit, or random.
static u64 fraction(int bits) {
  u64 all = bits == 64 ? ~0ull : (1ull << bits) - 1;
  switch (below(8)) {
  case 0: return 0;
  case 1: return all;
  case 2: return (all << below(bits)) & all;
  case 3: return all >> below(bits);
  case 4: return 1ull << below(bits);
  default: return rnd() & all;
  }
}

// A biased exponent: near the ends, near one, near the integers' limits, or random.
static u32 exponent(int bits) {
  u32 max = (1u << bits) - 1, bias = max >> 1;
  switch (below(8)) {
  case 0: return 0;
  case 1: return max;
  case 2: return below(4);
  case 3: return max - 1 - below(3);
  case 4: return bias + below(70);
  case 5: return bias - 3 + below(6);
  case 6: return (bias >> below(2)) + below(64) - 32;
  default: return (u32)rnd() & max;
  }
}

static u64 any_f32(void) { return (rnd() & 1) << 31 | (u64)(exponent(8) & 0xff) << 23 | fraction(23); }
static u64 any_f64(void) { return (rnd() & 1) << 63 | (u64)(exponent(11) & 0x7ff) << 52 | fraction(52); }

static const struct sse_op { const char *name; u8 length; u8 bytes[6]; } sse_ops[] = {
#define SCALAR(name, op) {name "ss", 4, {0xf3, 0x0f, op, 0xc1}}, {name "sd", 4, {0xf2, 0x0f, op, 0xc1}}, {name "ps", 3, {0x0f, op, 0xc1}}
#define COMPARE(n) {"cmpss" #n, 5, {0xf3, 0x0f, 0xc2, 0xc1, n}}, {"cmpsd" #n, 5, {0xf2, 0x0f, 0xc2, 0xc1, n}}
  SCALAR("add", 0x58), SCALAR("mul", 0x59), SCALAR("sub", 0x5c), SCALAR("min", 0x5d), SCALAR("div", 0x5e), SCALAR("max", 0x5f), SCALAR("sqrt", 0x51),
  COMPARE(0), COMPARE(1), COMPARE(2), COMPARE(3), COMPARE(4), COMPARE(5), COMPARE(6), COMPARE(7),
  {"ucomiss", 3, {0x0f, 0x2e, 0xc1}}, {"ucomisd", 4, {0x66, 0x0f, 0x2e, 0xc1}},
  {"comiss", 3, {0x0f, 0x2f, 0xc1}}, {"comisd", 4, {0x66, 0x0f, 0x2f, 0xc1}},
  {"cvtss2sd", 4, {0xf3, 0x0f, 0x5a, 0xc1}}, {"cvtsd2ss", 4, {0xf2, 0x0f, 0x5a, 0xc1}},
  {"cvtss2si", 4, {0xf3, 0x0f, 0x2d, 0xc1}}, {"cvtss2si64", 5, {0xf3, 0x48, 0x0f, 0x2d, 0xc1}},
  {"cvtsd2si", 4, {0xf2, 0x0f, 0x2d, 0xc1}}, {"cvtsd2si64", 5, {0xf2, 0x48, 0x0f, 0x2d, 0xc1}},
  {"cvttss2si", 4, {0xf3, 0x0f, 0x2c, 0xc1}}, {"cvttss2si64", 5, {0xf3, 0x48, 0x0f, 0x2c, 0xc1}},
  {"cvttsd2si", 4, {0xf2, 0x0f, 0x2c, 0xc1}}, {"cvttsd2si64", 5, {0xf2, 0x48, 0x0f, 0x2c, 0xc1}},
  {"cvtsi2ss", 4, {0xf3, 0x0f, 0x2a, 0xc0}}, {"cvtsi2ss64", 5, {0xf3, 0x48, 0x0f, 0x2a, 0xc0}},
  {"cvtsi2sd", 4, {0xf2, 0x0f, 0x2a, 0xc0}}, {"cvtsi2sd64", 5, {0xf2, 0x48, 0x0f, 0x2a, 0xc0}},
  {"cvtps2dq", 4, {0x66, 0x0f, 0x5b, 0xc1}}, {"cvttps2dq", 4, {0xf3, 0x0f, 0x5b, 0xc1}}, {"cvtdq2ps", 3, {0x0f, 0x5b, 0xc1}},
};
#define SSE_OPS ((int)(sizeof sse_ops / sizeof *sse_ops))

struct sse_case {
  u8 op, fault;
  u16 mxcsr, mxcsr_out, eflags;
  u64 a, b, result;
} __attribute__((packed));

// Operands of 8 bytes; the upper half of a packed register holds ones, which raise nothing.
static void run_sse(struct sse_case *c) {
  static u64 a[4], b[2];
  static u32 mxcsr;
  static u64 flags;
  const struct sse_op *op = &sse_ops[c->op];
  static const u8 before[] = {0x0f, 0x10, 0x07, 0x0f, 0x10, 0x0e, 0x48, 0x8b, 0x06, 0x0f, 0xae, 0x12}; // movups xmm0,[rdi]; xmm1,[rsi]; mov rax,[rsi]; ldmxcsr [rdx]
  static const u8 after[] = {0x0f, 0xae, 0x1a, 0x0f, 0x11, 0x07, 0x48, 0x89, 0x47, 0x10, 0x9c, 0x58, 0x48, 0x89, 0x01, 0xc3}; // and back; pushf; pop rax; mov [rcx],rax; ret
  memcpy(code, before, sizeof before);
  memcpy(code + sizeof before, op->bytes, op->length);
  memcpy(code + sizeof before + op->length, after, sizeof after);
  u64 ones = 0x3f8000003f800000ull;
  a[0] = c->a, a[1] = ones, b[0] = c->b, b[1] = strcmp(op->name, "cvtdq2ps") ? ones : 0x0000000100000001ull;
  mxcsr = c->mxcsr, flags = 0;
  c->result = c->eflags = c->fault = 0;
  if (sigsetjmp(escape, 1) == 0) {
    ((void (*)(u64 *, u64 *, u32 *, u64 *))code)(a, b, &mxcsr, &flags);
    c->mxcsr_out = mxcsr;
    c->result = strstr(op->name, "2si") ? a[2] : a[0];
    c->eflags = strstr(op->name, "comi") ? flags & 0xffff : 0;
  } else {
    c->fault = 1;
    c->mxcsr_out = mxcsr_at_signal;
  }
  u32 standard = 0x1f80;
  __asm__ volatile("ldmxcsr %0" : : "m"(standard));
}

static u64 sse_operand(const char *name) {
  if (strstr(name, "cvtsi2") || strstr(name, "dq2")) return below(2) ? rnd() : (u64)((int64_t)rnd() >> below(64));
  return strstr(name, "sd") && !strstr(name, "ss2sd") ? any_f64() : any_f32() | any_f32() << 32;
}

static void record_sse(long count) {
  for (long i = 0; i < count; i++) {
    struct sse_case c = {.op = i % SSE_OPS};
    const char *name = sse_ops[c.op].name;
    c.a = sse_operand(name), c.b = sse_operand(name);
    c.mxcsr = below(4) << 13 | (below(3) ? 0x1f80 : (rnd() & 0x3f) << 7) | (below(4) ? 0 : rnd() & 0x8040) | (below(8) ? 0 : rnd() & 0x3f);
    if (strstr(name, "cvtsd2ss") && below(2)) { // into the range of f32 and its ends
      c.b = (c.b & 0x800fffffffffffffull) | (u64)(1023 - 160 + below(300)) << 52;
      if (below(2)) c.b &= ~0x1fffffffull << below(3);
    }
    if (strstr(name, "2si") && below(2) && strstr(name, "sd2")) c.b = (c.b & 0x800fffffffffffffull) | (u64)(1022 + below(66)) << 52;
    run_sse(&c);
    fwrite(&c, sizeof c, 1, stdout);
  }
}

struct f80 {
  u64 significand;
  u16 sign_exponent;
} __attribute__((packed));

struct x87_case {
  u8 opcode, modrm;
  u16 control, status;
  u8 valid;
  u8 outcome; // 0 executed, 1 #MF, 2 #UD
  u16 eflags, eflags_out, ax_out;
  u16 control_out, status_out, tag_out;
  struct f80 regs[4], regs_out[4]; // physical registers TOP-1 .. TOP+2, TOP as before the instruction
  u8 memory[10], memory_out[10];
} __attribute__((packed));

static struct f80 any_f80(void) {
  struct f80 x;
  x.sign_exponent = (rnd() & 1) << 15 | (exponent(15) & 0x7fff);
  x.significand = fraction(63);
  if (x.sign_exponent & 0x7fff ? below(64) : !below(8)) x.significand |= 1ull << 63;
  switch (below(12)) {
  case 0: x.sign_exponent &= 0x8000, x.significand = 0; break;
  case 1: x.sign_exponent = (x.sign_exponent & 0x8000) | 0x3fff; break;
  case 2: // a small integer
    x.sign_exponent = (x.sign_exponent & 0x8000) | (0x3fff + below(12));
    x.significand = (x.significand | 1ull << 63) & ~0ull << 51;
  }
  return x;
}

// The image that FNSAVE writes and FRSTOR reads in 64-bit mode.
struct image {
  u32 control, status, tag, ip, cs, dp, ds;
  struct f80 st[8];
} __attribute__((packed));

static struct f80 filler(int physical) { return (struct f80){0xc000000000000000ull, 0x4000 + physical}; }

static void run_x87(struct x87_case *c) {
  static struct image in, out;
  static u8 memory[16];
  static u64 flags[2];
  u8 *p = code;
  int top = c->status >> 11 & 7;
  memset(&in, 0, sizeof in);
  in.control = c->control | 0xffff0000, in.status = c->status | 0xffff0000;
  for (int r = 0; r < 8; r++) {
    in.tag |= (c->valid >> r & 1 ? 0 : 3) << 2 * r;
    int relative = (r - top + 1) & 7;
    in.st[(r - top) & 7] = relative < 4 ? c->regs[relative] : filler(r);
  }
  memcpy(memory, c->memory, 10);
  flags[0] = c->eflags, flags[1] = 0;
  static const u8 before[] = {0xdd, 0x27, 0xff, 0x31, 0x9d, 0xb8, 0, 0, 0, 0}; // frstor [rdi]; push [rcx]; popf; mov eax,0
  static const u8 after[] = {0x48, 0x89, 0x41, 0x08, 0x9c, 0x8f, 0x01, 0xdd, 0x36, 0xc3}; // mov [rcx+8],rax; pushf; pop [rcx]; fnsave [rsi]; ret
  memcpy(p, before, sizeof before), p += sizeof before;
  *p++ = c->opcode;
  *p++ = c->modrm < 0xc0 ? (c->modrm & 0x38) | 2 : c->modrm; // memory forms use [rdx]
  memcpy(p, after, sizeof after);
  int signal = sigsetjmp(escape, 1);
  if (signal == 0) {
    ((void (*)(struct image *, struct image *, u8 *, u64 *))code)(&in, &out, memory, flags);
    c->outcome = 0;
    c->control_out = out.control, c->status_out = out.status, c->tag_out = out.tag;
    c->eflags_out = flags[0], c->ax_out = flags[1];
    for (int st = 0; st < 8; st++) {
      int r = ((out.status >> 11) + st) & 7, relative = (r - top + 1) & 7;
      struct f80 x = out.st[st], f = filler(r);
      if (relative < 4) c->regs_out[relative] = x;
      else if (memcmp(&x, &f, 10) && c->opcode != 0xd9 && c->modrm >= 0xc0 && (c->modrm & 7) < 3) fprintf(stderr, "%02x %02x changes another register\n", c->opcode, c->modrm);
    }
    memcpy(c->memory_out, memory, 10);
  } else {
    c->outcome = signal == SIGFPE ? 1 : 2;
  }
  __asm__ volatile("fninit");
}

static int wanted(int opcode, int modrm) {
  int group = modrm >> 3 & 7;
  return modrm >= 0xc0 || !((opcode == 0xd9 || opcode == 0xdd) && (group == 4 || group == 6)); // not environment and state images
}

static void fill_memory(struct x87_case *c) {
  int group = c->modrm >> 3 & 7;
  u64 bits = rnd() >> (below(2) ? below(64) : 0);
  memcpy(c->memory, &bits, 8);
  struct f80 x = any_f80();
  u64 number = c->opcode == 0xd8 || c->opcode == 0xd9 ? any_f32() : any_f64();
  if (c->opcode == 0xd8 || (c->opcode == 0xd9 && group < 4) || c->opcode == 0xdc || c->opcode == 0xdd) memcpy(c->memory, &number, 8);
  if (c->opcode == 0xdb && group == 5) memcpy(c->memory, &x, 10);
  if (c->opcode == 0xdf && group == 4) {
    for (int i = 0; i < 9; i++) c->memory[i] = below(3) ? below(10) << 4 | below(10) : 0;
    c->memory[9] = rnd();
  }
  if (c->opcode == 0xd9 && group == 5) bits &= 0xf7f, memcpy(c->memory, &bits, 2);
}

static void record_x87(long count) {
  for (long i = 0; i < count;) {
    struct x87_case c = {.opcode = 0xd8 + below(8), .modrm = below(2) ? 0xc0 + below(64) : below(8) << 3};
    if (!below(6)) c.opcode = 0xd9, c.modrm = 0xe0 + below(32);
    if (c.modrm >= 0xc0 && c.opcode != 0xd9 && below(4)) c.modrm = (c.modrm & 0xf8) | below(3);
    if (!wanted(c.opcode, c.modrm)) continue;
    i++;
    c.control = 0x40 | (below(4) ? 0x3f : rnd() & 0x3f) | (below(8) ? below(3) + (below(3) ? 1 : 0) : 1) << 8 | below(4) << 10;
    if (below(2)) c.control |= 0x300;
    if ((c.control & 0x300) == 0x100 && below(8)) c.control |= 0x200;
    c.status = below(8) << 11 | (rnd() & 0x4700) | (below(4) ? 0 : rnd() & (below(4) ? c.control & 0x3f : 0x7f));
    int top = c.status >> 11 & 7;
    c.valid = below(4) ? 0xff : rnd();
    if (below(2)) c.valid &= ~(1 << ((top - 1) & 7));
    c.eflags = 0x202 | (rnd() & 0x8d5);
    for (int r = 0; r < 4; r++) c.regs[r] = any_f80();
    int relation = below(10);
    if (relation < 3) c.regs[2].sign_exponent = (c.regs[2].sign_exponent & 0x8000) | ((c.regs[1].sign_exponent + below(129) - 64) & 0x7fff);
    if (relation == 3) c.regs[2] = c.regs[1];
    if (relation == 4) c.regs[2] = c.regs[1], c.regs[2].sign_exponent ^= 0x8000;
    if (relation == 5 && (c.regs[2].sign_exponent & 0x7fff)) // ST1 turns ST0 into the edges of the range, or nearly
      c.regs[1].sign_exponent = (c.regs[1].sign_exponent & 0x8000) | ((0x3ffe * (1 + below(2)) + below(70) - 64 - c.regs[2].sign_exponent) & 0x7fff);
    if (relation == 6) c.regs[1].sign_exponent = (c.regs[1].sign_exponent & 0x8000) | (0x3fff - 70 + below(140));
    if (relation == 7) c.regs[1].sign_exponent = (c.regs[1].sign_exponent & 0x8000) | ((below(2) ? 0x3fff - 1074 : 0x3fff + 960) + below(128));
    if (relation == 8) c.regs[1].sign_exponent = (c.regs[1].sign_exponent & 0x8000) | ((below(2) ? 0x3fff - 150 : 0x3fff + 120) + below(32));
    if (relation > 5 && relation < 9 && below(8)) c.regs[1].significand |= 1ull << 63;
    fill_memory(&c);
    run_x87(&c);
    fwrite(&c, sizeof c, 1, stdout);
  }
}

int main(int argc, char **argv) {
  long sse = argc > 1 ? atol(argv[1]) : 4000;
  long x87 = argc > 2 ? atol(argv[2]) : 2000;
  seed = argc > 3 ? strtoull(argv[3], 0, 0) : 1;
  for (int i = 0; i < 20; i++) rnd();
  code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGFPE, &action, 0);
  sigaction(SIGILL, &action, 0);
  printf("{\"sse\":%ld,\"x87\":%ld,\"sseOps\":[", sse, x87);
  for (int i = 0; i < SSE_OPS; i++) printf("%s\"%s\"", i ? "," : "", sse_ops[i].name);
  printf("]}\n");
  record_sse(sse);
  record_x87(x87);
}
