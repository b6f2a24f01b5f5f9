// Plays a scenario (scenarios.ts describes the language) on the C library of Unicorn and prints what happened, one line
// an answer or callback. gcc judge.c -lunicorn
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicorn/unicorn.h>

#define MAX_HOOKS 32
#define MAX_ACTIONS 256

static uc_engine *uc;
static uc_context *context;
static struct hook {
    uc_hook handle;
    int calls, result;
    uint64_t value;
} hooks[MAX_HOOKS];
static struct action {
    int hook, call;
    char line[256];
} actions[MAX_ACTIONS];
static int action_count, current = -1;

static void run(const char *text);

static uint64_t number(const char *word) { return word ? strtoull(word, NULL, 0) : 0; }

static size_t bytes_of(const char *hex, uint8_t *out) {
    size_t n = 0;
    for (; hex && hex[0] && hex[1]; hex += 2) {
        char pair[3] = {hex[0], hex[1], 0};
        out[n++] = strtoul(pair, NULL, 16);
    }
    return n;
}

static void print_bytes(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) printf("%02x", bytes[i]);
    printf("\n");
}

// Runs what the scenario has for this call of this hook; returns what the callback shall return.
static int react(struct hook *hook) {
    int index = hook - hooks, call = ++hook->calls, outer = current;
    hook->result = 0;
    current = index;
    for (int i = 0; i < action_count; i++)
        if (actions[i].hook == index && (actions[i].call == 0 || actions[i].call == call)) run(actions[i].line);
    current = outer;
    return hook->result;
}

static void on_code(uc_engine *u, uint64_t address, uint32_t size, void *data) {
    printf("#%d code %" PRIx64 " %u\n", (int)((struct hook *)data - hooks), address, size);
    react(data);
}
static void on_intr(uc_engine *u, uint32_t number, void *data) {
    printf("#%d intr %u\n", (int)((struct hook *)data - hooks), number);
    react(data);
}
static void on_insn(uc_engine *u, void *data) {
    printf("#%d insn\n", (int)((struct hook *)data - hooks));
    react(data);
}
static int on_cpuid(uc_engine *u, void *data) {
    printf("#%d insn\n", (int)((struct hook *)data - hooks));
    return react(data);
}
static bool on_invalid(uc_engine *u, void *data) {
    printf("#%d invalid\n", (int)((struct hook *)data - hooks));
    return react(data);
}
static uint32_t on_in(uc_engine *u, uint32_t port, int size, void *data) {
    printf("#%d in %x %d\n", (int)((struct hook *)data - hooks), port, size);
    react(data);
    return ((struct hook *)data)->value;
}
static void on_out(uc_engine *u, uint32_t port, int size, uint32_t value, void *data) {
    printf("#%d out %x %d %x\n", (int)((struct hook *)data - hooks), port, size, value);
    react(data);
}
static bool on_memory(uc_engine *u, uc_mem_type type, uint64_t address, int size, int64_t value, void *data) {
    // The value means something for stores and for READ_AFTER only.
    int has_value = type == UC_MEM_WRITE || type == UC_MEM_WRITE_UNMAPPED || type == UC_MEM_WRITE_PROT || type == UC_MEM_READ_AFTER;
    printf("#%d mem %d %" PRIx64 " %d", (int)((struct hook *)data - hooks), type, address, size);
    if (has_value) printf(" %" PRIx64, value);
    printf("\n");
    return react(data);
}

static void *callback_of(int type, int insn) {
    if (type & (UC_HOOK_CODE | UC_HOOK_BLOCK)) return on_code;
    if (type & UC_HOOK_INTR) return on_intr;
    if (type & UC_HOOK_INSN_INVALID) return on_invalid;
    if (type & UC_HOOK_INSN)
        return insn == UC_X86_INS_IN ? (void *)on_in : insn == UC_X86_INS_OUT ? (void *)on_out : insn == UC_X86_INS_CPUID ? (void *)on_cpuid : (void *)on_insn;
    return on_memory;
}

static void run(const char *text) {
    char line[4096], *words[40] = {0};
    int count = 0;
    uint8_t buffer[4096];
    snprintf(line, sizeof line, "%s", text);
    for (char *word = strtok(line, " \n"); word && count < 40; word = strtok(NULL, " \n")) words[count++] = word;
    if (count == 0 || words[0][0] == ';') return;
    const char *name = words[0];
    uint64_t a = number(words[1]), b = number(words[2]), c = number(words[3]);
    int err = -1;
#define IS(x) (strcmp(name, x) == 0)
    if (IS("open")) err = uc_open(UC_ARCH_X86, a, &uc);
    else if (IS("map")) err = uc_mem_map(uc, a, b, c);
    else if (IS("unmap")) err = uc_mem_unmap(uc, a, b);
    else if (IS("protect")) err = uc_mem_protect(uc, a, b, c);
    else if (IS("write")) err = uc_mem_write(uc, a, buffer, bytes_of(words[2], buffer));
    else if (IS("read")) {
        err = uc_mem_read(uc, a, buffer, b);
        if (!err) {
            printf("%s ", text);
            print_bytes(buffer, b);
            return;
        }
    } else if (IS("rw")) {
        memset(buffer, 0, 128);
        bytes_of(words[2], buffer);
        err = uc_reg_write(uc, a, buffer);
    } else if (IS("rr")) {
        memset(buffer, 0, 128); // as unicorn.js does
        err = uc_reg_read(uc, a, buffer);
        if (!err) {
            printf("%s ", text);
            print_bytes(buffer, b);
            return;
        }
    } else if (IS("hook")) {
        // hook INDEX TYPE BEGIN END [INSN]
        memset(&hooks[a], 0, sizeof hooks[a]);
        int insn = number(words[5]);
        err = uc_hook_add(uc, &hooks[a].handle, b, callback_of(b, insn), &hooks[a], c, number(words[4]), insn);
    } else if (IS("unhook")) err = uc_hook_del(uc, hooks[a].handle);
    else if (IS("on")) {
        // on INDEX CALL COMMAND...: CALL 0 is every call
        struct action *action = &actions[action_count++];
        action->hook = a;
        action->call = b;
        for (int i = 3; i < count; i++) {
            strcat(action->line, words[i]);
            strcat(action->line, " ");
        }
        return;
    } else if (IS("return")) {
        hooks[current].result = a;
        hooks[current].value = a;
        return;
    } else if (IS("start")) err = uc_emu_start(uc, a, b, c, number(words[4]));
    else if (IS("stop")) err = uc_emu_stop(uc);
    else if (IS("save")) {
        if (!context) uc_context_alloc(uc, &context);
        err = uc_context_save(uc, context);
    } else if (IS("restore")) err = uc_context_restore(uc, context);
    else if (IS("regions")) {
        uc_mem_region *regions;
        uint32_t n;
        err = uc_mem_regions(uc, &regions, &n);
        for (uint32_t i = 0; i < n; i++) printf("region %" PRIx64 " %" PRIx64 " %u\n", regions[i].begin, regions[i].end, regions[i].perms);
    } else if (IS("query")) {
        size_t result = 0;
        err = uc_query(uc, a, &result);
        if (!err) {
            printf("%s %zx\n", text, result);
            return;
        }
    } else if (IS("ctl")) {
        uint32_t value = 0;
        uint64_t wide = 0;
        if (strcmp(words[1], "mode") == 0) err = uc_ctl_get_mode(uc, &value), wide = value;
        else if (strcmp(words[1], "page_size") == 0) err = uc_ctl_get_page_size(uc, &value), wide = value;
        else if (strcmp(words[1], "set_page_size") == 0) err = uc_ctl_set_page_size(uc, b);
        else if (strcmp(words[1], "arch") == 0) err = uc_ctl_get_arch(uc, &value), wide = value;
        else if (strcmp(words[1], "timeout") == 0) err = uc_ctl_get_timeout(uc, &wide);
        else if (strcmp(words[1], "exits_enable") == 0) err = uc_ctl_exits_enable(uc);
        else if (strcmp(words[1], "exits_disable") == 0) err = uc_ctl_exits_disable(uc);
        else if (strcmp(words[1], "exits_cnt") == 0) {
            size_t n = 0;
            err = uc_ctl_get_exits_cnt(uc, &n), wide = n;
        } else if (strcmp(words[1], "exits") == 0) {
            uint64_t exits[16];
            for (int i = 2; i < count; i++) exits[i - 2] = number(words[i]);
            err = uc_ctl_set_exits(uc, exits, (size_t)(count - 2));
        } else if (strcmp(words[1], "get_model") == 0) err = uc_ctl_get_cpu_model(uc, &value), wide = value;
        else if (strcmp(words[1], "set_model") == 0) err = uc_ctl_set_cpu_model(uc, (int)b);
        else if (strcmp(words[1], "flush") == 0) err = uc_ctl_flush_tlb(uc);
        else if (strcmp(words[1], "remove") == 0) err = uc_ctl_remove_cache(uc, b, c);
        if (!err) {
            printf("%s %" PRIx64 "\n", text, wide);
            return;
        }
    }
    printf("%s -> %d\n", text, err);
}

int main(void) {
    char line[4096];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0]) run(line);
    }
    return 0;
}
