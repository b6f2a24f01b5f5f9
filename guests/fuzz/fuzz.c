/*
 * Hypercalls in a random order with random arguments, most of them well-formed; what earlier ones did decides about later ones.
 * The command line is a seed and a number of steps: the same two make the same calls everywhere, so consoles can be
 * compared. A step is a line:
 *
 *     17 grant.copy(SELF p3+0 -> me g18+12, 64, flags 2) = 0 {12=fffffffd} g18=9
 *
 * step, call with arguments, answer, the words of the arguments that changed by their offset, the memory that changed
 * (watch.c). Wants two vCPUs.
 */
#include "command_line.h"
#include "fuzz.h"

#define MOST_CALLS 5
#define ROOM 3072

unsigned char pages[PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
unsigned char tables[TABLES][PAGE_SIZE] __attribute__((aligned(4096)));
unsigned char windows[WINDOWS][PAGE_SIZE] __attribute__((aligned(4096)));
unsigned char table_page[PAGE_SIZE] __attribute__((aligned(4096)));
uint64_t extras[EXTRAS];
domid_t self;
evtchn_port_t first_port;
unsigned int last_handle, grant_version = 1;
int is_hushed;

/* Arguments stand in the first page, which the second maps read-only; the third ends where nothing is. */
static unsigned char room[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char read_only_room[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char edge[2 * PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char room_copy[PAGE_SIZE], edge_copy[PAGE_SIZE];
static unsigned int room_used;
static multicall_entry_t entries[MOST_CALLS];
static struct call calls[MOST_CALLS];

void *scratch(unsigned int size)
{
    unsigned char *at = room + room_used;

    room_used += (size + 15) & ~15u;
    if (room_used > sizeof(room))
        panic("too many arguments");
    return memset(at, 0, size);
}

void *argument(struct call *call, unsigned int size, const char *words)
{
    void *at = scratch(size);

    if (call->ranges_used == RANGES)
        panic("too many ranges");
    call->ranges[call->ranges_used++] = (struct range){ at, size, words };
    return at;
}

/* The argument at another place, where behind its first bytes there is nothing. */
static uint64_t cut(struct call *call, void *argument, unsigned int inside)
{
    unsigned char *at = edge + PAGE_SIZE - inside;

    print(" @%u_bytes", inside);
    memcpy(at, argument, inside);
    for (unsigned int i = 0; i < call->ranges_used; i++)
        if (call->ranges[i].at == argument) {
            call->ranges[i].at = at;
            call->ranges[i].size = inside;
        }
    return (uint64_t)at;
}

uint64_t pointer(struct call *call, void *argument, unsigned int size)
{
    static const struct pick wild[] = { { "@NULL", 0 }, { "@8", UNMAPPED }, { "@in_xen", IN_XEN }, { "@non-canonical", NON_CANONICAL }, { "@-1", -1UL },
                                        { "@m2p", MACH2PHYS_VIRT_START }, { "@user", 0x400000 } };
    unsigned int how = any(24);

    if (how > 2 || size == 0)
        return (uint64_t)argument;
    if (how == 0) {
        struct pick picked = one_of(wild);

        print(" %s", picked.name);
        return picked.value;
    }
    if (how == 1) {
        print(" @read-only");
        return (uint64_t)argument - (uint64_t)room + (uint64_t)read_only_room;
    }
    return cut(call, argument, any(2) ? any(size) : size - 1 - any(size < 8 ? size : 8));
}

uint64_t pointer_to_many(struct call *call, void *argument, unsigned int size, int has_end)
{
    return has_end ? cut(call, argument, size) : pointer(call, argument, size);
}

struct registers { uint64_t r9, rcx, r11; };   /* the arguments' own are another's when a call was continued */
extern char behind_call[];

static __attribute__((noinline, noclone)) long perform(unsigned long nr, const unsigned long *args, struct registers *after)
{
    register unsigned long rax asm("rax") = nr, rdi asm("rdi") = args[0], rsi asm("rsi") = args[1], rdx asm("rdx") = args[2];
    register unsigned long r10 asm("r10") = args[3], r8 asm("r8") = args[4], r9 asm("r9") = 0x999, rcx asm("rcx"), r11 asm("r11");

    asm volatile ("syscall\nbehind_call:" : "+r" (rax), "+r" (rdi), "+r" (rsi), "+r" (rdx), "+r" (r10), "+r" (r8), "+r" (r9), "=r" (rcx), "=r" (r11) :: "memory");
    *after = (struct registers){ r9, rcx, r11 };
    return rax;
}

static void tell_registers(const struct registers *after)
{
    if (after->r9 != 0x999) print(" r9!");
    if (after->rcx != (uint64_t)behind_call) print(" rcx!");
    if ((after->r11 & ~0x8d5UL) != 0x202) print(" r11=%lx", after->r11);
}

static const unsigned char *copy_of(const unsigned char *at)
{
    return at >= edge && at < edge + sizeof(edge) ? edge_copy + (at - edge) : room_copy + (at - room);
}

static void tell_ranges(const struct call *call)
{
    for (unsigned int i = 0; i < call->ranges_used; i++) {
        const struct range *range = &call->ranges[i];
        const char *kind = range->words;
        int is_first = 1;

        for (unsigned int at = 0; at + 4 <= range->size; ) {
            unsigned int size = *kind == 'f' || *kind == 'm' ? 8 : 4;
            const unsigned char *now = range->at + at, *old = copy_of(now);

            if (at + size > range->size)
                break;
            if (*kind != '-' && (*(uint32_t *)now != *(uint32_t *)old || (size == 8 && *(uint32_t *)(now + 4) != *(uint32_t *)(old + 4)))) {
                print(is_first ? " {%u=" : " %u=", at);
                tell_word(kind, now);
                is_first = 0;
            }
            at += size;
            if (kind[1])
                kind++;
        }
        if (!is_first)
            print("}");
    }
}

static void keep_arguments(void)
{
    memcpy(room_copy, room, sizeof(room));
    memcpy(edge_copy, edge, PAGE_SIZE);
}

static generator *const generators[] = { an_event, a_grant, an_entry, an_extended, a_memory, a_cpu, a_vcpu, another, a_raw };
#define GENERATORS (sizeof(generators) / sizeof(*generators))
static unsigned int weights[GENERATORS], all_weights;

static void generate(struct call *call)
{
    unsigned int which = 0, at = any(all_weights);

    while (at >= weights[which])
        at -= weights[which++];
    memset(call, 0, sizeof(*call));
    generators[which](call);
}

static void tell_answer(const struct call *call, long answer)
{
    print("%s", call->is_hidden && answer > 0 ? "some" : errno_name(answer));
}

static void finish(const struct call *call, long answer)
{
    if (call->after)
        call->after(call, answer);
    tell_ranges(call);
}

static void single(void)
{
    struct call *call = &calls[0];
    struct registers after;
    long answer;

    generate(call);
    keep_arguments();
    answer = perform(call->nr, call->args, &after);
    print(" = ");
    tell_answer(call, answer);
    finish(call, answer);
    tell_registers(&after);
}

static void several(void)
{
    unsigned int count = 1 + any(MOST_CALLS);
    struct call call = { .nr = __HYPERVISOR_multicall, .args = { (unsigned long)entries, count } };
    struct registers after;
    long answer;

    memset(entries, 0, sizeof(entries));
    print("multicall [");
    for (unsigned int i = 0; i < count; i++) {
        print(i ? "; " : "");
        generate(&calls[i]);
        entries[i].op = calls[i].nr;
        entries[i].result = 0x7777;
        for (int j = 0; j < 5; j++)
            entries[i].args[j] = calls[i].args[j];
        if (room_used > ROOM)
            call.args[1] = count = i + 1;
    }
    print("]");
    keep_arguments();
    answer = perform(call.nr, call.args, &after);
    print(" = %s", errno_name(answer));
    for (unsigned int i = 0; i < count; i++) {
        print(i ? "; " : " [");
        if (entries[i].result == 0x7777)
            print("none");
        else
            tell_answer(&calls[i], entries[i].result);
        finish(&calls[i], entries[i].result);
    }
    print("]");
    tell_registers(&after);
}

static domid_t own_domid(void)
{
    struct evtchn_alloc_unbound alloc = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_status status = { .dom = DOMID_SELF };

    event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
    status.port = first_port = alloc.port;
    event_channel_op(EVTCHNOP_status, &status);
    return status.u.unbound.dom;
}

static void prepare(void)
{
    xen_pfn_t frame;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1 };

    traps_init();
    set_xen_guest_handle(setup.frame_list, &frame);
    HYPERCALL3(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, &setup, 1);
    if (setup.status)
        panic("no grant table");
    update_va_mapping(table_page, frame * PAGE_SIZE | PTE_DATA, UVMF_INVLPG);
    update_va_mapping(read_only_room, make_pte(room, PTE_RDONLY), UVMF_INVLPG);
    remap(edge + PAGE_SIZE, 0);
    self = own_domid();
    for (int i = 0; i < WINDOWS; i++)
        remap(windows[i], 0);
    for (int i = 0; i < TABLES; i++)
        remap(tables[i], PTE_RDONLY);
    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    watch_init();
}

void guest_main(void)
{
    uint32_t seed = 1, steps = 40;

    read_number(read_number((const char *)start_info->cmd_line, &seed), &steps);
    print("seed %u, %u steps\n", seed, steps);
    random_init(seed);
    prepare();
    for (unsigned int i = 0; i < GENERATORS; i++)
        all_weights += weights[i] = any(6);
    weights[0]++;
    all_weights++;
    for (uint32_t step = 1; step <= steps; step++) {
        print("%u ", step);
        room_used = 0;
        if (chance(12))
            an_instruction();
        else if (chance(10))
            several();
        else
            single();
        tell_changes();
        print("\n");
    }
    print("end\n");
}
