/*
 * Which instructions there are, and with what operands. The oracle's CPU is one with the features that beneath's has (record.sh). What
 * is left out, and why:
 *
 *   - what a kernel may not do to its own stack: RSP where no frame fits; SYSCALL with the number of a hypercall that does something
 *   - what QEMU's CPU does wrong (the oracle's README): TF across mov ss, non-canonical addresses through ss, AC with unaligned
 *     accesses, limits of segments, null segments in 32-bit code, VMX, into in 64-bit code
 *   - what QEMU decodes or orders in its own way: mov to cs and segments 6 and 7, 64-bit far pointers (not AMD's), sysenter and
 *     sysexit in long mode, clflush where nothing is mapped, MMX with TS, the write bit of a read-modify-write on an absent page,
 *     SIDT across pages, breakpoints on int3 and behind SYSRET with TF, and that it fetches a byte behind an instruction that is #UD anyway
 *   - what CPUs differ in: CPUID's answers, the TSC, MPERF and APERF, SVM, MONITOR, XSAVE, FSGSBASE, near branches with 66, far jumps to
 *     non-canonical addresses, RF in the frame of a trap
 *   - what moves an initial domain's machine: ports other than a few that nothing answers
 */
#include "instructions.h"

/* Present, DPL 3 code and data first; then what loads badly. */
const uint64_t descriptors[DESCRIPTORS] = {
    0, 0x00cff3000000ffff, 0x00cffb000000ffff, 0x00affb000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff, 0x00cff1000000ffff, 0x008ffb000000ffff,
    0x00cf73000000ffff, 0x00cff9000000ffff, 0x00cffe000000ffff, 0x00cfff000000ffff, 0x0000e9000000ffff, 0x00cf7b000000ffff, 0x0040ec00e0330010, 0x0000000000000000,
    0x0000ee00e033ffff, 0x0000e2000000ffff, 0x00affd000000ffff, 0x0000ec00e0230010, 0x0000000000000000, 0x00cffa000000ffff, 0x00cfb3000000ffff, 0x00cff5000000ffff,
};

const char *const register_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

static uint64_t *register_in(struct regs *regs, unsigned int number)
{
    switch (number) {
    case 0: return &regs->rax;
    case 1: return &regs->rcx;
    case 2: return &regs->rdx;
    case 3: return &regs->rbx;
    case 4: return &regs->rsp;
    case 5: return &regs->rbp;
    case 6: return &regs->rsi;
    case 7: return &regs->rdi;
    default: return &regs->r8 - (number - 8);
    }
}

uint64_t get_register(const struct regs *regs, unsigned int number)
{
    return *register_in((struct regs *)regs, number);
}

static void put_register(struct step *step, unsigned int number, uint64_t value)
{
    *register_in(&step->regs, number) = step->bits == 32 ? (uint32_t)value : value;
}

void set_register(struct step *step, unsigned int number, uint64_t value)
{
    put_register(step, number, value);
    print(" %s=%lx", register_names[number], get_register(&step->regs, number));
}

static uint64_t number(void)
{
    static const uint64_t numbers[] = { 0, 0, 1, 2, 3, 4, 7, 8, 0xf, 0x10, 0x40, 0x80, 0xff, 0x100, 0x400, 0x500, 0xd01, 0xd00, 0x501, 0xfff, 0x1000, 0x3000, 0xffff,
                                        0x10000, 0x80050033, 0x8005003b, 0x80000000, 0xffffffff, 1UL << 32, 1UL << 40, 0x7fffffffffff, NON_CANONICAL, IN_XEN, -1UL,
                                        0xffff7fffffffffff, 1UL << 63, DATA, DATA + 8, CODE, 0x123456789abcdef0 };
    uint64_t value = one_of(numbers);

    while (chance(4))
        value ^= 1UL << any(64);
    return value;
}

static uint64_t address(const struct step *step)
{
    static const uint64_t odd[] = { DATA + PAGE_SIZE - 8, DATA + PAGE_SIZE - 4, DATA + PAGE_SIZE - 2, DATA + PAGE_SIZE, READ_ONLY, PRIVATE, IN_XEN, NON_CANONICAL, -8UL, 0,
                                    MACH2PHYS_VIRT_START, 0xffff7ffffffffff8, VIRT_BASE, 0x7ffffffffff8, CODE + PAGE_SIZE };
    uint64_t at = chance(3) ? one_of(odd) : DATA + 16 * any(200);

    /* The kernel's own image is no place for stores. */
    return at == VIRT_BASE && step->mode == KERNEL_MODE ? DATA : at;
}

static unsigned int selector(void)
{
    static const unsigned int odd[] = { 0, 1, 2, 3, 0xe008, 0xe010, 0xe019, 0xe020, 0xe023, 0xe02b, 0xe028, 0xe033, 0xe030, 0xe02f, 0xe03b, 0xe043, 0xe04b, 0xe053, 0xdffb, 0xfffb, 0xfffc, 0xc7 };

    return chance(3) ? one_of(odd) : any(DESCRIPTORS) << 3 | any(8);
}

/* One that is present, or not there at all: QEMU has #NP for a stack that is not present. */
static unsigned int stack_selector(void)
{
    for (;;) {
        unsigned int value = selector(), index = value >> 3 & 0x1fff;
        uint64_t descriptor = index < DESCRIPTORS ? descriptors[value & 4 ? DESCRIPTORS - 1 - index : index] : 0;

        if (!descriptor || descriptor >> 47 & 1)
            return value;
    }
}

static void emit(struct step *step, unsigned int byte)
{
    step->code[step->size++] = byte;
}

/* What follows the opcode, and what stands in registers. */
struct row { const char *name; unsigned char size, opcode[3]; void (*operands)(struct step *step, unsigned int argument); unsigned int argument; };

static void plain(struct step *step, unsigned int is_undefined)
{
    step->is_undefined |= is_undefined;
}

static void wide(struct step *step, unsigned int unused)
{
    (void)unused;
    step->is_undefined |= 1;
}

/* [rdi], in r15 too for REX.B. */
static void memory(struct step *step, unsigned int reg)
{
    uint64_t at = address(step);

    emit(step, (reg & 7) << 3 | RDI);
    set_register(step, RDI, at);
    put_register(step, R15, at);
}

/* Where its ten bytes are stored or nothing: QEMU stores the first two before it looks at the others. */
static void table_register(struct step *step, unsigned int reg)
{
    step->hidden |= HIDE_MEMORY;
    emit(step, reg << 3 | RDI);
    set_register(step, RDI, any(4) ? DATA + 16 * any(200) : READ_ONLY);
    put_register(step, R15, step->regs.rdi);
}

static void any_memory(struct step *step, unsigned int unused)
{
    (void)unused;
    step->is_undefined |= 1;
    memory(step, any(8));
}

static void register_of(struct step *step, unsigned int reg, uint64_t value)
{
    unsigned int rm = any(7);

    rm += rm >= RSP;                            /* the stack pointer stays */
    emit(step, 0xc0 | (reg & 7) << 3 | rm);
    set_register(step, rm, value);
    put_register(step, rm + 8, value);
}

static void with_selector(struct step *step, unsigned int reg)
{
    if (chance(5))
        memory(step, reg);
    else
        register_of(step, reg, selector() | (chance(6) ? 0x12340000 : 0));
}

static void any_operand(struct step *step, unsigned int reg)
{
    if (chance(3))
        memory(step, reg);
    else
        register_of(step, reg, number());
}

static void of_segments(struct step *step, unsigned int reg)        /* lar, lsl: the destination is one more register */
{
    (void)reg;
    with_selector(step, any(7) < RSP ? any(4) : RBP);
    step->hidden |= HIDE_UNDEFINED;
}

static void of_base(struct step *step, unsigned int unused)
{
    (void)unused;
    step->is_undefined |= 1;
    register_of(step, any(4), number());
}

static void from_segment(struct step *step, unsigned int unused)
{
    (void)unused;
    if (step->rex)
        *step->rex &= ~4;
    register_of(step, any(6), 0x1111111111111111);
}

static void to_segment(struct step *step, unsigned int reg)
{
    unsigned int value = selector();

    if (step->rex)                              /* QEMU itself may end by a segment beyond the last */
        *step->rex &= ~4;
    if (reg == 2)
        step->regs.rflags &= ~(uint64_t)RFLAGS_TF;
    register_of(step, reg, value);
}

static void popped(struct step *step, unsigned int is_ss)
{
    (void)is_ss;
    step->frame[0] = selector();
    print(" popped=%lx", step->frame[0]);
}

static void popped_flags(struct step *step, unsigned int unused)
{
    static const uint64_t bits[] = { 1, 0x40, RFLAGS_TF, RFLAGS_IF, 0x1000, 0x2000, 0x3000, RFLAGS_NT, 0x10000, 0x20000, RFLAGS_AC, 0x80000, 0x100000, 0x200000, 0x400, 1UL << 40 };

    (void)unused;
    for (int i = any(6); i >= 0; i--)
        step->frame[0] ^= one_of(bits);
    print(" popped=%lx", step->frame[0]);
}

/* Somewhere behind the instruction, so that nothing goes round for ever, or nowhere. */
static uint64_t target(void)
{
    static const uint64_t odd[] = { 0, DATA, IN_XEN, PRIVATE, CODE + PAGE_SIZE };

    return chance(6) ? one_of(odd) : CODE + 16 * (1 + any(199));
}

static unsigned int code_selector(void)
{
    static const unsigned int good[] = { 0xe033, 0xe033, 0xe023, 0xe030, 0x13, 0x1b, 0x3b };

    return any(3) ? one_of(good) : selector();
}

static void far_pointer(struct step *step, unsigned int reg)
{
    uint64_t to = (uint32_t)target();
    unsigned int is_code = (reg & ~7u) == 0, value = is_code ? code_selector() : selector();

    memory(step, reg & 7);
    if (step->rex)
        *step->rex &= ~8;
    step->frame[0] = to | (uint64_t)value << 32;
    step->frame[1] = value;
    print(" far=%x:%lx", value, to);
}

/* A frame for iret or a far return, of words or of doublewords with a prefix. */
static void far_frame(struct step *step, unsigned int is_iret)
{
    static const uint64_t stacks[] = { STACK_TOP, STACK_TOP + 0x100, STACK_TOP + 8, STACK_TOP + 3, STACK_TOP - 0x80 };
    static const uint64_t user_stacks[] = { 0, NON_CANONICAL, IN_XEN, -1UL, DATA };
    uint64_t to = target(), cs = code_selector(), rsp = step->mode == USER_MODE && chance(3) ? one_of(user_stacks) : one_of(stacks), ss = any(3) ? 0xe02b : stack_selector();
    uint64_t rflags = 2;

    if ((cs & ~3ul) != 0xe030 && (cs & ~3ul) != 0x18)
        to = (uint32_t)to;                      /* QEMU looks at no limit */
    int is_wide = step->bits == 64 && !chance(8), slot = 0;

    for (int i = any(3); i > 0; i--)
        rflags ^= one_of(((const uint64_t[]){ 1, RFLAGS_TF, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_NT, RFLAGS_AC, 0x10000, 0x400, 0x200000 }));
    if (is_iret) {
        uint64_t words[5] = { to, cs, rflags, rsp, ss };

        for (int i = 0; i < 5; i++, slot++)
            if (is_wide) step->frame[slot] = words[i]; else ((uint32_t *)step->frame)[slot] = words[i];
        print(" frame=%lx:%lx %lx %lx:%lx", cs, to, rflags, ss, rsp);
    } else {
        uint64_t words[2] = { to, cs };

        for (int i = 0; i < 2; i++, slot++)
            if (is_wide) step->frame[slot] = words[i]; else ((uint32_t *)step->frame)[slot] = words[i];
        print(" frame=%lx:%lx", cs, to);
    }
    if (is_wide) {
        unsigned char opcode = step->code[--step->size];

        emit(step, 0x48);
        emit(step, opcode);
    }
}

static uint32_t msr_number(void)
{
    static const uint32_t numbers[] = {
        0xc0000080, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0000104, 0x1b, 0x1a0, 0x277, 0xfe, 0x200, 0x201,
        0x250, 0x258, 0x26f, 0x2ff, 0x1d9, 0x1db, 0x1dc, 0x1dd, 0x174, 0x175, 0x176, 0xc1, 0x186, 0x38f, 0x309, 0x345, 0xce, 0x48, 0x49, 0x10a, 0x10b, 0x140, 0x122, 0x123, 0x3a, 0x17, 0x2a,
        0x79, 0xe2, 0xe7, 0xe8, 0x198, 0x199, 0x19a, 0x19b, 0x19c, 0x1a2, 0x1b0, 0x1fc, 0x3b, 0x6e0, 0x800, 0x802, 0x808, 0x80b, 0x830, 0x83f, 0x480, 0x490, 0x570, 0x560, 0x606, 0x639, 0xd90, 0xda0,
        0xc80, 0xc81, 0xd10, 0x6a0, 0x6a2, 0x6a4, 0x1c4, 0x1c5, 0x1c9, 0x680, 0x6c0, 0x4f, 0x4e, 0x33, 0x34, 0x1ae, 0x40000000, 0x40000001, 0x4b564d00, 0x40000020,
        0xc0010010, 0xc0010015, 0xc001001a, 0xc001001d, 0xc001001f, 0xc0010030, 0xc0010055, 0xc0010058, 0xc0010061, 0xc0010062, 0xc0010063, 0xc0010064, 0xc0010111, 0xc0010112,
        0xc0010114, 0xc0010117, 0xc0010130, 0xc0010140, 0xc0010141, 0xc0010200, 0xc0010201, 0xc001020b, 0xc001020c, 0xc0010000, 0xc0010004, 0xc0010007, 0xc0011000, 0xc0011004, 0xc0011005, 0xc001101b, 0xc001101d, 0xc0011019,
        0xc001011f, 0xc0011020, 0xc0011022, 0xc0011023, 0xc0011029, 0xc001102c, 0xc001102a, 0xc00102b4, 0xc0010290, 0xc00000e7, 0xc00000e9, 0xc000010f, 0xc0000408, 0, 1, 0xffffffff, 0x12345678, 0x2000,
    };

    return chance(8) ? (uint32_t)number() : one_of(numbers);
}

static void msr_read(struct step *step, unsigned int unused)
{
    uint32_t msr = msr_number();

    (void)unused;
    if (msr == 0x10 || msr == 0xe7 || msr == 0xe8 || msr == 0x8b || msr == 0x179)
        step->hidden |= HIDE(RAX) | HIDE(RDX);
    set_register(step, RCX, msr | (chance(6) ? 1UL << 32 : 0));
}

static void msr_write(struct step *step, unsigned int unused)
{
    uint64_t value = number();
    uint32_t msr = msr_number();

    (void)unused;
    if (msr == 0x10 || msr == 0x8b || msr == 0x79)
        msr = 0x11;
    /* A value that may be a frame of its own must not become a hypercall page. */
    if ((msr & 0xffff0000) == 0x40000000)
        value |= 0x10;
    if (msr == 0xc0000080 && any(2))
        value = 0xd01 ^ (any(2) ? 1UL << any(64) : 0);
    set_register(step, RCX, msr | (chance(6) ? 1UL << 32 : 0));
    set_register(step, RAX, (value & 0xffffffff) | (chance(6) ? 1UL << 32 : 0));
    set_register(step, RDX, value >> 32 | (chance(6) ? 1UL << 32 : 0));
}

static void control(struct step *step, unsigned int is_write)
{
    unsigned int reg = one_of(((const unsigned int[]){ 0, 0, 0, 2, 2, 3, 4, 4, 1, 5, 6, 7 })), rm = any(7);
    uint64_t value = number();

    rm += rm >= RSP;
    /* A table's frame differs by machine. */
    if (reg == 3)
        step->hidden |= HIDE(rm) | HIDE(rm + 8);
    if (reg == 0 && any(2))
        value = 0x80050033 ^ (any(3) ? 8 : 0) ^ (chance(3) ? 1UL << any(64) : 0);
    if (reg == 4 && any(2))
        value = step->cr4 ^ (chance(3) ? 0 : 1UL << any(32));
    if (reg == 3)
        value &= 0xfffff;
    step->is_undefined |= reg > 4 || reg == 1 || step->rex;
    emit(step, 0xc0 | reg << 3 | rm);
    print(" cr%u", reg);
    if (is_write)
        set_register(step, rm, value);
    put_register(step, rm + 8, get_register(&step->regs, rm));
}

static void debug(struct step *step, unsigned int is_write)
{
    unsigned int reg = any(8), rm = any(7);
    static const uint64_t sevens[] = { 0, 0x400, 0x401, 0x10001, 0x2401, 0x20401, 0xffff0455, 0xff00, 0x800, 0x1000, 0xc000, 0x100000000, 0x30001, 0xdc01 };
    uint64_t value = reg == 7 || reg == 5 ? one_of(sevens) : any(2) ? address(step) : number();

    step->is_undefined |= step->rex != 0;
    rm += rm >= RSP;
    emit(step, (any(4) ? 0xc0 : 0) | reg << 3 | rm);
    print(" dr%u", reg);
    if (is_write)
        set_register(step, rm, value);
    put_register(step, rm + 8, get_register(&step->regs, rm));
}

static unsigned int a_port(void)
{
    static const unsigned int wide[] = { 0x150, 0xfffc };
    static const unsigned int safe[] = { 0x150, 0x151, 0x152, 0x154, 0x157, 0x158, 0xfffc };
    static const unsigned int more[] = { 0x70, 0x6f, 0xcf8, 0xcfa, 0xcfc, 0x80, 0x64, 0x3f8, 0, 0xfffe, 0xffff, 0x1ff };

    if (as_dom0)
        return one_of(wide);                    /* of QEMU's machine the others begin with nothing and end in something */
    return any(3) ? one_of(safe) : one_of(more);
}

static void in_dx(struct step *step, unsigned int unused)
{
    (void)unused;
    set_register(step, RDX, a_port() | (chance(4) ? 0x120000 : 0));
}

static void in_immediate(struct step *step, unsigned int unused)
{
    static const unsigned int ports[] = { 0x70, 0x80, 0xff, 0xfe, 0x6f };

    (void)unused;
    emit(step, as_dom0 ? 0xe4 : one_of(ports));
}

static void port_string(struct step *step, unsigned int is_output)
{
    uint64_t at = address(step), other = address(step);

    set_register(step, RDX, a_port());
    set_register(step, RDI, is_output ? other : at);
    set_register(step, RSI, is_output ? at : other);
    set_register(step, RCX, chance(6) ? 0 : any(5) ? any(9) : any(600));
}

static void interrupt(struct step *step, unsigned int unused)
{
    unsigned int vector = any(256);

    (void)unused;
    emit(step, vector == 0x82 ? 0x83 : vector);
}

/* Of hypercalls only those that do nothing. */
static void system_call(struct step *step, unsigned int unused)
{
    static const uint64_t numbers[] = { 17, 55, 63, 64, 255, 1UL << 32, -1UL };

    (void)unused;
    set_register(step, RAX, one_of(numbers));
    set_register(step, RDI, any(2) ? 0 : 99);
}

static void pseudo(struct step *step, unsigned int unused)
{
    (void)unused;
    step->hidden |= HIDE(RAX) | HIDE(RDX) | HIDE(RCX);
}

static void leaf(struct step *step, unsigned int is_forced)
{
    static const uint64_t leaves[] = { 0, 1, 7, 0x40000000, 0x40000001, 0x80000000, 0x12345678, 1UL << 32 };

    if (is_forced) {
        static const unsigned char tail[] = { 'x', 'e', 'n', 0x0f, 0xa2 };

        for (int i = 0; i < 5; i++)
            emit(step, chance(40) ? 0x0f : tail[i]);
    }
    set_register(step, RAX, one_of(leaves));
    set_register(step, RCX, any(3));
    step->hidden |= HIDE(RAX) | HIDE(RCX) | HIDE(RDX) | HIDE(RBX);
}

static void with_task_switched(struct step *step, unsigned int reg)
{
    step->is_undefined |= reg;
    step->task_switched = any(4) != 0;
    if (reg)
        memory(step, reg & 7);
}

static const struct row rows[] = {
    { "rdmsr", 2, { 0x0f, 0x32 }, msr_read, 0 },
    { "rdmsr", 2, { 0x0f, 0x32 }, msr_read, 0 },
    { "rdmsr", 2, { 0x0f, 0x32 }, msr_read, 0 },
    { "wrmsr", 2, { 0x0f, 0x30 }, msr_write, 0 },
    { "wrmsr", 2, { 0x0f, 0x30 }, msr_write, 0 },
    { "wrmsr", 2, { 0x0f, 0x30 }, msr_write, 0 },
    { "mov from", 2, { 0x0f, 0x20 }, control, 0 },
    { "mov to", 2, { 0x0f, 0x22 }, control, 1 },
    { "mov to", 2, { 0x0f, 0x22 }, control, 1 },
    { "mov from", 2, { 0x0f, 0x21 }, debug, 0 },
    { "mov to", 2, { 0x0f, 0x23 }, debug, 1 },
    { "mov to", 2, { 0x0f, 0x23 }, debug, 1 },
    { "clts", 2, { 0x0f, 0x06 }, with_task_switched, 0 },
    { "fwait", 1, { 0x9b }, with_task_switched, 0 },
    { "fninit", 2, { 0xdb, 0xe3 }, with_task_switched, 0 },
    { "fnstcw", 1, { 0xd9 }, with_task_switched, 7 },
    { "fxsave", 2, { 0x0f, 0xae }, with_task_switched, 8 },
    { "stmxcsr", 2, { 0x0f, 0xae }, with_task_switched, 3 },
    { "movups", 2, { 0x0f, 0x10 }, with_task_switched, 1 },
    { "lmsw", 2, { 0x0f, 0x01 }, any_operand, 6 },
    { "smsw", 2, { 0x0f, 0x01 }, any_operand, 4 },
    { "invlpg", 2, { 0x0f, 0x01 }, memory, 7 },
    { "sgdt", 2, { 0x0f, 0x01 }, table_register, 0 },
    { "sidt", 2, { 0x0f, 0x01 }, table_register, 1 },
    { "lgdt", 2, { 0x0f, 0x01 }, memory, 2 },
    { "lidt", 2, { 0x0f, 0x01 }, memory, 3 },
    { "sldt", 2, { 0x0f, 0x00 }, any_operand, 0 },
    { "str", 2, { 0x0f, 0x00 }, any_operand, 1 },
    { "lldt", 2, { 0x0f, 0x00 }, with_selector, 2 },
    { "ltr", 2, { 0x0f, 0x00 }, with_selector, 3 },
    { "verr", 2, { 0x0f, 0x00 }, with_selector, 4 },
    { "verw", 2, { 0x0f, 0x00 }, with_selector, 5 },
    { "lar", 2, { 0x0f, 0x02 }, of_segments, 0 },
    { "lsl", 2, { 0x0f, 0x03 }, of_segments, 0 },
    { "wbinvd", 2, { 0x0f, 0x09 }, plain, 0 },
    { "invd", 2, { 0x0f, 0x08 }, plain, 0 },
    { "hlt", 1, { 0xf4 }, plain, 0 },
    { "cli", 1, { 0xfa }, plain, 0 },
    { "sti", 1, { 0xfb }, plain, 0 },
    { "pushf", 1, { 0x9c }, plain, 0 },
    { "popf", 1, { 0x9d }, popped_flags, 0 },
    { "popf", 1, { 0x9d }, popped_flags, 0 },
    { "in", 1, { 0xec }, in_dx, 0 },
    { "in", 1, { 0xed }, in_dx, 0 },
    { "out", 1, { 0xee }, in_dx, 0 },
    { "out", 1, { 0xef }, in_dx, 0 },
    { "in", 1, { 0xe4 }, in_immediate, 0 },
    { "in", 1, { 0xe5 }, in_immediate, 0 },
    { "out", 1, { 0xe6 }, in_immediate, 0 },
    { "out", 1, { 0xe7 }, in_immediate, 0 },
    { "ins", 1, { 0x6c }, port_string, 0 },
    { "ins", 1, { 0x6d }, port_string, 0 },
    { "outs", 1, { 0x6e }, port_string, 1 },
    { "outs", 1, { 0x6f }, port_string, 1 },
    { "mov to es", 1, { 0x8e }, to_segment, 0 },
    { "mov to ss", 1, { 0x8e }, to_segment, 2 },
    { "mov to ds", 1, { 0x8e }, to_segment, 3 },
    { "mov to fs", 1, { 0x8e }, to_segment, 4 },
    { "mov to gs", 1, { 0x8e }, to_segment, 5 },
    { "mov from segment", 1, { 0x8c }, from_segment, 0 },
    { "pop fs", 2, { 0x0f, 0xa1 }, popped, 0 },
    { "pop gs", 2, { 0x0f, 0xa9 }, popped, 0 },
    { "push fs", 2, { 0x0f, 0xa0 }, plain, 0 },
    { "lss", 2, { 0x0f, 0xb2 }, far_pointer, 8 | 3 },
    { "lfs", 2, { 0x0f, 0xb4 }, far_pointer, 8 | 3 },
    { "lgs", 2, { 0x0f, 0xb5 }, far_pointer, 8 | 3 },
    { "jmp far", 1, { 0xff }, far_pointer, 5 },
    { "jmp far", 1, { 0xff }, far_pointer, 5 },
    { "call far", 1, { 0xff }, far_pointer, 3 },
    { "call far", 1, { 0xff }, far_pointer, 3 },
    { "lret", 1, { 0xcb }, far_frame, 0 },
    { "lret", 1, { 0xcb }, far_frame, 0 },
    { "iret", 1, { 0xcf }, far_frame, 1 },
    { "iret", 1, { 0xcf }, far_frame, 1 },
    { "iret", 1, { 0xcf }, far_frame, 1 },
    { "swapgs", 3, { 0x0f, 0x01, 0xf8 }, plain, 1 },
    { "rdtscp", 3, { 0x0f, 0x01, 0xf9 }, pseudo, 0 },
    { "rdtsc", 2, { 0x0f, 0x31 }, pseudo, 0 },
    { "rdpmc", 2, { 0x0f, 0x33 }, msr_read, 0 },
    { "clac", 3, { 0x0f, 0x01, 0xca }, plain, 1 },
    { "stac", 3, { 0x0f, 0x01, 0xcb }, plain, 1 },
    { "xgetbv", 3, { 0x0f, 0x01, 0xd0 }, plain, 1 },
    { "xsetbv", 3, { 0x0f, 0x01, 0xd1 }, plain, 1 },
    { "vmrun", 3, { 0x0f, 0x01, 0xd8 }, plain, 1 },
    { "vmmcall", 3, { 0x0f, 0x01, 0xd9 }, plain, 1 },
    { "clgi", 3, { 0x0f, 0x01, 0xdd }, plain, 1 },
    { "sysret", 2, { 0x0f, 0x07 }, plain, 1 },
    { "sysenter", 2, { 0x0f, 0x34 }, wide, 0 },
    { "syscall", 2, { 0x0f, 0x05 }, system_call, 0 },
    { "syscall", 2, { 0x0f, 0x05 }, system_call, 0 },
    { "rsm", 2, { 0x0f, 0xaa }, plain, 1 },
    { "int", 1, { 0xcd }, interrupt, 0 },
    { "int", 1, { 0xcd }, interrupt, 0 },
    { "int", 1, { 0xcd }, interrupt, 0 },
    { "int3", 1, { 0xcc }, plain, 0 },
    { "int1", 1, { 0xf1 }, plain, 0 },
    { "ud2", 2, { 0x0f, 0x0b }, plain, 1 },
    { "ud0", 2, { 0x0f, 0xff }, any_memory, 0 },
    { "cpuid", 2, { 0x0f, 0xa2 }, leaf, 0 },
    { "forced cpuid", 2, { 0x0f, 0x0b }, leaf, 1 },
    { "forced cpuid", 2, { 0x0f, 0x0b }, leaf, 1 },
    { "mov from memory", 1, { 0x8b }, memory, 0 },
    { "mov to memory", 1, { 0x89 }, memory, 1 },
    { "nop", 1, { 0x90 }, plain, 0 },
    { "fsgsbase", 3, { 0xf3, 0x0f, 0xae }, of_base, 0 },
    { "fsgsbase", 3, { 0xf3, 0x0f, 0xae }, of_base, 0 },
};

/* Prefixes that change what an instruction is, or nothing. */
static void prefixes(struct step *step)
{
    static const unsigned char legacy[] = { 0x66, 0x66, 0xf2, 0xf3, 0xf3, 0x67, 0x2e, 0x3e, 0x64, 0x65, 0xf0 };

    while (chance(6) && step->size < 3) {
        unsigned int prefix = one_of(legacy);

        if (step->size && (prefix & 0xe7) == 0x26)
            continue;                           /* nor is a segment that does not count in 64-bit code the same to all */
        if (step->bits == 32 && (prefix == 0x64 || prefix == 0x65 || prefix == 0x2e))
            continue;                           /* QEMU minds neither a null segment nor a store to code */
        step->is_undefined |= prefix == 0xf0;
        emit(step, prefix);
    }
    if (step->bits == 64 && chance(6)) {
        step->rex = step->code + step->size;
        emit(step, 0x40 | any(16));
    }
}

/* The iret hypercall is given more than a place to go. */
static void odd_entry(struct step *step)
{
    switch (any(4)) {
    case 0:
        step->regs.iret_flags = VGCF_in_syscall;
        print(" by sysret");
        break;
    case 1:
        step->regs.ss = stack_selector();
        print(" ss=%lx", step->regs.ss);
        break;
    case 2:
        step->regs.cs = step->mode == KERNEL_MODE ? selector() & ~3 : selector() | 3;
        step->segments[0] = step->segments[1] = KERNEL_SS;
        print(" cs=%x", step->regs.cs);
        break;
    default:
        step->regs.rflags ^= one_of(((const uint64_t[]){ RFLAGS_RF, 0x20000, 0x80000, 0x100000, 8, 2, 1UL << 40 }));
    }
}

void choose(struct step *step)
{
    static const uint64_t flag_bits[] = { 1, 4, 0x10, 0x40, 0x80, 0x800, 0x400, 0x200000 };
    const struct row *row = &one_of(rows);
    uint64_t rflags = 2 | (any(2) ? RFLAGS_IF : 0);

    step->mode = any(2);
    step->bits = chance(5) && row->operands != wide ? 32 : 64;
    print("%s%d %s", step->mode == KERNEL_MODE ? "kernel" : "user", step->bits, row->name);
    for (int i = any(4); i > 0; i--)
        rflags |= one_of(flag_bits);
    if (chance(5))
        rflags |= RFLAGS_TF;
    if (chance(10))
        rflags |= RFLAGS_NT;
    if (chance(10))
        rflags |= RFLAGS_IOPL & ((uint64_t)any(4) << 12);
    step->iopl = chance(3) ? any(4) : 0;
    for (unsigned int i = 0; i < 16; i++)
        put_register(step, i, 0x1010101 * (i + 1));
    step->regs.rsp = STACK_TOP;
    step->regs.rflags = rflags;
    step->regs.ss = KERNEL_SS;
    step->regs.cs = (step->bits == 64 ? 0xe033 : 0xe023) & (step->mode == KERNEL_MODE ? ~3 : -1);
    step->segments[0] = step->bits == 32 || any(2) ? 0xe02b : 0;
    step->segments[1] = step->bits == 32 || any(2) ? 0xe02b : 0;
    step->bases[0] = chance(4) ? 0x10 : 0;
    step->bases[1] = chance(4) ? 0x20 : 0;
    step->bases[2] = chance(4) ? 0x30 : 0;
    if (chance(10))
        step->cr4 ^= 4;                         /* TSD */
    for (int i = 0; i < 6; i++)
        step->frame[i] = 0;
    prefixes(step);
    for (unsigned int i = 0; i < row->size; i++)
        emit(step, row->opcode[i]);
    row->operands(step, row->argument);
    step->regs.rip = chance(8) && !step->is_undefined ? CODE + PAGE_SIZE - step->size : CODE;
    if (chance(12) && row->operands != wide)
        odd_entry(step);
    for (int i = 0; i < 4; i++)
        step->debug[i] = 0x7000;
    if (chance(10) && !step->regs.iret_flags && row->opcode[0] != 0xcc) {
        step->debug[4] = 1 | (uint64_t)any(2) << 16 | 0x400;
        step->debug[0] = step->debug[4] & 0x10000 ? DATA : step->regs.rip;
        print(" dr7=%lx dr0=%lx", step->debug[4], step->debug[0]);
    } else if (chance(12) && row->operands != debug) {  /* of an I/O port; mov dr4 with DE would be #UD or #GP, as CPUs like */
        step->cr4 |= 8;
        step->debug[4] = 0x20401 | (uint64_t)any(2) << 18;
        step->debug[0] = 0x14f + any(4);
        print(" dr7=%lx dr0=%lx", step->debug[4], step->debug[0]);
    }
    print(" [");
    for (unsigned int i = 0; i < step->size; i++)
        print("%02x", step->code[i]);
    print("] f=%lx iopl=%u", step->regs.rflags, step->iopl);
    if (step->task_switched)
        print(" ts");
    if (step->bases[0] | step->bases[1])
        print(" bases=%lx,%lx", step->bases[0], step->bases[1]);
}
