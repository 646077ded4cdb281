/* Rounds groups of bfloat16 to 8 and 4 bits for weights/scheme_loops.py, which has the contract. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One library for all processors of a kind: which loop runs is chosen when it is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* So many numbers at a time: what is in between stays in the processor's first cache. Each loop is over numbers of one
   width, which compilers make vectors of. */
#define SOME 512

static inline float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint32_t quotient(uint32_t number, float scale)
{
    return bits_of(from_bits(number << 16) / scale);
}

/* As bfloat16 has it: the nearest, and the even one of two that are equally near. */
static inline uint32_t rounded(uint32_t bits)
{
    return (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
}

static inline uint32_t least(uint32_t one, uint32_t other)
{
    return one < other ? one : other;
}

static inline uint32_t to_fp8(uint32_t bits)
{
    uint32_t sign = bits >> 24 & 0x80, magnitude = least(bits & 0x7FFFFFFF, 0x43E00000 /* 448 */);
    /* Three bits of the mantissa, and an exponent that begins at 2^-6. */
    uint32_t normal = ((magnitude + 0x7FFFF + (magnitude >> 20 & 1)) >> 20) - (120 << 3);
    /* Below that, multiples of 2^-9: adding 2^14 leaves just those in a float. */
    uint32_t small = bits_of(from_bits(magnitude) + 16384.0f) - 0x46800000;
    /* Chosen without a branch, which would be in the way of vectors. */
    uint32_t is_small = 0u - (magnitude < 0x3C800000);
    return sign | (small & is_small) | (normal & ~is_small);
}

static inline uint32_t to_int4(uint32_t bits)
{
    /* Adding this leaves whole numbers in a float, rounded to the nearest, and to the even one of two: 0 to 16. */
    uint32_t magnitude = least(bits & 0x7FFFFFFF, 0x41000000 /* 8 */);
    return least(bits_of(from_bits(magnitude | (bits & 0x80000000)) + 12582920.0f) - 0x4B400000, 15);
}

static inline uint32_t to_fp4(uint32_t bits)
{
    /* The numbers halfway between those that there are, as integers; those that go to the upper one are lower by 1. */
    static const uint32_t bounds[7] = {0x3E800000, 0x3F3FFFFF, 0x3FA00000, 0x3FDFFFFF, 0x40200000, 0x405FFFFF, 0x40A00000};
    uint32_t magnitude = bits & 0x7FFFFFFF, code = 0;
    for (size_t i = 0; i < 7; i++)
        code += magnitude > bounds[i];
    return code | (magnitude ? bits >> 28 & 8 : 0);
}

FOR_EACH_PROCESSOR
void tagship_magnitudes(const uint16_t *restrict numbers, float *restrict largest, size_t groups, size_t width)
{
    for (size_t group = 0; group < groups; group++, numbers += width) {
        /* As integers magnitudes have the same order, and what is not finite is above all numbers. */
        uint16_t found = 0;
        for (size_t i = 0; i < width; i++) {
            uint16_t magnitude = numbers[i] & 0x7FFF;
            found = magnitude > found ? magnitude : found;
        }
        largest[group] = from_bits((uint32_t)found << 16);
    }
}

/* Groups of numbers, as far as they were read. */
struct groups {
    const uint16_t *numbers;
    const float *scales;
    size_t left, width, left_in_group;
};

static inline struct groups all(const uint16_t *numbers, const float *scales, size_t groups, size_t width)
{
    return (struct groups){numbers, scales, groups * width, width, width};
}

/* The bits of the next quotients, as many as there is room for: their number. */
static inline size_t next(struct groups *from, uint32_t *restrict made)
{
    size_t some = from->left < SOME ? from->left : SOME;
    for (size_t done = 0; done < some;) {
        size_t together = from->left_in_group < some - done ? from->left_in_group : some - done;
        const uint16_t *restrict numbers = from->numbers;
        float scale = *from->scales;
        for (size_t i = 0; i < together; i++)
            made[done + i] = quotient(numbers[i], scale);
        done += together;
        from->numbers += together;
        from->left_in_group -= together;
        if (!from->left_in_group) {
            from->left_in_group = from->width;
            from->scales++;
        }
    }
    from->left -= some;
    return some;
}

FOR_EACH_PROCESSOR
void tagship_to_fp8(const uint16_t *restrict numbers, const float *restrict scales, uint8_t *restrict made,
                    size_t groups, size_t width)
{
    struct groups from = all(numbers, scales, groups, width);
    uint32_t bits[SOME];
    for (size_t some; (some = next(&from, bits)); made += some) {
        for (size_t i = 0; i < some; i++)
            bits[i] = to_fp8(rounded(bits[i]));
        for (size_t i = 0; i < some; i++)
            made[i] = (uint8_t)bits[i];
    }
}

static inline void pairs(const uint32_t *restrict codes, uint8_t *restrict made, size_t count)
{
    for (size_t i = 0; i < count / 2; i++)
        made[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 4);
}

FOR_EACH_PROCESSOR
void tagship_to_int4(const uint16_t *restrict numbers, const float *restrict scales, uint8_t *restrict made,
                     size_t groups, size_t width)
{
    struct groups from = all(numbers, scales, groups, width);
    uint32_t bits[SOME];
    for (size_t some; (some = next(&from, bits)); made += some / 2) {
        for (size_t i = 0; i < some; i++)
            bits[i] = to_int4(rounded(bits[i]));
        pairs(bits, made, some);
    }
}

FOR_EACH_PROCESSOR
void tagship_to_fp4(const uint16_t *restrict numbers, const float *restrict scales, uint8_t *restrict made,
                    size_t groups, size_t width)
{
    struct groups from = all(numbers, scales, groups, width);
    uint32_t bits[SOME];
    for (size_t some; (some = next(&from, bits)); made += some / 2) {
        for (size_t i = 0; i < some; i++)
            bits[i] = to_fp4(bits[i]);
        pairs(bits, made, some);
    }
}

/* The least and the largest number of a group, found as integers that have the same order. */
struct range {
    float least, largest;
};

static inline struct range range_of(const uint16_t *restrict numbers, size_t width)
{
    int16_t least = INT16_MAX, largest = INT16_MIN;
    for (size_t i = 0; i < width; i++) {
        int16_t bits = (int16_t)numbers[i], ordered = (int16_t)(bits ^ ((bits >> 15) & 0x7FFF));
        least = ordered < least ? ordered : least;
        largest = ordered > largest ? ordered : largest;
    }
    uint16_t low = (uint16_t)(least ^ ((least >> 15) & 0x7FFF)), high = (uint16_t)(largest ^ ((largest >> 15) & 0x7FFF));
    return (struct range){from_bits((uint32_t)low << 16), from_bits((uint32_t)high << 16)};
}

/* To the nearest whole number, and to the even one of two, where there can be anything behind the point. */
static inline float whole(float value)
{
    float magnitude = from_bits(bits_of(value) & 0x7FFFFFFF);
    if (!(magnitude < 8388608.0f))
        return value;
    float rounded = magnitude + 8388608.0f - 8388608.0f;
    return value < 0 ? -rounded : rounded;
}

/* Groups have at most SOME numbers. */
FOR_EACH_PROCESSOR
void tagship_to_affine(const uint16_t *restrict numbers, uint8_t *restrict made, float *restrict scales,
                       float *restrict biases, size_t groups, size_t width, int bits)
{
    const float most = (float)((1 << bits) - 1);
    uint32_t codes[SOME];
    for (size_t group = 0; group < groups; group++, numbers += width) {
        struct range range = range_of(numbers, width);
        int below = from_bits(bits_of(range.least) & 0x7FFFFFFF) > from_bits(bits_of(range.largest) & 0x7FFFFFFF);
        float scale = (range.largest - range.least) / most, bias = 0;
        scale = scale < 1e-7f ? 1e-7f : scale;
        scale = below ? scale : -scale;
        float edge = below ? range.least : range.largest, steps = whole(edge / scale);
        if (steps != 0) {
            scale = edge / steps;
            bias = edge;
        }
        scales[group] = scale;
        biases[group] = bias;
        for (size_t i = 0; i < width; i++) {
            float value = (from_bits((uint32_t)numbers[i] << 16) - bias) / scale;
            value = value > 0.0f ? value : 0.0f;
            value = value < most ? value : most;
            /* As in to_int4: what is left in the float is whole. */
            codes[i] = bits_of(value + 12582912.0f) - 0x4B400000;
        }
        if (bits == 4)
            pairs(codes, made, width);
        else
            for (size_t i = 0; i < width; i++)
                made[i] = (uint8_t)codes[i];
        made += width * (size_t)bits / 8;
    }
}
