/* Rounds float32 to bfloat16 for weights/bf16.py, which has the contract. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One library for all processors of a kind: which loop runs is chosen when it is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

FOR_EACH_PROCESSOR
int tagship_round_to_bf16(const float *restrict values, uint16_t *restrict rounded, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        uint32_t magnitude = bits & 0x7FFFFFFF;
        largest = magnitude > largest ? magnitude : largest;
        /* To the nearest, and to the even one of two that are equally near. */
        rounded[i] = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
    /* From half a step above the largest bfloat16 on, numbers are rounded to infinity; NaN is above that, too. */
    return largest < 0x7F7F8000;
}
