/* xen_version, vm_assist, and the numbers under which there is no hypercall. */
#include "conform.h"

static const char *const names[] = {
    "version", "extraversion", "compile_info", "capabilities", "changeset", "platform_parameters", "get_features", "pagesize",
    "guest_handle", "commandline", "build_id",
};

static char call[64];

/* "xen_version.changeset" */
static const char *name_of(int cmd)
{
    size_t prefix = sizeof("xen_version.") - 1;

    memcpy(call, "xen_version.", prefix);
    memcpy(call + prefix, names[cmd], strlen(names[cmd]) + 1);
    return call;
}

static void strings(void)
{
    static const unsigned int sizes[] = { 0, 16, 0, 1024, 64 };
    struct xen_compile_info *info = (struct xen_compile_info *)page;

    check("xen_version.version", xen_version(XENVER_version, 0), "no argument");
    for (int cmd = XENVER_extraversion; cmd <= XENVER_changeset; cmd++) {
        filled();
        if (cmd == XENVER_compile_info)
            check_out(name_of(cmd), xen_version(cmd, page), ("a buffer"),
                      ("%s, %s, %s; %u bytes", info->compiler, info->compile_by, info->compile_domain, written()));
        else
            check_out(name_of(cmd), xen_version(cmd, page), ("a buffer"), ("%s; %u bytes", (char *)page, written()));
        for (unsigned int i = 0; sizes[cmd] && i < sizes[cmd]; i++)
            if (page[i] == 0) {
                unsigned int after = 0;

                for (unsigned int k = i; k < sizes[cmd]; k++)
                    after |= page[k];
                fact(name_of(cmd), after == 0, "nothing but zeros behind the string?");
                break;
            }
    }
    filled();
    xen_version(XENVER_compile_info, page);
    fact("xen_version.compile_info", strlen(info->compile_date) > 20 && strlen(info->compile_date) < 32, "a date?");
}

static void numbers(void)
{
    struct xen_platform_parameters platform;
    struct xen_feature_info features;
    unsigned int some = 0;

    check_out("xen_version.platform_parameters", xen_version(XENVER_platform_parameters, &platform), ("a buffer"), ("virt_start=%lx", platform.virt_start));
    for (unsigned int submap = 0; submap < 4; submap++) {
        features = (struct xen_feature_info){ .submap_idx = submap, .submap = 0x5a5a };
        check_out("xen_version.get_features", xen_version(XENVER_get_features, &features), ("submap %u", submap), ("submap=%x", features.submap));
    }
    features = (struct xen_feature_info){ .submap_idx = -1 };
    check("xen_version.get_features", xen_version(XENVER_get_features, &features), "submap 0xffffffff");
    for (int on = 1; on >= 0; on--) {
        vm_assist(on ? VMASST_CMD_enable : VMASST_CMD_disable, VMASST_TYPE_pae_extended_cr3);
        features.submap_idx = 0;
        check_out("xen_version.get_features", xen_version(XENVER_get_features, &features), ("with pae_extended_cr3 %s", on ? "on" : "off"), ("submap=%x", features.submap));
    }
    check("xen_version.pagesize", xen_version(XENVER_pagesize, 0), "NULL");
    filled();
    check_out("xen_version.guest_handle", xen_version(XENVER_guest_handle, page), ("a buffer"), ("%u bytes", written()));
    for (unsigned int i = 0; i < 16; i++)
        some |= page[i];
    fact("xen_version.guest_handle", some != 0, "has the domain one?");
    filled();
    if (is_dom0())                              /* each Xen has its own */
        check("xen_version.commandline", xen_version(XENVER_commandline, page), "a buffer");
    else
        check_out("xen_version.commandline", xen_version(XENVER_commandline, page), ("a buffer"), ("%s; %u bytes", (char *)page, written()));
}

static void pointers(void)
{
    struct xen_build_id id = { .len = 0 };

    for (int cmd = XENVER_version; cmd <= XENVER_build_id; cmd++) {
        if (is_dom0() && (cmd == XENVER_commandline || cmd == XENVER_build_id))
            continue;                           /* each Xen has its own */
        check_wild(name_of(cmd), xen_version(cmd, w->address), "pointer");
        check(name_of(cmd), xen_version(cmd, READ_ONLY), "pointer to a read-only page");
    }
    check("xen_version.build_id", xen_version(XENVER_build_id, &id), "no room");
    id.len = 1;
    check("xen_version.build_id", xen_version(XENVER_build_id, &id), "room for one byte");
    check("xen_version.build_id", xen_version(XENVER_build_id, 0), "NULL");
    check("xen_version.build_id", xen_version(XENVER_build_id, UNMAPPED), "pointer unmapped");
    check("xen_version", xen_version(11, page), "command 11");
    check("xen_version", xen_version(12, page), "command 12");
    check("xen_version", xen_version(-1, page), "command -1");
    check("xen_version", xen_version(1UL << 32 | XENVER_version, 0), "command 0 with rubbish above its 32 bits");
    check("xen_version", xen_version(0x80000000UL, 0), "command 0x80000000");
}

static void assists(void)
{
    static const unsigned int types[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 31, 32, 33, 63, 64, 0x80000000, 0xffffffff };
    static const unsigned int commands[] = { VMASST_CMD_enable, VMASST_CMD_disable, 2, 3, 0xffffffff };
    static const char *const names[] = { "enable", "disable", "command 2", "command 3", "command -1" };

    for (unsigned int c = 0; c < sizeof(commands) / sizeof(*commands); c++)
        for (unsigned int t = 0; t < sizeof(types) / sizeof(*types); t++)
            check("vm_assist", vm_assist(commands[c], types[t]), "%s type %u", names[c], types[t]);
    for (unsigned int twice = 0; twice < 2; twice++)
        check("vm_assist", vm_assist(VMASST_CMD_disable, VMASST_TYPE_writable_pagetables), "disable writable_pagetables, which is off");
    check("vm_assist", vm_assist(VMASST_CMD_enable, 1UL << 32 | 2), "enable type 2 with rubbish above its 32 bits");
    check("vm_assist", vm_assist(1UL << 32 | VMASST_CMD_disable, 2), "disable type 2 with rubbish above the command");
}

static void no_hypercalls(void)
{
    static const unsigned long numbers[] = {
        11, 27, 31, 38, 39, 43, 44, 45, 46, 47, 50, 51, 52, 53, 54, 55, 56, 57, 60, 63, 64, 65, 127, 128, 1000, 0x7fffffff, 0x80000000, 0xffffffff,
    };

    for (unsigned int i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        zeroed();
        check("hypercall", raw(numbers[i], (unsigned long)page, 0, 0, 0, 0), "number %lu", numbers[i]);
    }
    check("hypercall", raw(1UL << 32 | __HYPERVISOR_xen_version, 0, 0, 0, 0, 0), "number 17 with rubbish above its 32 bits");
    check("hypercall", raw(__HYPERVISOR_event_channel_op_compat, (unsigned long)zeroed(), 0, 0, 0, 0), "event_channel_op_compat, zeros");
    check("hypercall", raw(__HYPERVISOR_physdev_op_compat, (unsigned long)zeroed(), 0, 0, 0, 0), "physdev_op_compat, zeros");
}

void suite(void)
{
    strings();
    numbers();
    pointers();
    assists();
    no_hypercalls();
}
