/*
 * The three rings of a PV64 guest. Ring -1 is Xen. Kernel and user both run at CPL 3: Xen keeps them apart by a flag, by
 * two page table trees (NEW_BASEPTR, NEW_USER_BASEPTR) and by what it emulates for the kernel alone when a privileged
 * instruction faults. So `syscall` is a hypercall in the kernel, and a bounce to the kernel's callback in user mode.
 */
#include "paging.h"
#include "trap.h"

#define USER_BASE  ((char *)0x400000)           /* code, stack, data, then a page without US, a read-only one, a hole */
#define USER_CODE  USER_BASE
#define USER_STACK (USER_BASE + PAGE_SIZE)
#define USER_DATA  (USER_BASE + 2 * PAGE_SIZE)
#define USER_CS    0xe033
#define USER_SS    0xe02b

#define TRY(what, instructions) do {            \
        probe.target = 0;                       \
        PROBE(instructions, :: "memory", "cc", "rax", "rcx", "rdx", "rbx", "rsi", "rdi"); \
        report(what);                           \
    } while (0)

static char page[10][PAGE_SIZE] __attribute__((aligned(4096)));
#define code_page  page[0]
#define stack      page[1]
#define data       page[2]
#define private    page[3]
#define read_only  page[4]
#define l1         ((pte_t *)page[5])
#define l2         ((pte_t *)page[6])
#define l3         ((pte_t *)page[7])
#define user_l4    ((pte_t *)page[8])

static char trap_stack[2 * PAGE_SIZE] __attribute__((aligned(16)));     /* where Xen puts frames that come from user mode */

struct program { const char *name; const void *code; uint64_t size; };
extern const struct program user_programs[];

void enter_user(const struct regs *regs);
void leave_user(void) __attribute__((noreturn));

static struct regs user;                        /* as user mode ended */
static uint64_t user_cr2;
static const char *user_frame_end;              /* where its frame ends on the kernel stack */
static uint8_t user_mask;
static uint64_t user_rflags = RFLAGS_IF;        /* what it begins with */

static vcpu_info_t *vcpu_info(void)
{
    return &shared_info->vcpu_info[0];
}

/* What every privileged instruction does in the kernel. */
static void privileged(void)
{
    TRY("cli", "cli");
    print("  evtchn_upcall_mask %d\n", vcpu_info()->evtchn_upcall_mask);
    vcpu_info()->evtchn_upcall_mask = 1;
    TRY("sti", "sti");
    print("  evtchn_upcall_mask %d\n", vcpu_info()->evtchn_upcall_mask);
    TRY("in from port 0x150", "movl $0x150, %%edx; inb %%dx, %%al");
    TRY("out to port 0x150", "movl $0x150, %%edx; outb %%al, %%dx");
}

static void port_reads(void)
{
    uint32_t b = 0, w = 0, l = 0;

    PROBE("inb %%dx, %%al", "+a" (b) : "d" (0x150) : "memory");
    PROBE("inw %%dx, %%ax", "+a" (w) : "d" (0x150) : "memory");
    PROBE("inl %%dx, %%eax", "+a" (l) : "d" (0x150) : "memory");
    print("port 0x150, which nothing answers, reads %x %x %x\n", b, w, l);
}

static void kernel_instructions(void)
{
    static struct { uint16_t limit; uint64_t base; } __attribute__((packed)) table = { 0xffff, 0 };
    uint64_t value, rflags;

    section("privileged instructions in the kernel");
    privileged();
    TRY("hlt", "hlt");
    TRY("mov %cr0, %rax", "movq %%cr0, %%rax");
    asm volatile ("movq %%cr0, %0" : "=r" (value));
    print("  cr0 %lx\n", value);
    TRY("mov %rax, %cr0, the same", "movq %%cr0, %%rax; movq %%rax, %%cr0");
    TRY("mov %rax, %cr0, without PG", "movq %%cr0, %%rax; btr $31, %%rax; movq %%rax, %%cr0");
    TRY("mov %cr2, %rax", "movq %%cr2, %%rax");
    claim("  cr2 is vcpu_info's", ({ asm volatile ("movq %%cr2, %0" : "=r" (value)); value == vcpu_info()->arch.cr2; }));
    TRY("mov %rax, %cr2", "movl $0x77, %%eax; movq %%rax, %%cr2");
    claim("  it is in vcpu_info", vcpu_info()->arch.cr2 == 0x77);
    TRY("mov %cr3, %rax", "movq %%cr3, %%rax");
    TRY("mov %rax, %cr3, the same", "movq %%cr3, %%rax; movq %%rax, %%cr3");
    TRY("mov %rax, %cr3, machine frame 0", "xorl %%eax, %%eax; movq %%rax, %%cr3");
    TRY("mov %cr4, %rax", "movq %%cr4, %%rax");
    TRY("mov %rax, %cr4, the same", "movq %%cr4, %%rax; movq %%rax, %%cr4");
    TRY("mov %cr8, %rax", "movq %%cr8, %%rax");
    TRY("mov %rax, %cr8", "movq %%rax, %%cr8");
    TRY("mov %dr7, %rax", "movq %%dr7, %%rax");
    TRY("clts", "clts");
    TRY("wbinvd", "wbinvd");
    TRY("invd", "invd");
    TRY("invlpg", "invlpg (%%rsp)");
    PROBE("lgdt (%0)", : "r" (&table) : "memory");
    report("lgdt");
    PROBE("lidt (%0)", : "r" (&table) : "memory");
    report("lidt");
    TRY("lldt", "xorl %%eax, %%eax; lldt %%ax");
    TRY("ltr", "movl $0xe040, %%eax; ltr %%ax");
    TRY("lmsw", "movl $0x33, %%eax; lmsw %%ax");
    TRY("swapgs", "swapgs");
    TRY("sysretq", "sysretq");
    TRY("rdpmc", "xorl %%ecx, %%ecx; rdpmc");
    TRY("rdtsc", "rdtsc");
    TRY("cpuid", "xorl %%eax, %%eax; cpuid");

    asm volatile ("pushfq; popq %0" : "=r" (rflags));
    print("pushfq, events masked: IF %d IOPL %ld\n", !!(rflags & RFLAGS_IF), (rflags & RFLAGS_IOPL) >> 12);
    TRY("popfq with IF clear and IOPL 3", "pushq $0x3002; popfq");
    asm volatile ("pushfq; popq %0" : "=r" (rflags));
    print("  then pushfq: IF %d IOPL %ld, evtchn_upcall_mask %d\n", !!(rflags & RFLAGS_IF), (rflags & RFLAGS_IOPL) >> 12,
          vcpu_info()->evtchn_upcall_mask);
}

static void model_specific_registers(void)
{
    static const struct { uint32_t number; const char *name; } rows[] = {
        { 0x00000010, "TSC" }, { 0x0000001b, "APIC_BASE" }, { 0x00000174, "SYSENTER_CS" }, { 0x00000277, "PAT" },
        { 0xc0000080, "EFER" }, { 0xc0000081, "STAR" }, { 0xc0000082, "LSTAR" }, { 0xc0000100, "FS_BASE" },
        { 0xc0000101, "GS_BASE" }, { 0xc0000102, "KERNEL_GS_BASE" }, { 0xc0000103, "TSC_AUX" },
        { 0x12345678, "none of that number" },
    };

    section("rdmsr, and wrmsr of the value read, in the kernel");
    for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t low = 0, high = 0;

        print("%s\n", rows[i].name);
        PROBE("rdmsr", "=a" (low), "=d" (high) : "c" (rows[i].number) : "memory");
        report("  rdmsr");
        PROBE("wrmsr", : "a" (low), "d" (high), "c" (rows[i].number) : "memory");
        report("  wrmsr");
    }
}

static void forced_cpuid(void)
{
    char signature[13] = "";
    uint32_t a = 0x40000000, b = 0, c = 0, d = 0;

    section("forced-emulation cpuid in the kernel");
    PROBE("ud2; .ascii \"xen\"; cpuid", "+a" (a), "=b" (b), "+c" (c), "=d" (d) :: "memory");
    report("ud2; \"xen\"; cpuid of leaf 0x40000000");
    memcpy(signature, &b, 4);
    memcpy(signature + 4, &c, 4);
    memcpy(signature + 8, &d, 4);
    print("  signature %s\n", signature);
    a = 0x40000001;
    PROBE("ud2; .ascii \"xen\"; cpuid", "+a" (a), "=b" (b), "+c" (c), "=d" (d) :: "memory");
    print("  leaf 0x40000001: version %u.%u\n", a >> 16, a & 0xffff);
    a = 0x40000002;
    PROBE("ud2; .ascii \"xen\"; cpuid", "+a" (a), "=b" (b), "+c" (c), "=d" (d) :: "memory");
    print("  leaf 0x40000002: %u hypercall page, its msr %x\n", a, b);
    TRY("ud2; \"xen\"; rdtsc", "ud2; .ascii \"xen\"; rdtsc");
    TRY("ud2; \"xeN\"; cpuid", "ud2; .ascii \"xeN\"; cpuid");
}

static uint64_t read_fs(void)
{
    uint64_t value;

    asm volatile ("movq %%fs:0, %0" : "=r" (value));
    return value;
}

static uint64_t read_gs(void)
{
    uint64_t value;

    asm volatile ("movq %%gs:0, %0" : "=r" (value));
    return value;
}

static void segment_bases(void)
{
    volatile uint64_t *words = (uint64_t *)data;
    uint32_t low, high;

    section("segment bases");
    words[0] = 0xf5;
    words[1] = 0x65;
    result("set FS", set_segment_base(SEGBASE_FS, &words[0]));
    result("set GS_KERNEL", set_segment_base(SEGBASE_GS_KERNEL, &words[1]));
    result("set GS_USER", set_segment_base(SEGBASE_GS_USER, USER_DATA));
    claim("fs: reads from the one", read_fs() == 0xf5);
    claim("gs: reads from the other", read_gs() == 0x65);
    asm volatile ("rdmsr" : "=a" (low), "=d" (high) : "c" (0xc0000100));
    claim("rdmsr of FS_BASE agrees", ((uint64_t)high << 32 | low) == (uint64_t)&words[0]);
    asm volatile ("rdmsr" : "=a" (low), "=d" (high) : "c" (0xc0000101));
    claim("rdmsr of GS_BASE agrees", ((uint64_t)high << 32 | low) == (uint64_t)&words[1]);
    asm volatile ("rdmsr" : "=a" (low), "=d" (high) : "c" (0xc0000102));
    claim("rdmsr of KERNEL_GS_BASE is the user's", ((uint64_t)high << 32 | low) == (uint64_t)USER_DATA);
    asm volatile ("wrmsr" :: "a" ((uint32_t)(uint64_t)&words[1]), "d" ((uint32_t)((uint64_t)&words[1] >> 32)), "c" (0xc0000100));
    claim("wrmsr of FS_BASE moves it", read_fs() == 0x65);
    result("set FS, non-canonical", set_segment_base(SEGBASE_FS, 1UL << 47));
    result("set FS, Xen's memory", set_segment_base(SEGBASE_FS, 0xffff830000000000UL));
    TRY("  a read through it", "movq %%fs:0, %%rax");
    result("set FS, 0", set_segment_base(SEGBASE_FS, 0));
    result("set GS_USER_SEL, null", set_segment_base(SEGBASE_GS_USER_SEL, 0));
    result("set GS_USER_SEL, Xen's code segment", set_segment_base(SEGBASE_GS_USER_SEL, 0xe008));
    result("set GS_USER, again", set_segment_base(SEGBASE_GS_USER, USER_DATA));
    result("set register 4", set_segment_base(4, 0));
    claim("gs: still reads from the other", read_gs() == 0x65);
}

/* Ends user mode: everything that comes from it. */
static int take_from_user(struct regs *regs)
{
    if (!(regs->cs & 3))
        return 0;
    user = *regs;
    user_cr2 = vcpu_info()->arch.cr2;
    user_frame_end = (const char *)(regs + 1);
    user_mask = vcpu_info()->evtchn_upcall_mask;
    vcpu_info()->evtchn_upcall_mask = 1;
    leave_user();
}

static void run_program(const struct program *program)
{
    struct regs regs = { .rip = (uint64_t)USER_CODE, .cs = USER_CS, .ss = USER_SS, .rflags = user_rflags | 2,
                         .rsp = (uint64_t)USER_STACK + PAGE_SIZE - 64, .rdi = (uint64_t)USER_DATA };

    memcpy(code_page, program->code, program->size);
    enter_user(&regs);
}

static void report_user(const char *what)
{
    uint64_t offset = user.rip - (uint64_t)USER_CODE;

    print("%-34s -> %s", what, vector_name(user.vector));
    if (user.vector < 32 && 1u << user.vector & ERROR_CODE_VECTORS)
        print("(%lx)", user.error);
    if (user.vector >= 32 && user.vector < 256)
        print(" %lx", user.vector);
    if (offset < PAGE_SIZE)
        print(" at +%ld", offset);
    else if (offset < 6 * PAGE_SIZE)
        print(" at data+%lx", user.rip - (uint64_t)USER_DATA);
    else
        print(" at hypercall_page+%lx", user.rip - (uint64_t)hypercall_page);
    if (user.vector == 14) {
        if (user_cr2 - (uint64_t)USER_CODE < 6 * PAGE_SIZE)
            print(", cr2 = data+%lx", user_cr2 - (uint64_t)USER_DATA);
        else if (user_cr2 - (uint64_t)hypercall_page < PAGE_SIZE)
            print(", cr2 = hypercall_page");
        else
            print(", cr2 = %lx", user_cr2);
    }
    print("\n");
}

/* From the program of one name to that of another. */
static void run_programs(const char *first, const char *last)
{
    int begun = 0;

    for (const struct program *program = user_programs; program->name; program++) {
        begun |= !strcmp(program->name, first);
        if (!begun)
            continue;
        run_program(program);
        report_user(program->name);
        if (!strcmp(program->name, last))
            break;
    }
}

static void run_quietly(const char *name)
{
    const struct program *program = user_programs;

    while (strcmp(program->name, name))
        program++;
    run_program(program);
}

static void build_user_tables(void)
{
    section("user page tables");
    remap(data, PTE_DATA);
    l1[0] = make_pte(code_page, PTE_DATA);
    l1[1] = make_pte(stack, PTE_DATA);
    l1[2] = make_pte(data, PTE_DATA | PTE_NX);
    l1[3] = make_pte(private, PTE_P | PTE_RW);
    l1[4] = make_pte(read_only, PTE_RDONLY);
    l2[table_index(USER_BASE, 2)] = make_pte(l1, PTE_TABLE);
    l3[0] = make_pte(l2, PTE_TABLE);
    user_l4[0] = make_pte(l3, PTE_TABLE);
    remap(l1, PTE_RDONLY);
    remap(l2, PTE_RDONLY);
    remap(l3, PTE_RDONLY);
    remap(user_l4, PTE_RDONLY);
    result("pin the user L4", mmuext(MMUEXT_PIN_L4_TABLE, mfn_of(user_l4)));
    result("the same L3 in the kernel's L4", write_entry(l4_table(), make_pte(l3, PTE_TABLE)));
    result("new_user_baseptr of an L3", mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l3)));
    result("new_user_baseptr of no frame", mmuext(MMUEXT_NEW_USER_BASEPTR, 0xfffffffffUL));
    result("new_user_baseptr", mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(user_l4)));
    result("stack_switch", stack_switch(KERNEL_SS, trap_stack + sizeof(trap_stack)));
    print("entries: data %lx, the page without US %lx\n", l1[2] & ~(PTE_FRAME | PTE_A | PTE_D),
          l1[3] & ~(PTE_FRAME | PTE_A | PTE_D));
}

static void show_user_frame(const char *what)
{
    print("%-24s cs %x ss %lx, rflags.IF %d IOPL %d, saved mask %d, mask in the handler %d\n", what, user.cs, user.ss,
          !!(user.rflags & RFLAGS_IF), (int)(user.rflags & RFLAGS_IOPL) >> 12, user.saved_upcall_mask, user_mask);
}

static void user_mode(void)
{
    struct callback_register callback = { .type = CALLBACKTYPE_syscall, .flags = CALLBACKF_mask_events,
                                          .address = (uint64_t)syscall_entry };

    for (unsigned int dpl = 0; dpl < 4; dpl++)
        set_trap(0x20 + dpl, dpl, TRAP_ENTRY(0x20 + dpl));
    set_trap(0x80, 3, TRAP_ENTRY(0x80));
    trap_hook = take_from_user;

    section("the frame from user mode");
    run_programs("nothing but a syscall", "nothing but a syscall");
    show_user_frame("syscall");
    claim("rcx is the address behind the syscall", user.rcx == user.rip);
    claim("r11 is rflags", user.r11 == user.rflags);
    claim("it is at the top of stack_switch's stack", user_frame_end == trap_stack + sizeof(trap_stack));
    result("syscall callback that masks events", callback_op(CALLBACKOP_register, &callback));
    run_quietly("nothing but a syscall");
    show_user_frame("syscall");
    run_quietly("ud2");
    show_user_frame("ud2");
    user_rflags = 0;
    run_quietly("ud2");
    show_user_frame("ud2, rflags.IF 0 by iret");
    user_rflags = RFLAGS_IF;

    section("user mode, IOPL 0");
    run_programs("ud2", "");
    *(volatile uint64_t *)data = 0xf5;
    run_quietly("read through gs");
    claim("user mode has its own gs base", user.rax == 0xf5);
    claim("the kernel has its own again", read_gs() == 0x65);
    run_quietly("forced-emulation cpuid");
    claim("forced-emulation cpuid tells of Xen", (uint32_t)user.rbx == 0x566e6558);
    run_quietly("popfq with IF clear");
    print("popfq with IF clear, then pushfq: %lx\n", user.rax & (RFLAGS_IF | RFLAGS_IOPL));
    run_quietly("popfq with IOPL 3");
    print("popfq with IOPL 3, then pushfq: %lx\n", user.rax & (RFLAGS_IF | RFLAGS_IOPL));
}

static void io_privilege(void)
{
    struct physdev_set_iopl iopl = { .iopl = 1 };
    static uint8_t bitmap[8192];
    struct physdev_set_iobitmap iobitmap = { .nr_ports = 65536 };

    for (iopl.iopl = 1; iopl.iopl <= 3; iopl.iopl += 2) {
        print("== IOPL %u\n", iopl.iopl);
        result("set_iopl", physdev_op(PHYSDEVOP_set_iopl, &iopl));
        print("in the kernel\n");
        privileged();
        port_reads();
        print("in user mode\n");
        run_programs("cli", "out to port 0x150");
        show_user_frame("its frame");
    }
    iopl.iopl = 4;
    result("set_iopl 4", physdev_op(PHYSDEVOP_set_iopl, &iopl));
    section("architectural IOPL");
    result("vm_assist enable", vm_assist(VMASST_CMD_enable, VMASST_TYPE_architectural_iopl));
    for (user_rflags = RFLAGS_IF; user_rflags <= (RFLAGS_IF | RFLAGS_IOPL); user_rflags += 0x1000) {
        run_quietly("ud2");
        print("iret to user mode with IOPL %ld\n", (user_rflags & RFLAGS_IOPL) >> 12);
        show_user_frame("  the frame of its ud2");
        run_programs("cli", "cli");
        run_programs("in from port 0x150", "in from port 0x150");
    }
    user_rflags = RFLAGS_IF;
    print("in the kernel\n");
    privileged();
    result("vm_assist disable", vm_assist(VMASST_CMD_disable, VMASST_TYPE_architectural_iopl));

    section("I/O bitmap");
    iopl.iopl = 0;
    result("set_iopl 0", physdev_op(PHYSDEVOP_set_iopl, &iopl));
    memset(bitmap, 0xff, sizeof(bitmap));
    bitmap[0x150 / 8] &= ~(1 << 0x150 % 8);
    set_xen_guest_handle(iobitmap.bitmap, bitmap);
    result("set_iobitmap that lets port 0x150 through", physdev_op(PHYSDEVOP_set_iobitmap, &iobitmap));
    run_programs("in from port 0x150", "out to port 0x150");
    TRY("in the kernel, from port 0x150", "movl $0x150, %%edx; inb %%dx, %%al");
    TRY("in the kernel, from port 0x151", "movl $0x151, %%edx; inb %%dx, %%al");
    iobitmap.nr_ports = 65537;
    result("set_iobitmap of 65537 ports", physdev_op(PHYSDEVOP_set_iobitmap, &iobitmap));
}

void guest_main(void)
{
    traps_init();
    kernel_instructions();
    model_specific_registers();
    forced_cpuid();
    segment_bases();
    build_user_tables();
    user_mode();
    io_privilege();
    print("rings: done\n");
}
