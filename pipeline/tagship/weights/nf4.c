/* What NF4 makes of blocks of 64 numbers, for weights/nf4_blocks.py, which has the contract. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 64
#define VALUES 16

/* One library for all processors of a kind: which loop runs is chosen when it is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

FOR_EACH_PROCESSOR
void tagship_nf4_maxima(const float *restrict values, float *restrict maxima, size_t blocks)
{
    for (size_t block = 0; block < blocks; block++) {
        uint32_t bits[BLOCK];
        memcpy(bits, values + block * BLOCK, sizeof bits);
        /* As integers magnitudes have the same order, and NaN is above all numbers. */
        uint32_t largest = 0;
        for (size_t i = 0; i < BLOCK; i++) {
            uint32_t magnitude = bits[i] & 0x7FFFFFFF;
            largest = magnitude > largest ? magnitude : largest;
        }
        memcpy(&maxima[block], &largest, sizeof largest);
    }
}

FOR_EACH_PROCESSOR
void tagship_nf4_round(float *restrict values, const float *restrict inverse, const float *restrict scales,
                       const float *restrict code, const float *restrict bounds, size_t blocks)
{
    for (size_t block = 0; block < blocks; block++) {
        float *numbers = values + block * BLOCK;
        float divided[BLOCK], nearest[BLOCK];
        for (size_t i = 0; i < BLOCK; i++) {
            divided[i] = numbers[i] * inverse[block];
            nearest[i] = code[0];
        }
        /* All numbers at once against one value: this is what a compiler makes vectors of. */
        for (size_t value = 1; value < VALUES; value++) {
            const float bound = bounds[value - 1], next = code[value];
            for (size_t i = 0; i < BLOCK; i++)
                nearest[i] = divided[i] > bound ? next : nearest[i];
        }
        for (size_t i = 0; i < BLOCK; i++)
            numbers[i] = nearest[i] * scales[block];
    }
}
