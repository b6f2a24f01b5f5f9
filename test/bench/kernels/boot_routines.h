/*
 * What the boot kernel runs: small functions as a kernel has them, free of relocations, so that boot.c can copy each many
 * times over many pages. A routine gets everything through its context, works on a few words of data, and calls others that
 * its argument chooses. Each has one site that boot.c patches while it is hot (boot.c patch).
 */
#include <stdint.h>

struct context;
typedef uint64_t (*routine)(struct context *, uint64_t x, uint64_t depth);

struct context {
    const routine *routines;
    uint64_t count; /* a power of two, as `window` and `pages` */
    uint64_t base, window; /* calls go to [base, base + window) */
    uint64_t *data;
    uint64_t pages;
};

#define PAGE_WORDS 512
/* testl imm32; a two-byte nop that may become a jump over the addq; xorq imm32 */
#define SITE_MARK 0x2468ace0
#define SITE(x) \
    asm volatile("testl $0x2468ace0, %%eax\n\t.byte 0x66, 0x90\n\taddq $0x35, %%rax\n\txorq $0x13579bdf, %%rax" : "+a"(x)::"cc")

/* Some pages are wanted often, most now and then. */
static inline __attribute__((always_inline)) uint64_t *page(struct context *c, uint64_t x)
{
    return c->data + (x >> 9 & x >> 22 & x >> 35 & (c->pages - 1)) * PAGE_WORDS;
}

static inline __attribute__((always_inline)) uint64_t call(struct context *c, uint64_t x, uint64_t depth)
{
    if (depth == 0)
        return x * 0x9e3779b97f4a7c15;
    return c->routines[(c->base + ((x >> 23) & (c->window - 1))) & (c->count - 1)](c, x, depth - 1);
}

#define ROUTINE(name) \
    static uint64_t __attribute__((noinline, noclone, used, section(".routines"))) name(struct context *c, uint64_t x, uint64_t depth)

ROUTINE(mix)
{
    x = (x ^ x >> 31) * 0x7fb5d329728ea185;
    SITE(x);
    return call(c, x ^ x >> 27, depth);
}

ROUTINE(sum_words)
{
    const uint64_t *words = page(c, x) + (x & 255);
    uint64_t sum = 0;
    for (int i = 0; i < 24; i++)
        sum = (sum << 5 | sum >> 59) + words[i];
    SITE(sum);
    return call(c, x + sum, depth);
}

ROUTINE(fill)
{
    uint64_t *to = page(c, x) + (x & 127), count = 16 + (x >> 40 & 31);
    uint64_t value = x;
    SITE(value);
    asm volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return call(c, value + *page(c, x), depth);
}

ROUTINE(copy)
{
    const uint64_t *from = page(c, x);
    uint64_t *to = page(c, x * 5 + 77), count = 32;
    asm volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count)::"memory");
    x += to[-1];
    SITE(x);
    return call(c, x, depth);
}

ROUTINE(walk_list)
{
    uint64_t at = x;
    for (int i = 0; i < 6; i++) {
        uint64_t *node = page(c, at) + (at & 63);
        at = *node * 3 + at + i;
        *node = at >> 3;
    }
    SITE(at);
    return call(c, at, depth);
}

ROUTINE(find_bits)
{
    uint64_t set = x ^ *page(c, x), sum = 0;
    while (set) {
        sum = sum * 7 + __builtin_ctzll(set);
        set &= set - 1;
        set &= set >> 1;
    }
    SITE(sum);
    return call(c, x ^ sum << 20, depth);
}

ROUTINE(scan_bytes)
{
    const uint8_t *bytes = (const uint8_t *)page(c, x);
    uint32_t length = 0;
    while (length < 40 && bytes[length] != (uint8_t)x)
        length++;
    x += (uint64_t)length << 24;
    SITE(x);
    return call(c, x, depth);
}

ROUTINE(sort_eight)
{
    uint32_t keys[8];
    for (int i = 0; i < 8; i++)
        keys[i] = (uint32_t)(x >> i * 5) * 0x61c88647u;
    for (int i = 1; i < 8; i++) {
        uint32_t key = keys[i];
        int j = i;
        for (; j > 0 && keys[j - 1] > key; j--)
            keys[j] = keys[j - 1];
        keys[j] = key;
    }
    x ^= (uint64_t)keys[1] << 32 | keys[6];
    SITE(x);
    return call(c, x, depth);
}

ROUTINE(lock)
{
    uint64_t *word = page(c, x) + 500;
    uint32_t *held = (uint32_t *)word, expected = *held;
    while (!__atomic_compare_exchange_n(held, &expected, expected + 2, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    x = x * 31 + expected;
    SITE(x);
    x = call(c, x, depth);
    __atomic_store_n(held, (uint32_t)x, __ATOMIC_RELEASE);
    return x;
}

ROUTINE(reference)
{
    uint64_t *word = page(c, x) + 501;
    uint64_t before = __atomic_fetch_add(word, x | 1, __ATOMIC_SEQ_CST);
    SITE(before);
    x = call(c, x ^ before, depth);
    __atomic_fetch_sub(word, 1, __ATOMIC_SEQ_CST);
    return x;
}

ROUTINE(divide)
{
    uint64_t by = (x >> 41) | 1;
    x = x / by + x % by * 0x10001;
    SITE(x);
    return call(c, x, depth);
}

ROUTINE(decide)
{
    uint64_t sum = 1;
    if (x & 1 << 3)
        sum += x >> 7;
    else if (x & 1 << 5)
        sum ^= x << 3;
    if ((int32_t)x < 0)
        sum = ~sum;
    if ((x & 0xff) > 0x90)
        sum *= 5;
    else if ((x & 0xff00) > 0x3000)
        sum -= x;
    if (sum < x)
        return call(c, sum * 13, depth);
    SITE(sum);
    return call(c, sum + 13, depth);
}

ROUTINE(checksum)
{
    const uint8_t *bytes = (const uint8_t *)(page(c, x) + (x & 31));
    uint32_t crc = (uint32_t)x;
    for (int i = 0; i < 10; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 4; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    uint64_t y = x * 9 ^ (uint64_t)crc << 16;
    SITE(y);
    return call(c, y, depth);
}

ROUTINE(look_up)
{
    uint64_t *table = page(c, x), slot = x * 0x9e3779b97f4a7c15 >> 56;
    for (int tries = 0; tries < 5; tries++, slot = (slot + 1) & 255) {
        if ((table[slot] & 0xff) == (x & 0xff))
            break;
        if (tries == 4)
            table[slot] = x;
    }
    x += slot << 30;
    SITE(x);
    return call(c, x, depth);
}

ROUTINE(call_two)
{
    SITE(x);
    uint64_t first = call(c, x + 0x123456789, depth);
    return first ^ call(c, x * 3 + first, depth);
}

ROUTINE(call_three)
{
    uint64_t sum = 0;
    for (int i = 0; i < 3; i++)
        sum = sum * 17 + call(c, x + sum + (uint64_t)i * 0x1234567, depth ? depth - 1 : 0);
    SITE(sum);
    return sum;
}

ROUTINE(save_and_restore)
{
    uint64_t saved[12];
    for (int i = 0; i < 12; i++)
        saved[i] = x >> i;
    asm volatile("" : : "r"(saved) : "memory");
    SITE(x);
    x = call(c, x + 5, depth);
    for (int i = 0; i < 12; i++)
        x += saved[i] << i;
    return x;
}

ROUTINE(compare)
{
    const uint32_t *a = (const uint32_t *)page(c, x), *b = (const uint32_t *)page(c, ~x);
    int i = 0;
    while (i < 20 && a[i] == b[i])
        i++;
    x += (uint64_t)i * 0x100200300 + (a[i] < b[i]);
    SITE(x);
    return call(c, x, depth);
}

ROUTINE(wide)
{
    unsigned __int128 product = (unsigned __int128)x * 0xd6e8feb86659fd93;
    product = product << (x & 15) | product >> 70;
    x = (uint64_t)(product >> 64) + (uint64_t)product;
    SITE(x);
    return call(c, x, depth);
}

ROUTINE(clamp)
{
    int64_t low = (int32_t)x, high = (int32_t)(x >> 32), y = (int16_t)(x >> 13);
    y = y < low ? low : y > high ? high : y;
    uint8_t flags = (uint8_t)((y == low) << 2 | (y == high) << 1 | (low > high));
    x = x * 33 + (uint64_t)y + flags;
    SITE(x);
    return call(c, x, depth);
}

/* What a step begins with; not among those that are called at random. */
ROUTINE(session)
{
    for (uint64_t i = 0; i < depth; i++)
        x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9 + call(c, x + (i << 40), 5);
    SITE(x);
    return x;
}

ROUTINE(end_of_routines)
{
    return x;
}

static const routine templates[] = { mix, sum_words, fill, copy, walk_list, find_bits, scan_bytes, sort_eight, lock, reference,
    divide, decide, checksum, look_up, call_two, call_three, save_and_restore, compare, wide, clamp, session, end_of_routines };
#define TEMPLATES (sizeof templates / sizeof *templates - 2)
