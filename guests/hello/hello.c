/*
 * The smallest guest worth booting: it says what it was given at its entry and which of the two consoles
 * it was allowed to use. Also the first thing to try when a new ring -1 does not boot anything yet.
 */
#include "guest.h"

void guest_main(void)
{
    static const char words[] = "these words came through console_io\n";
    long version = xen_version(XENVER_version, 0);
    long written;

    print("hello from ring 3, a PV64 %s on Xen %ld.%ld\n", is_dom0() ? "dom0" : "domU", version >> 16, version & 0xffff);
    print("start_info: magic \"%s\", command line \"%s\"\n", start_info->magic, (const char *)start_info->cmd_line);

    written = console_io(CONSOLEIO_write, sizeof(words) - 1, words);
    print("console_io returned %s\n", errno_name(written));
    print("the console ring is %s\n", is_dom0() ? "absent" : "what you read this through");
    print("bye\n");
}
