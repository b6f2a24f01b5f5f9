/*
 * Every exception that a PV64 guest can raise, how Xen delivers it through the trap table (vector, error code, RIP, CR2,
 * the frame), and the ways back. A line says what was run, which trap came, and where RIP stood: "at +0" is a fault, on the
 * instruction; anything else is a trap, behind it.
 */
#include "paging.h"
#include "trap.h"
#include "time.h"

#define UNMAPPED   ((char *)0x8000000000)
#define XEN_VADDR  0xffff830000000000UL

#define TRY(what, instructions) do {            \
        probe.target = 0;                       \
        PROBE(instructions, :: "memory", "cc", "rax", "rcx", "rdx", "rbx", "rsi", "rdi"); \
        report(what);                           \
    } while (0)

/* The same with rdi pointing to something. */
#define TRY_AT(what, pointer, instructions) do { \
        uint64_t rdi = (uint64_t)(pointer);     \
        probe.target = (void *)rdi;             \
        PROBE(instructions, "+D" (rdi) :: "memory", "cc", "rax", "rcx", "rdx", "rbx", "rsi"); \
        report(what);                           \
    } while (0)

static char page[8][PAGE_SIZE] __attribute__((aligned(4096)));

#define data      page[0]
#define absent    page[1]                       /* always behind data */
#define read_only page[2]
#define no_exec   page[3]
#define gdt       ((uint64_t *)page[4])
#define ldt       ((uint64_t *)page[5])

static vcpu_info_t *vcpu_info(void)
{
    return &shared_info->vcpu_info[0];
}

static void show_frame(const char *what)
{
    const struct regs *regs = &probe.regs;

    print("%-24s cs %x ss %lx, rflags.IF %d IOPL %d, saved mask %d, mask in the handler %d\n", what, regs->cs, regs->ss,
          !!(regs->rflags & RFLAGS_IF), (int)(regs->rflags & RFLAGS_IOPL) >> 12, regs->saved_upcall_mask, probe.upcall_mask);
}

static void frames(void)
{
    section("the frame");
    set_trap(3, 3, TRAP_ENTRY(3));
    PROBE("int3", :: "memory");
    show_frame("events masked");
    vcpu_info()->evtchn_upcall_mask = 0;
    PROBE("int3", :: "memory");
    show_frame("events unmasked");
    claim("  unmasked again behind it", vcpu_info()->evtchn_upcall_mask == 0);
    set_trap(3, 3 | TI_CLEAR_EVENTS, TRAP_ENTRY(3));
    PROBE("int3", :: "memory");
    show_frame("gate clears events");
    claim("  unmasked again behind it", vcpu_info()->evtchn_upcall_mask == 0);
    vcpu_info()->evtchn_upcall_mask = 1;
    PROBE("int3", :: "memory");
    show_frame("and events masked");
    claim("  masked still behind it", vcpu_info()->evtchn_upcall_mask == 1);
    set_trap(3, 3, TRAP_ENTRY(3));
    PROBE("std; int3", :: "memory");
    asm volatile ("cld");
    claim("DF is in the frame", (probe.regs.rflags & 0x400) != 0);
    PROBE("movq $0x1111, %%r11; movq $0x2222, %%rcx; int3", :: "memory", "rcx", "r11");
    claim("rcx and r11 arrive beside the frame", probe.regs.r11 == 0x1111 && probe.regs.rcx == 0x2222);
}

static void exceptions(void)
{
    section("exceptions");
    TRY("#DE  div by zero", "xorl %%ecx, %%ecx; divl %%ecx");
    TRY("#DE  idiv overflow", "movq $1 << 63, %%rax; cqto; movq $-1, %%rcx; idivq %%rcx");
    TRY("#DB  TF set by popf, then nop", "pushfq; orl $0x100, (%%rsp); popfq; nop; nop");
    print("     dr6 %lx\n", get_debugreg(6));
    TRY("#DB  int1", ".byte 0xf1");
    TRY("#BP  int3", "int3");
    TRY("#BP  int $3", ".byte 0xcd, 3");
    TRY("#OF  int $4", "int $4");
    TRY("#UD  ud2", "ud2");
    TRY("#UD  push %es", ".byte 0x06");
    TRY("#UD  lock on a register", ".byte 0xf0, 0x01, 0xc0");
    TRY("#UD  aaa", ".byte 0x37");
    TRY("#GP  an instruction of 16 bytes", ".fill 15, 1, 0x66; nop");
    TRY("#GP  non-canonical read", "movq $1 << 47, %%rax; movq (%%rax), %%rax");
    TRY_AT("#GP  movaps, not aligned", data + 4, "movaps %%xmm0, (%%rdi)");
    TRY_AT("#GP  cmpxchg16b, not aligned", data + 8, "cmpxchg16b (%%rdi)");
    TRY("#GP  null to ss", "xorl %%eax, %%eax; movl %%eax, %%ss");
    TRY("#GP  Xen's own code segment to ds", "movl $0xe008, %%eax; movl %%eax, %%ds");
    TRY("#GP  a selector beyond the GDT to es", "movl $0xfffb, %%eax; movl %%eax, %%es");
    TRY("#GP  iretq with NT", "pushfq; orl $0x4000, (%%rsp); popfq; iretq");
    TRY("#GP  rdpmc of no counter", "movl $0x12345, %%ecx; rdpmc");
}

static void page_faults(void)
{
    section("page faults");
    update_va_mapping(absent, 0, UVMF_INVLPG);
    remap(read_only, PTE_RDONLY);
    remap(no_exec, PTE_DATA | PTE_NX);
    memcpy(data, "\x90\x90", 2);

    TRY_AT("read, not present", absent, "movb (%%rdi), %%al");
    TRY_AT("write, not present", absent, "movb %%al, (%%rdi)");
    TRY_AT("write, read-only", read_only, "movb %%al, (%%rdi)");
    TRY_AT("read-modify-write, read-only", read_only, "incl (%%rdi)");
    TRY_AT("cmpxchg that does not match, read-only", read_only, "movl $77, %%eax; cmpxchgl %%ecx, (%%rdi)");
    TRY_AT("bt of a bit far behind, not present", data, "movl $8 * 4096 + 70, %%eax; btl %%eax, (%%rdi)");
    TRY_AT("read of 8 bytes across the border", data + PAGE_SIZE - 3, "movq (%%rdi), %%rax");
    TRY_AT("write of 8 bytes across the border", data + PAGE_SIZE - 3, "movq %%rax, (%%rdi)");
    TRY_AT("jump, not present", absent, "jmp *%%rdi");
    TRY_AT("jump, no-execute", no_exec, "jmp *%%rdi");
    data[PAGE_SIZE - 2] = 0x48;                 /* mov $imm64, %rax begins in data and ends in absent */
    data[PAGE_SIZE - 1] = 0xb8;
    TRY_AT("an instruction across the border", data + PAGE_SIZE - 2, "jmp *%%rdi");
    memset(data, 0x5a, PAGE_SIZE);
    TRY_AT("rep stosb runs into it", data + PAGE_SIZE - 5, "movl $9, %%ecx; movb $1, %%al; rep stosb");
    print("     rcx %lu left, rdi at target+%lx, first byte %x, last byte %x\n", probe.regs.rcx,
          probe.regs.rdi - (uint64_t)probe.target, data[PAGE_SIZE - 5], data[PAGE_SIZE - 1]);
    TRY_AT("rep movsq runs into it", data + PAGE_SIZE - 16, "movq %%rdi, %%rsi; movl $4, %%ecx; rep lodsq");
    print("     rcx %lu left, rsi at target+%lx\n", probe.regs.rcx, probe.regs.rsi - (uint64_t)probe.target);
    TRY_AT("pop to it", absent, "pushq $1; popq (%%rdi)");
    TRY_AT("call through it", absent, "call *(%%rdi)");
    TRY_AT("fxsave to it", absent, "fxsave (%%rdi)");
    TRY_AT("movups read across the border", data + PAGE_SIZE - 8, "movups (%%rdi), %%xmm0");
    TRY_AT("read of Xen's memory", XEN_VADDR, "movb (%%rdi), %%al");
    remap(absent, PTE_DATA);
    remap(read_only, PTE_DATA);
}

static void floating_point(void)
{
    static uint16_t control = 0x37b;            /* like finit's 0x37f, but division by zero is not masked */
    uint64_t cr0;

    section("floating point");
    result("fpu_taskswitch 1", fpu_taskswitch(1));
    asm volatile ("movq %%cr0, %0" : "=r" (cr0));
    claim("  cr0 shows TS", (cr0 & 8) != 0);
    TRY("#NM  fninit", "fninit");
    TRY("     and again: Xen cleared TS", "fninit");
    asm volatile ("movq %%cr0, %0" : "=r" (cr0));
    claim("  cr0 does not show TS", (cr0 & 8) == 0);
    fpu_taskswitch(1);
    TRY("#NM  an SSE instruction", "xorps %%xmm0, %%xmm0");
    fpu_taskswitch(1);
    TRY("     clts, then fninit", "clts; fninit");
    fpu_taskswitch(1);
    result("fpu_taskswitch 0", fpu_taskswitch(0));
    TRY("     fninit", "fninit");
    TRY_AT("     1/0 is kept pending", &control, "fldcw (%%rdi); fld1; fldz; fdivrp");
    TRY("#MF  the next instruction that waits", "fwait");
    TRY("     fninit does not wait", "fninit");
}

static void software_interrupts(void)
{
    section("software interrupts from the kernel");
    for (unsigned int dpl = 0; dpl < 4; dpl++) {
        set_trap(0x21, dpl, TRAP_ENTRY(0x21));
        set_trap(0x80, dpl, TRAP_ENTRY(0x80));
        print("gates of DPL %u\n", dpl);
        TRY("  int $0x21", "int $0x21");
        TRY("  int $0x80", "int $0x80");
    }
    set_trap(0x80, 0 | TI_CLEAR_EVENTS, TRAP_ENTRY(0x80));
    TRY("int $0x80, DPL 0, clears events", "int $0x80");
    set_trap(0x80, 3 | TI_CLEAR_EVENTS, TRAP_ENTRY(0x80));
    TRY("int $0x80, DPL 3, clears events", "int $0x80");
    TRY("int $0x22, no gate", "int $0x22");
    TRY("int $0x82, no gate", "int $0x82");
    TRY("int $0xff, no gate", "int $0xff");
    TRY("int $2, DPL 0", "int $2");
    TRY("int $8, DPL 0", "int $8");
    TRY("int $14, DPL 0", "int $14");
    set_trap(13, 3, TRAP_ENTRY(0x2d));          /* a door that expects no error code */
    TRY("int $13, DPL 3: has no error code", "int $13");
    set_trap(13, 0, TRAP_ENTRY(13));
    set_trap(3, 0, TRAP_ENTRY(3));
    TRY("int3, DPL 0", "int3");
    set_trap(3, 3, TRAP_ENTRY(3));
}

static void trap_tables(void)
{
    struct trap_info table[3] = { { .vector = 0x30, .flags = 3, .cs = KERNEL_CS, .address = TRAP_ENTRY(0x30) },
                                  { .vector = 0x31, .flags = 3, .cs = KERNEL_CS, .address = 1UL << 47 } };

    section("set_trap_table");
    result("a good entry, then a non-canonical address", set_trap_table(table));
    TRY("  the good entry counts: int $0x30", "int $0x30");
    table[0].cs = 0;
    table[1].address = 0;
    result("code selector 0", set_trap_table(table));
    TRY("  int $0x30", "int $0x30");
    table[0].cs = 0xe008;
    result("Xen's own code selector", set_trap_table(table));
    TRY("  int $0x30", "int $0x30");
    table[0].address = XEN_VADDR;
    table[0].cs = KERNEL_CS;
    result("an address in Xen's memory", set_trap_table(table));
    result("a table at an unmapped address", set_trap_table(UNMAPPED));
    result("a table in Xen's memory", set_trap_table(XEN_VADDR));
    result("no table: all gates gone", set_trap_table(0));
    for (unsigned int vector = 0; vector < 20; vector++)
        set_trap(vector, vector == 3 || vector == 4 ? 3 : 0, TRAP_ENTRY(vector));
    TRY("  int $0x21", "int $0x21");
}

static void debug_registers(void)
{
    section("debug registers");
    result("dr0 = data", set_debugreg(0, data));
    result("dr7 = write of 1 byte at dr0", set_debugreg(7, 0x10001));
    TRY_AT("#DB  write there", data, "movb $1, (%%rdi); nop");
    print("     dr6 %lx\n", get_debugreg(6));
    TRY_AT("     write beside it", data + 1, "movb $1, (%%rdi); nop");
    set_debugreg(6, 0xffff0ff0);
    TRY_AT("     read there", data, "movb (%%rdi), %%al; nop");
    set_debugreg(7, 0x30001);
    TRY_AT("#DB  read there, watched for both", data, "movb (%%rdi), %%al; nop");
    set_debugreg(7, 0);
    data[0] = 0x90;
    data[1] = 0xcc;
    set_debugreg(7, 1);
    TRY_AT("#DB  execution there", data, "jmp *%%rdi");
    print("     dr6 %lx\n", get_debugreg(6));
    print("dr7 reads %lx\n", get_debugreg(7));
    TRY("mov %dr7, %rax", "movq %%dr7, %%rax");
    TRY("mov %rax, %dr7", "movl $0x400, %%eax; movq %%rax, %%dr7");
    print("dr7 reads %lx\n", get_debugreg(7));
    result("dr1 = Xen's memory", set_debugreg(1, XEN_VADDR));
    result("dr1 = non-canonical", set_debugreg(1, 1UL << 47));
    result("dr4", set_debugreg(4, 0));
    result("dr5", set_debugreg(5, 0));
    result("dr8", set_debugreg(8, 0));
    result("dr7 = an I/O breakpoint", set_debugreg(7, 0x20001));
    result("dr7 with GD", set_debugreg(7, 0x2001));
    result("dr7 above 32 bits", set_debugreg(7, 1UL << 32));
    result("dr6 above 32 bits", set_debugreg(6, 1UL << 32));
    result("get dr8", get_debugreg(8));
    set_debugreg(7, 0);
    set_debugreg(0, 0);
}

/* Descriptors: present, DPL 3, unless said. */
#define CODE64  0x00affb000000ffffUL
#define CODE32  0x00cffb000000ffffUL
#define DATA    0x00cff3000000ffffUL
#define PRESENT (1UL << 47)
#define DPL3    (3UL << 45)

static void segments(void)
{
    static const struct { const char *name; uint64_t descriptor; } rows[] = {
        { "null",                       0 },
        { "data",                       DATA },
        { "read-only data",             DATA & ~(2UL << 40) },
        { "code",                       CODE64 },
        { "execute-only code",          CODE64 & ~(2UL << 40) },
        { "32-bit code",                CODE32 },
        { "conforming code",            CODE64 | 4UL << 40 },
        { "data, not present",          DATA & ~PRESENT },
        { "code, not present",          CODE64 & ~PRESENT },
        { "data, DPL 0",                DATA & ~DPL3 },
        { "data, DPL 1",                (DATA & ~DPL3) | 1UL << 45 },
        { "code, DPL 0",                CODE64 & ~DPL3 },
        { "an available TSS",           0x0000e90000000067UL },
        { "an LDT",                     0x0000e20000000067UL },
        { "a 64-bit call gate",         0x0000ec0000330000UL | (uint64_t)KERNEL_CS << 16 },
        { "an interrupt gate",          0x0000ee0000330000UL | (uint64_t)KERNEL_CS << 16 },
    };
    xen_pfn_t frames[16] = { mfn_of(gdt) };

    section("segments");
    result("set_gdt, still writable", set_gdt(frames, 512));
    remap(gdt, PTE_RDONLY);
    result("set_gdt, read-only", set_gdt(frames, 512));
    result("set_gdt, one frame and 513 entries", set_gdt(frames, 513));
    result("set_gdt, too many entries", set_gdt(frames, FIRST_RESERVED_GDT_ENTRY + 1));
    result("set_gdt, no such pointer", set_gdt(UNMAPPED, 512));
    result("map it writable", remap(gdt, PTE_DATA));
    for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        long rc = update_descriptor(maddr_of(&gdt[i]), rows[i].descriptor);
        uint64_t selector = i << 3 | 3;

        print("%-20s -> %s", rows[i].name, errno_name(rc));
        if (rc) {
            print("\n");
            continue;
        }
        if (gdt[i] != rows[i].descriptor)
            print(", altered from %016lx to %016lx", rows[i].descriptor, gdt[i]);
        print("\n");
        probe.target = 0;
        PROBE("movl %%ecx, %%ds; xorl %%ecx, %%ecx; movl %%ecx, %%ds", "+c" (selector) :: "memory");
        report("  to ds");
        selector = i << 3 | 3;
        PROBE("movl %%ss, %%eax; movl %%ecx, %%ss; movl %%eax, %%ss", "+c" (selector) :: "memory", "rax");
        report("  to ss");
        if (rows[i].descriptor == CODE32)
            continue;                           /* it would work, and run what follows as 32-bit code */
        PROBE("pushq %%rcx; leaq 8f(%%rip), %%rax; pushq %%rax; lretq;"
              "8: pushq $0xe033; leaq 9f(%%rip), %%rax; pushq %%rax; lretq; 9:",
              "+c" (selector) :: "memory", "rax");
        report("  to cs");
    }
    result("update_descriptor, not a multiple of 8", update_descriptor(maddr_of(gdt) + 4, DATA));
    result("update_descriptor of no frame", update_descriptor(0xfffffffff000UL, DATA));
    result("update_descriptor of a page table", update_descriptor(maddr_of(l4_table()), DATA));
    result("update_descriptor of a data page", update_descriptor(maddr_of(data), DATA));
    result("set_gdt, none", set_gdt(frames, 0));
    result("map it writable", remap(gdt, PTE_DATA));
}

static void local_descriptors(void)
{
    uint64_t selector = 1 << 3 | 7;

    section("an LDT");
    ldt[1] = DATA;
    PROBE("movl %%ecx, %%es", "+c" (selector) :: "memory");
    report("to es, no LDT");
    result("set_ldt, 512 entries of a writable page", mmuext_linear(MMUEXT_SET_LDT, (uint64_t)ldt, 512));
    PROBE("movl %%ecx, %%es; xorl %%ecx, %%ecx; movl %%ecx, %%es", "+c" (selector) :: "memory");
    report("to es, the page is writable");
    claim("  where it is not mapped, cr2 is in the LDT", probe.count == 0 || probe.cr2 == (uint64_t)&ldt[1]);
    remap(ldt, PTE_RDONLY);
    selector = 1 << 3 | 7;
    PROBE("movl %%ecx, %%es; xorl %%ecx, %%ecx; movl %%ecx, %%es", "+c" (selector) :: "memory");
    report("to es, the page is read-only");
    selector = 2 << 3 | 7;
    PROBE("movl %%ecx, %%es", "+c" (selector) :: "memory");
    report("to es, a null descriptor");
    result("map it writable", remap(ldt, PTE_DATA));
    result("set_ldt, none", mmuext_linear(MMUEXT_SET_LDT, 0, 0));
    result("map it writable", remap(ldt, PTE_DATA));
}

/* int3 whose handler returns to something else than the next instruction; then what came of it. */
static struct { uint16_t cs, ss; uint64_t rip, rflags, iret_flags; } way;

static int change_frame(struct regs *regs)
{
    if (regs->vector != 3)
        return 0;
    regs->iret_flags = way.iret_flags;
    if (way.cs)
        regs->cs = way.cs - 1;
    if (way.ss)
        regs->ss = way.ss - 1;
    if (way.rip)
        regs->rip = way.rip;
    if (way.rflags)
        regs->rflags = way.rflags;
    memset(&way, 0, sizeof(way));
    return 1;
}

static void return_through(const char *what)
{
    uint64_t rflags = 0, rcx = 0x2222, r11_out;

    probe.target = (void *)way.rip;
    PROBE("movq $0x1111, %%r11; int3; movq %%r11, %2; pushfq; popq %0; pushq $2; popfq",
          "=&r" (rflags), "+c" (rcx), "=&r" (r11_out) :: "memory", "r11");
    report(what);
    if (probe.count)
        show_frame("  its frame:");
    else
        print("  rflags %lx, rcx %s, r11 %s, events %s\n", rflags & ~0x8d5UL, rcx == 0x2222 ? "kept" : "changed",
              r11_out == 0x1111 ? "kept" : "changed", vcpu_info()->evtchn_upcall_mask ? "masked" : "unmasked");
}

static void ways_back(void)
{
    section("ways back");
    trap_hook = change_frame;
    return_through("iret");
    way.rflags = 0x202;
    return_through("iret, rflags 202");
    way.rflags = 0x2;
    return_through("iret, rflags 2");
    way.iret_flags = VGCF_in_syscall;
    return_through("iret with VGCF_in_syscall");
    way.rflags = 0x254ad7 | RFLAGS_IF;
    return_through("iret, with all that it may set in rflags");
    way.cs = 0xe02a + 1;
    return_through("iret, cs is a data segment");
    way.cs = 0xfff0 + 1;
    return_through("iret, cs beyond the GDT");
    way.cs = 0 + 1;
    return_through("iret, cs 0");
    way.ss = 0 + 1;
    return_through("iret, ss 0");
    way.ss = 0xe030 + 1;
    return_through("iret, ss is a code segment");
    way.rip = 1UL << 47;
    return_through("iret, rip non-canonical");
    way.rip = (uint64_t)absent;
    update_va_mapping(absent, 0, UVMF_INVLPG);
    return_through("iret, rip not present");
    remap(absent, PTE_DATA);
    trap_hook = 0;
}

/*
 * A descriptor goes away while es still names it. Nothing happens until Xen has to load es again, which it does
 * when another domain ran in between: always beside a dom0, never for a dom0 that is alone.
 */
static volatile int failsafes;

static int take_failsafe(struct regs *regs)
{
    if (regs->vector != FAILSAFE_CALLBACK)
        return 0;
    failsafes++;
    asm volatile ("movl %0, %%es" :: "r" (0));
    regs->iret_flags = 0;
    return 1;
}

static void failsafe(void)
{
    xen_pfn_t frames[16] = { mfn_of(gdt) };
    uint64_t selector = 0x0b;

    section("failsafe callback");
    gdt[1] = DATA;
    remap(gdt, PTE_RDONLY);
    set_gdt(frames, 512);
    trap_hook = take_failsafe;
    asm volatile ("movl %%ecx, %%es" : "+c" (selector));
    result("the descriptor in es, made not present", update_descriptor(maddr_of(&gdt[1]), DATA & ~PRESENT));
    for (int polls = 0; polls < 100 && !failsafes; polls++)
        sleep_for(10 * MILLISECOND);
    asm volatile ("movl %0, %%es" :: "r" (0));
    claim("it came at most once", failsafes <= 1);
    claim("if it came, it told the four selectors",
          failsafes == 0 || (failsafe_selectors[0] == 0 && failsafe_selectors[1] == 0x0b && failsafe_selectors[2] == 0 &&
                             failsafe_selectors[3] == 0));
    trap_hook = 0;
}

void guest_main(void)
{
    traps_init();
    frames();
    exceptions();
    page_faults();
    floating_point();
    software_interrupts();
    trap_tables();
    debug_registers();
    segments();
    local_descriptors();
    ways_back();
    failsafe();
    print("traps: done\n");
}
