/* The benchmark kernels, freestanding: each returns a checksum that every engine must agree on. */
#include <stdint.h>

static uint32_t seed;
static uint32_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed;
}

static uint64_t integer_loop(uint64_t rounds)
{
    uint64_t a = 1, b = 2, c = 3;
    for (uint64_t i = 0; i < rounds * 1000000; i++) {
        a += b ^ i;
        b = (b << 3) - a;
        c ^= a + (b >> 7);
    }
    return a ^ b ^ c;
}

static uint8_t flags[1 << 20];
static uint64_t sieve(uint64_t rounds)
{
    uint64_t count = 0;
    while (rounds--) {
        for (uint32_t i = 0; i < sizeof flags; i++)
            flags[i] = 1;
        for (uint32_t i = 2; i * i < sizeof flags; i++)
            if (flags[i])
                for (uint32_t j = i * i; j < sizeof flags; j += i)
                    flags[j] = 0;
        for (uint32_t i = 2; i < sizeof flags; i++)
            count += flags[i];
    }
    return count;
}

static uint32_t crc_table[256];
static uint64_t crc32(uint64_t rounds)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
        crc_table[i] = value;
    }
    for (uint32_t i = 0; i < sizeof flags; i++)
        flags[i] = i * 7;
    uint32_t crc = ~0u;
    while (rounds--)
        for (uint32_t i = 0; i < sizeof flags; i++)
            crc = crc_table[(crc ^ flags[i]) & 255] ^ crc >> 8;
    return ~crc;
}

#define COUNT 200000
static int32_t numbers[COUNT];
static void sort(int32_t *a, int64_t low, int64_t high)
{
    while (low < high) {
        int32_t pivot = a[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                int32_t swap = a[i];
                a[i++] = a[j];
                a[j--] = swap;
            }
        }
        if (j - low < high - i) {
            sort(a, low, j);
            low = i;
        } else {
            sort(a, i, high);
            high = j;
        }
    }
}
static uint64_t quicksort(uint64_t rounds)
{
    uint64_t sum = 0;
    seed = 42;
    while (rounds--) {
        for (int i = 0; i < COUNT; i++)
            numbers[i] = (int32_t)next_random();
        sort(numbers, 0, COUNT - 1);
        sum = sum * 31 + (uint32_t)numbers[COUNT / 3];
    }
    return sum;
}

static uint64_t __attribute__((noinline)) fibonacci(uint64_t n)
{
    uint64_t value = n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
    asm volatile("" : "+r"(value)); /* keeps the calls calls */
    return value;
}
static uint64_t calls(uint64_t rounds)
{
    uint64_t sum = 0;
    while (rounds--)
        sum += fibonacci(24);
    return sum;
}

static uint64_t doubles(uint64_t rounds)
{
    double x = 0.5, sum = 0;
    for (uint64_t i = 0; i < rounds * 100000; i++) {
        x = x * 3.7 * (1.0 - x);
        sum += x / (1.0 + x);
    }
    union { double d; uint64_t u; } bits = { .d = sum };
    return bits.u;
}

uint64_t run_kernel(uint64_t number, uint64_t rounds)
{
    static uint64_t (*const kernels[])(uint64_t) = { integer_loop, sieve, crc32, quicksort, calls, doubles };
    return kernels[number](rounds);
}
