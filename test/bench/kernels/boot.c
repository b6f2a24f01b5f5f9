/*
 * Boot-like code, for how an engine does where nothing stays hot for long: two thousand functions over some 250 pages, run
 * window after window; eight processes with page tables of their own between which CR3 switches; user pages that are
 * faulted in, written after they were read-only, and taken away; kernel data over 16 MiB; code that is patched while it runs;
 * interrupts and faults through the IDT, user mode with a stack switch. The checksum says whether all of it went right.
 */
#include "boot_routines.h"

#define COUNT 2048
#define PROCESSES 8
#define PAGES 256 /* of data in a process; then its stack */
#define FRAMES 1920 /* for all processes: fewer than they would like */
#define STEPS 200

#define CODE 0x400000UL
#define TABLES 0xc00000UL /* page tables, contexts, the user's table of routines */
#define KERNEL_DATA 0x1000000UL
#define KERNEL_PAGES 4096
#define POOL 0x2000000UL
#define USER_DATA 0x8000000000UL
#define USER_CODE 0x10000000000UL
#define USER_CONTEXT (USER_CODE + (4UL << 21))
#define USER_STACK (USER_DATA + (PAGES + 2) * 4096)

enum { P = 1, RW = 2, US = 4, PS = 128, G = 256 };

struct __attribute__((packed)) { uint32_t reserved; uint64_t rsp0; uint8_t rest[92]; } tss;
static uint64_t gdt[7], idt[256][2];
static uint8_t *sites[COUNT];
static uint32_t code_size;
static uint64_t next_table, *process_tables[PROCESSES], process_roots[PROCESSES];
static struct { uint16_t process, page; } owners[FRAMES];
static uint32_t next_frame, frames_in_use;
static uint64_t current, faults, ticks, seed;
static struct context kernel, *user;
static routine kernel_routines[COUNT], kernel_session;

extern uint8_t user_return[], user_return_end[];
void load_tables(const void *gdt_pointer, const void *idt_pointer);
void page_fault_entry(void), tick_entry(void), return_entry(void);
uint64_t run_user(uint64_t entry, uint64_t context, uint64_t x, uint64_t depth, uint64_t stack);

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t *new_table(void)
{
    uint64_t *table = (uint64_t *)next_table;
    next_table += 4096;
    for (int i = 0; i < 512; i++)
        table[i] = 0;
    return table;
}

static void set_gate(int vector, void (*entry)(void), uint64_t dpl)
{
    uint64_t address = (uint64_t)entry;
    idt[vector][0] = (address & 0xffff) | 8 << 16 | (0x8e00 | dpl << 13) << 32 | (address >> 16 & 0xffff) << 48;
    idt[vector][1] = address >> 32;
}

static void set_up_cpu(void)
{
    uint64_t base = (uint64_t)&tss;
    gdt[1] = 0x00af9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
    gdt[3] = 0x00cff3000000ffff;
    gdt[4] = 0x00affb000000ffff;
    gdt[5] = (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89UL << 40 | (base >> 24 & 0xff) << 56;
    gdt[6] = base >> 32;
    set_gate(14, page_fault_entry, 0);
    set_gate(0x20, tick_entry, 0);
    set_gate(0x80, return_entry, 3);
    struct __attribute__((packed)) { uint16_t limit; uint64_t base; } gdtr = { sizeof gdt - 1, (uint64_t)gdt },
                                                                      idtr = { sizeof idt - 1, (uint64_t)idt };
    load_tables(&gdtr, &idtr);
    uint64_t cr0;
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %0, %%cr0" : : "r"(cr0 | 1 << 16)); /* WP */
}

/* Copies a template to `to`, or some bytes further, and says where its site is. Behind it is room for the next. */
static uint8_t *load(uint64_t which, uint8_t *to, routine *loaded, uint8_t **site)
{
    const uint8_t *from = (const uint8_t *)templates[which];
    uint64_t size = (uint64_t)((const uint8_t *)templates[which + 1] - from);
    to = (uint8_t *)(((uint64_t)to + 15) & ~15UL) + (next_random() >> 20 & 0x1f) * 16;
    *loaded = (routine)to;
    for (uint64_t i = 0; i < size; i++) {
        to[i] = from[i];
        if (i >= 17 && *(uint32_t *)(to + i - 15) == SITE_MARK)
            *site = to + i - 11;
    }
    return to + size;
}

/* One after the other, across pages as a linker lays them. */
static void load_routines(void)
{
    uint8_t *to = (uint8_t *)CODE, *unused;
    for (uint8_t *from = user_return; from < user_return_end; from++)
        *to++ = *from;
    to = load(TEMPLATES, to, &kernel_session, &unused);
    for (int i = 0; i < COUNT; i++)
        to = load(next_random() % TEMPLATES, to, &kernel_routines[i], &sites[i]);
    code_size = (uint32_t)((uint64_t)to - CODE);
}

/* A jump over the addq or none, and another immediate, as alternatives and static keys are patched. */
static void patch(uint64_t which, uint64_t value)
{
    uint8_t *site = sites[which];
    if (!site)
        return;
    *(volatile uint16_t *)site = value & 1 ? 0x04eb : 0x9066;
    *(volatile uint32_t *)(site + 8) = (uint32_t)(value >> 33);
}

static void set_up_processes(void)
{
    next_table = TABLES;
    uint64_t *identity = new_table(), *directory = new_table();
    for (uint64_t i = 0; i < 32; i++)
        directory[i] = i << 21 | P | RW | PS | G;
    identity[0] = (uint64_t)directory | P | RW;
    uint64_t *shared = new_table(), *shared_directory = new_table();
    uint64_t pages = (code_size + 4095) / 4096;
    shared[0] = (uint64_t)shared_directory | P | RW | US;
    for (uint64_t i = 0; i < pages; i += 512) {
        uint64_t *leaves = new_table();
        shared_directory[i / 512] = (uint64_t)leaves | P | RW | US;
        for (uint64_t j = 0; j < 512 && i + j < pages; j++)
            leaves[j] = (CODE + (i + j) * 4096) | P | US;
    }
    /* The user's context and its table of routines, behind the code. */
    uint64_t *leaves = new_table();
    shared_directory[4] = (uint64_t)leaves | P | RW | US;
    user = (struct context *)new_table();
    leaves[0] = (uint64_t)user | P | RW | US;
    for (uint64_t i = 0; i < COUNT; i += 512) {
        uint64_t *part = new_table();
        leaves[1 + i / 512] = (uint64_t)part | P | US;
        for (int j = 0; j < 512; j++)
            part[j] = (uint64_t)kernel_routines[i + j] - CODE + USER_CODE;
    }
    *user = (struct context){ (const routine *)(USER_CONTEXT + 4096), COUNT, 0, 64, (uint64_t *)USER_DATA, PAGES };
    for (int i = 0; i < PROCESSES; i++) {
        uint64_t *root = new_table(), *level3 = new_table(), *level2 = new_table();
        process_tables[i] = new_table();
        /* A routine returns to the code's first bytes, which are user_return. */
        uint64_t *stack = new_table();
        stack[511] = USER_CODE;
        process_tables[i][PAGES + 1] = (uint64_t)stack | P | RW | US;
        root[0] = (uint64_t)identity | P | RW;
        root[1] = (uint64_t)level3 | P | RW | US;
        root[2] = (uint64_t)shared | P | RW | US;
        level3[0] = (uint64_t)level2 | P | RW | US;
        level2[0] = (uint64_t)process_tables[i] | P | RW | US;
        process_roots[i] = (uint64_t)root;
    }
}

static void switch_to(uint64_t process)
{
    current = process;
    asm volatile("mov %0, %%cr3" : : "r"(process_roots[process]) : "memory");
}

/* Nobody's frame, or the one that is longest in use. */
static uint64_t take_frame(uint64_t page)
{
    uint32_t frame = next_frame;
    next_frame = frame + 1 == FRAMES ? 0 : frame + 1;
    if (frames_in_use < FRAMES)
        frames_in_use++;
    else {
        process_tables[owners[frame].process][owners[frame].page] = 0;
        if (owners[frame].process == current)
            asm volatile("invlpg (%0)" : : "r"(USER_DATA + owners[frame].page * 4096UL) : "memory");
    }
    owners[frame].process = (uint16_t)current;
    owners[frame].page = (uint16_t)page;
    uint64_t at = POOL + frame * 4096UL, count = 512;
    uint64_t *to = (uint64_t *)at;
    asm volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    return at;
}

void page_fault(uint64_t address, uint64_t error)
{
    uint64_t page = (address - USER_DATA) >> 12, *entry = &process_tables[current][page];
    if (*entry & P) { /* how often depends on whether an engine reads before it writes, as QEMU does */
        *entry |= RW;
        asm volatile("invlpg (%0)" : : "r"(address) : "memory");
    } else {
        faults++;
        *entry = take_frame(page) | P | US | (error & 2);
    }
}

void tick(void)
{
    ticks++;
    kernel.base = (kernel.base + 1) & (COUNT - 1);
}

/* One process gets the core, does something, calls the kernel, which does something, too. */
static uint64_t step(uint64_t x)
{
    if ((x & 3) != 3)
        switch_to(x >> 2 & (PROCESSES - 1));
    x ^= run_user((uint64_t)kernel_session - CODE + USER_CODE, USER_CONTEXT, x, 8, USER_STACK - 8);
    uint64_t flags;
    asm volatile("pushfq; popq %0; cli" : "=r"(flags));
    x += kernel_session(&kernel, x, 5);
    asm volatile("pushq %0; popfq" : : "r"(flags) : "cc");
    if ((x & 7) == 1)
        asm volatile("int $0x20" : : : "memory");
    x ^= kernel_session(&kernel, x, 6);
    if ((x & 31) == 2)
        patch((kernel.base + (x >> 16 & 63)) & (COUNT - 1), x);
    return x;
}

uint64_t run_kernel(uint64_t number, uint64_t rounds)
{
    (void)number;
    seed = 88172645463325252;
    set_up_cpu();
    load_routines();
    set_up_processes();
    kernel = (struct context){ kernel_routines, COUNT, 0, 128, (uint64_t *)KERNEL_DATA, KERNEL_PAGES };
    switch_to(0);
    for (int i = 0; i < COUNT; i++)
        patch((uint64_t)i, next_random());
    uint64_t x = 1;
    for (uint64_t round = 0; round < rounds; round++) {
        for (int i = 0; i < STEPS; i++) {
            x = step(x);
            x ^= next_random();
        }
        kernel.base = (kernel.base + 32) & (COUNT - 1);
        user->base = (user->base + 16) & (COUNT - 1);
    }
    return x ^ faults << 40 ^ ticks;
}
