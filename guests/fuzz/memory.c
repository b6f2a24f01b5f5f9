/* memory_op: frames that come and go, and the questions. */
#include "fuzz.h"

/* Of the headers for tools only. */
#define MEMOP_EXTENT_SHIFT 6
#define XENMEM_access_op 21
#define XENMEM_paging_op 20
#define XENMEM_sharing_op 22
#define XENMEM_claim_pages 24
#define XENMEM_reserved_device_memory_map 27

#define LISTED 4

static uint64_t reservation_at_start;
static unsigned char list_page[PAGE_SIZE] __attribute__((aligned(4096)));

static void give_back(uint64_t mfn)
{
    struct xen_memory_reservation one = { .nr_extents = 1, .domid = DOMID_SELF };

    set_xen_guest_handle(one.extent_start, &mfn);
    if (memory_op(XENMEM_decrease_reservation, &one) != 1)
        print(" cannot give back");
}

/* A frame that we were given: with a content that is the same everywhere. */
static void take(uint64_t mfn)
{
    for (unsigned int i = 0; i < EXTRAS; i++)
        if (!extras[i]) {
            extras[i] = mfn;
            mmuext(MMUEXT_CLEAR_PAGE, mfn);
            return;
        }
    give_back(mfn);
}

static void after_decrease(const struct call *call, long answer)
{
    const uint64_t *list = (const void *)call->ranges[1].at;

    for (long i = 0; i < answer && (i + 1) * sizeof(*list) <= call->ranges[1].size; i++)
        for (unsigned int j = 0; j < EXTRAS; j++)
            if (list[i] == extras[j])
                extras[j] = 0;
}

static void after_increase(const struct call *call, long answer)
{
    const uint64_t *list = (const void *)call->ranges[1].at;

    if (call->ranges[1].size < LISTED * sizeof(*list))
        return;
    for (long i = call->args[0] >> MEMOP_EXTENT_SHIFT; i < answer && i < LISTED; i++)
        take(list[i]);
}

static void after_exchange(const struct call *call, long answer)
{
    const struct xen_memory_exchange *arg = (const void *)call->ranges[0].at;
    const uint64_t *in = (const void *)call->ranges[1].at, *out = (const void *)call->ranges[2].at;

    (void)answer;
    for (unsigned int i = 0; i < arg->nr_exchanged; i++)
        for (unsigned int j = 0; j < EXTRAS; j++)
            if (in[i] == extras[j])
                extras[j] = 0;
    for (unsigned int i = 0; i < arg->nr_exchanged; i++)
        take(out[i]);
}

static uint64_t place_of_new(void)
{
    static const uint64_t places[] = { 0x9000, 0x9001, 0x9002, 0x9003, 0xa000, 0, 1UL << 40, -1UL };
    uint64_t place = one_of(places);

    print(" %lx", place);
    return place;
}

static uint64_t frame_to_lose(void)
{
    struct pick f = { "mfn_2^40", 1UL << 40 };

    if (any(6))
        for (int tries = 0; tries < 6; tries++) {
            unsigned int i = any(EXTRAS);

            if (extras[i]) {
                f = (struct pick){ frame_name(extras[i]), extras[i] };
                break;
            }
        }
    else if (any(2))
        f = (struct pick){ "p6", mfn_of(pages[6]) };
    print(" %s", f.name);
    return f.value;
}

static void reservation(struct call *call)
{
    struct xen_memory_reservation *arg = argument(call, sizeof(*arg), ".");
    uint64_t *list = argument(call, LISTED * sizeof(*list), "f");
    struct pick d = any(6) ? (struct pick){ "SELF", DOMID_SELF } : domain();
    static const unsigned int orders[] = { 0, 0, 0, 0, 0, 0, 0, 0, 9, 10, 18, 20, 63, 64, 0xffffffff }, flags[] = { 0, 0, 0, 0, 0, 40, 64, 31, 1, 12, 13, 20, 21, 24, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 0xffffffff };
    unsigned int what = any(3), start = any(8) ? 0 : any(4);
    struct pick count = any(12) ? (struct pick){ "few", any(LISTED + 1) } : (struct pick){ "2^63", 1UL << 63 };

    arg->nr_extents = count.value;
    arg->domid = d.value;
    arg->mem_flags = one_of(flags);
    arg->extent_order = one_of(orders);
    if (arg->extent_order && what == 1)
        arg->extent_order = 63;
    print("memory.%s(%s, %s %lu, order %u, flags %x", what == 0 ? "increase" : what == 1 ? "decrease" : "populate", d.name, count.name, count.value, arg->extent_order, arg->mem_flags);
    for (unsigned int i = 0; i < LISTED; i++)
        list[i] = what == 0 ? 0 : what == 1 ? frame_to_lose() : place_of_new();
    set_xen_guest_handle(arg->extent_start, what == 0 && chance(3) ? (void *)0 : (void *)pointer_to_many(call, list, LISTED * sizeof(*list), 0));
    print(") start %u", start);
    call->ranges[0].words = ".";
    call->after = what == 1 ? after_decrease : after_increase;
    call->args[0] = (what == 0 ? XENMEM_increase_reservation : what == 1 ? XENMEM_decrease_reservation : XENMEM_populate_physmap) | start << MEMOP_EXTENT_SHIFT;
    if (what == 0 && list != (void *)call->ranges[1].at)
        call->after = 0;
    call->args[1] = pointer(call, arg, sizeof(*arg));
}

static void exchange(struct call *call)
{
    struct xen_memory_exchange *arg = argument(call, sizeof(*arg), ".");
    unsigned int count = any(3), given = any(8) ? count : any(3);
    uint64_t *in = argument(call, count * 8, "f"), *out = argument(call, given * 8, "f");
    struct pick d = any(8) ? (struct pick){ "SELF", DOMID_SELF } : domain();

    print("memory.exchange(%s, %u for %u:", d.name, count, given);
    for (unsigned int i = 0; i < count; i++)
        in[i] = frame_to_lose();
    print(" at");
    for (unsigned int i = 0; i < given; i++)
        out[i] = place_of_new();
    arg->in.nr_extents = count;
    arg->out.nr_extents = given;
    arg->in.domid = d.value;
    arg->out.domid = any(12) ? d.value : 1000;
    arg->in.extent_order = chance(16);
    arg->out.extent_order = chance(16);
    arg->in.mem_flags = chance(16);
    arg->nr_exchanged = chance(12) ? any(3) : 0;
    if (arg->nr_exchanged > 0)
        d = (struct pick){ "1000", 1000 };
    if (arg->out.domid != d.value || arg->in.extent_order || arg->out.extent_order || arg->nr_exchanged)
        print(" odd %u %u %u %lu", arg->out.domid != d.value, arg->in.extent_order, arg->out.extent_order, arg->nr_exchanged);
    set_xen_guest_handle(arg->in.extent_start, chance(12) ? (void *)IN_XEN : in);
    set_xen_guest_handle(arg->out.extent_start, out);     /* what could not be told of would be nobody's */
    print(")");
    call->args[0] = XENMEM_exchange;
    call->args[1] = chance(12) ? IN_XEN : (uint64_t)arg;    /* what could not be written back would not be known */
    if (arg->nr_exchanged == 0 && (void *)call->args[1] == arg && arg->in.extent_start.p == (void *)call->ranges[1].at && arg->out.extent_start.p == (void *)call->ranges[2].at)
        call->after = after_exchange;
}

static void after_current(const struct call *call, long answer)
{
    (void)call;
    if (answer > 0)
        print(" (%ld more than at the start)", answer - (long)reservation_at_start);
}

static void ask(struct call *call)
{
    static const struct { const char *name; unsigned int cmd, size; const char *words; } questions[] = {
        { "current_reservation", XENMEM_current_reservation, 2, "." }, { "machphys_mfn_list", XENMEM_machphys_mfn_list, 24, "-" },
        { "machphys_compat", XENMEM_machphys_compat_mfn_list, 16, "." }, { "machphys_mapping", XENMEM_machphys_mapping, 24, "....-" },
        { "memory_map", XENMEM_memory_map, 16, "." }, { "maximum_gpfn", XENMEM_maximum_gpfn, 2, "." },
        { "add_to_physmap", XENMEM_add_to_physmap, 24, "." }, { "remove_from_physmap", XENMEM_remove_from_physmap, 16, "." },
        { "add_to_physmap_batch", XENMEM_add_to_physmap_batch, 40, "." }, { "claim_pages", XENMEM_claim_pages, 32, "." },
        { "get_vnumainfo", XENMEM_get_vnumainfo, 56, "." }, { "reserved_device_memory_map", XENMEM_reserved_device_memory_map, 24, "." },
        { "acquire_resource", XENMEM_acquire_resource, 40, "." }, { "set_pod_target", XENMEM_set_pod_target, 40, "." }, { "get_pod_target", XENMEM_get_pod_target, 40, "." },
        { "access_op", XENMEM_access_op, 32, "." }, { "paging_op", XENMEM_paging_op, 32, "." }, { "sharing_op", XENMEM_sharing_op, 64, "." },
        { "set_memory_map", XENMEM_set_memory_map, 24, "." }, { "18", 18, 32, "." }, { "19", 19, 32, "." }, { "8", 8, 32, "." }, { "29", 29, 32, "." }, { "63", 63, 32, "." },
    };
    unsigned int which = any(sizeof(questions) / sizeof(*questions)), start = any(8) ? 0 : any(3);
    unsigned char *arg = argument(call, 64, questions[which].words);
    struct pick d = domain();

    for (unsigned int i = 0; i < 64; i += 8)
        *(uint64_t *)(arg + i) = any(2) ? any(5) : one_of(((const uint64_t[]){ 0xffffffff, 1UL << 32, 1UL << 63, -1UL, IN_XEN, (uint64_t)list_page }));
    if (questions[which].cmd == XENMEM_reserved_device_memory_map)
        d = (struct pick){ "no domain", any(3) };
    *(uint16_t *)arg = d.value;
    *(uint16_t *)(arg + 32) = d.value;          /* where a PoD target has it */
    if (any(2))
        arg[2] = arg[3] = 0;
    if (questions[which].cmd == XENMEM_claim_pages)
        *(uint64_t *)(arg + 8) = 1UL << 40;
    if (questions[which].cmd == XENMEM_set_memory_map && is_dom0())
        *(uint16_t *)arg = 1000;
    print("memory.%s(%s", questions[which].name, d.name);
    for (unsigned int i = 0; i < (questions[which].size + 7) / 8u; i++)
        if (*(uint64_t *)(arg + 8 * i) == (uint64_t)list_page)
            print(" list");
        else
            print(" %lx", i == 0 || i == 4 ? *(uint64_t *)(arg + 8 * i) & ~0xffffUL : *(uint64_t *)(arg + 8 * i));
    print(") start %u", start);
    call->args[0] = questions[which].cmd | start << MEMOP_EXTENT_SHIFT;
    call->args[1] = pointer(call, arg, questions[which].size);
    if (questions[which].cmd == XENMEM_current_reservation)
        call->after = after_current;
    call->is_hidden = questions[which].cmd == XENMEM_current_reservation || questions[which].cmd == XENMEM_maximum_gpfn;
}

void a_memory(struct call *call)
{
    if (!reservation_at_start)
        reservation_at_start = memory_op(XENMEM_current_reservation, &(domid_t){ DOMID_SELF });
    call->nr = __HYPERVISOR_memory_op;
    switch (any(8)) {
    case 0: case 1: case 2: case 3: reservation(call); break;
    case 4: exchange(call); break;
    default: ask(call);
    }
}
