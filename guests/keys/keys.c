/*
 * Echoes what is typed: the key itself at once, the whole line again after Enter, and the names of keys that do not print.
 * Ends on a line `quit` or `q`, on Ctrl-D, or when no key came for five seconds, so that it also ends where nobody types;
 * with the command line `wait` it waits for ever.
 */
#include "event.h"
#include "paging.h"
#include "time.h"
#include "trap.h"

#define POLLS 50                                /* of 100 ms each */

static evtchn_port_t port;                      /* tells of new keys; 0 when there is none */

/* The ring's own port in a domU, VIRQ_CONSOLE in dom0. It stays masked: poll looks at its pending bit. */
static void listen(void)
{
    if (!is_dom0())
        port = start_info->console.domU.evtchn;
    else if (bind_virq(VIRQ_CONSOLE, &port))
        port = 0;
}

/* The next key; -1 when none came in time. */
static int wait_for_key(int for_ever)
{
    for (int polls = 0; polls < POLLS || for_ever; polls++) {
        struct sched_poll poll = { .nr_ports = port != 0, .timeout = system_time() + 100 * MILLISECOND };
        int key;

        if (port)
            clear_pending(port);                /* before the look at the ring, so that no key is missed */
        key = console_read();
        if (key >= 0)
            return key;
        set_xen_guest_handle(poll.ports, &port);
        sched_op(SCHEDOP_poll, &poll);
    }
    return -1;
}

/* At once, unlike print, which waits for the end of the line. */
static void echo(const char *text)
{
    console_write(text, strlen(text));
}

void guest_main(void)
{
    static char line[256];
    unsigned int size = 0, keys = 0;
    int for_ever = !strcmp((const char *)start_info->cmd_line, "wait");

    traps_init();
    listen();
    print("keys: type something; quit or Ctrl-D ends\n");
    for (;;) {
        int key = wait_for_key(for_ever);

        if (key < 0) {
            print("%sno key for %d polls: the end\n", size ? "\n" : "", POLLS);
            break;
        }
        keys++;
        if (key == 4) {
            print("^D\n");
            break;
        }
        if (key == '\r' || key == '\n') {
            line[size] = 0;
            print("\nline of %u: %s\n", size, line);
            if (!strcmp(line, "quit") || !strcmp(line, "q"))
                break;
            size = 0;
        } else if (key == 127 || key == '\b') {
            if (size) {
                size--;
                echo("\b \b");
            }
        } else if (key < 32) {
            echo((char[]){ '^', key + 64, 0 });
        } else if (size < sizeof(line) - 1) {
            line[size++] = key;
            echo((char[]){ key, 0 });
        }
    }
    print("keys: %u keys, done\n", keys);
}
