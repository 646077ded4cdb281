/* Searches for the scales of many blocks of K-quants side by side, for gguf/k_quants.py, which has the contract. What is
   done to each block, and in which order, is ggml's (ggml-quants.c: make_qkx2_quants, make_qkx3_quants, make_qp_quants,
   make_qx_quants), whose sums may not be reordered. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __clang__ /* else -std=c11 says so */
#pragma STDC FP_CONTRACT OFF
#endif

/* Blocks side by side: what is held of them stays in the nearest cache. Each loop over them works on few arrays, so that a
   compiler proves that they do not overlap. */
#define LANES 128
#define FOR_LANES for (int v = 0; v < LANES; v++)
/* Numbers in a block that has a scale and a minimum; in one that has a scale alone; blocks of the first kind in 256. */
#define WIDE 32
#define NARROW 16
#define GROUP 8
/* Adding and taking it rounds to whole numbers. */
#define MAGIC 12582912.f
#define MOST_ROUNDED 4194303.f
/* Below it, ggml takes a block for zeros. */
#define NOTHING 1e-15f

typedef float lanes[LANES] __attribute__((aligned(64)));

/* How ggml searches: the largest quant, and the steps of the scale around (largest + first). */
struct search {
    float largest, first, step;
    int steps;
};

static inline __attribute__((always_inline)) float rounded(float value)
{
    return (value + MAGIC) - MAGIC;
}

static inline __attribute__((always_inline)) float clamped(float value, float least, float most)
{
    value = value < most ? value : most;
    return value > least ? value : least;
}

/* Blocks of WIDE numbers, weighed: their scales and minima (with the sign that x has), and the sums of their weights. */
static inline __attribute__((always_inline)) void with_minima(lanes *restrict x, lanes *restrict w, const struct search *how,
                                                              float *restrict scales, float *restrict minima,
                                                              float *restrict sums)
{
    static _Thread_local lanes levels[WIDE], low, high, before, sum_x, scale, sum_l, sum_l2, sum_xl, inverse, best, error,
        new_scale, new_low, part, sum_w;
    const float largest = how->largest;
    FOR_LANES low[v] = high[v] = x[0][v];
    FOR_LANES sum_w[v] = w[0][v];
    FOR_LANES sum_x[v] = w[0][v] * x[0][v];
    for (int i = 1; i < WIDE; i++) {
        FOR_LANES low[v] = x[i][v] < low[v] ? x[i][v] : low[v];
        FOR_LANES high[v] = x[i][v] > high[v] ? x[i][v] : high[v];
        FOR_LANES sum_w[v] += w[i][v];
        FOR_LANES sum_x[v] += w[i][v] * x[i][v];
    }
    FOR_LANES low[v] = low[v] > 0 ? 0 : low[v];
    FOR_LANES before[v] = low[v];
    FOR_LANES inverse[v] = largest / (high[v] - low[v]);
    FOR_LANES scale[v] = 1 / inverse[v];
    FOR_LANES best[v] = 0;
    for (int i = 0; i < WIDE; i++) {
        FOR_LANES part[v] = clamped(rounded(inverse[v] * (x[i][v] - low[v])), 0, largest);
        FOR_LANES part[v] = scale[v] * part[v] + low[v];
        FOR_LANES part[v] = part[v] - x[i][v];
        FOR_LANES best[v] += w[i][v] * (part[v] * part[v]);
    }
    for (int is = 0; is <= how->steps; is++) {
        const float around = how->first + how->step * (float)is + largest;
        FOR_LANES inverse[v] = around / (high[v] - low[v]);
        FOR_LANES sum_l[v] = sum_l2[v] = sum_xl[v] = error[v] = 0;
        for (int i = 0; i < WIDE; i++) {
            FOR_LANES levels[i][v] = clamped(rounded(inverse[v] * (x[i][v] - low[v])), 0, largest);
            FOR_LANES part[v] = w[i][v] * levels[i][v];
            FOR_LANES sum_l[v] += part[v];
            FOR_LANES sum_l2[v] += part[v] * levels[i][v];
            FOR_LANES sum_xl[v] += part[v] * x[i][v];
        }
        FOR_LANES inverse[v] = sum_w[v] * sum_l2[v] - sum_l[v] * sum_l[v];
        FOR_LANES new_scale[v] = (sum_w[v] * sum_xl[v] - sum_x[v] * sum_l[v]) / inverse[v];
        FOR_LANES new_low[v] = (sum_l2[v] * sum_x[v] - sum_l[v] * sum_xl[v]) / inverse[v];
        FOR_LANES part[v] = sum_xl[v] / sum_l2[v];
        FOR_LANES new_scale[v] = new_low[v] > 0 ? part[v] : new_scale[v];
        FOR_LANES new_low[v] = new_low[v] > 0 ? 0 : new_low[v];
        for (int i = 0; i < WIDE; i++) {
            FOR_LANES part[v] = new_scale[v] * levels[i][v] + new_low[v];
            FOR_LANES part[v] = part[v] - x[i][v];
            FOR_LANES error[v] += w[i][v] * (part[v] * part[v]);
        }
        /* What is no better is marked by an error that is none. */
        FOR_LANES error[v] = inverse[v] > 0 && error[v] < best[v] ? error[v] : INFINITY;
        FOR_LANES scale[v] = error[v] < best[v] ? new_scale[v] : scale[v];
        FOR_LANES low[v] = error[v] < best[v] ? new_low[v] : low[v];
        FOR_LANES best[v] = error[v] < best[v] ? error[v] : best[v];
    }
    FOR_LANES scales[v] = high[v] > before[v] ? scale[v] : 0;
    FOR_LANES minima[v] = -low[v];
    FOR_LANES sums[v] = sum_w[v];
}

/* Blocks of NARROW numbers, weighed: their scales. */
static inline __attribute__((always_inline)) void with_scales(lanes *restrict x, lanes *restrict w, float *restrict scales)
{
    static _Thread_local lanes most, extreme, inverse, sum_xl, sum_l2, scale, best, level, part, better;
    FOR_LANES most[v] = extreme[v] = 0;
    for (int i = 0; i < NARROW; i++) {
        FOR_LANES part[v] = fabsf(x[i][v]);
        FOR_LANES extreme[v] = part[v] > most[v] ? x[i][v] : extreme[v];
        FOR_LANES most[v] = part[v] > most[v] ? part[v] : most[v];
    }
    FOR_LANES scale[v] = best[v] = 0;
    for (int step = -10; step <= 9; step++) {
        if (step == 0)
            continue;
        /* The first one is ggml's own start, without a step. */
        const float around = -(step == -10 ? 32.f : 32 + 0.1f * (float)step);
        FOR_LANES inverse[v] = around / extreme[v];
        FOR_LANES sum_xl[v] = sum_l2[v] = 0;
        for (int i = 0; i < NARROW; i++) {
            FOR_LANES level[v] = clamped(rounded(inverse[v] * x[i][v]), -32, 31);
            FOR_LANES sum_xl[v] += w[i][v] * x[i][v] * level[v];
            FOR_LANES sum_l2[v] += w[i][v] * level[v] * level[v];
        }
        FOR_LANES part[v] = sum_xl[v] / sum_l2[v];
        if (step == -10) {
            FOR_LANES scale[v] = sum_l2[v] != 0 ? part[v] : 0;
            FOR_LANES best[v] = scale[v] * sum_xl[v];
            continue;
        }
        FOR_LANES better[v] = sum_l2[v] > 0 && sum_xl[v] * sum_xl[v] > best[v] * sum_l2[v];
        FOR_LANES scale[v] = better[v] != 0 ? part[v] : scale[v];
        FOR_LANES best[v] = better[v] != 0 ? part[v] * sum_xl[v] : best[v];
    }
    FOR_LANES scales[v] = most[v] < NOTHING ? 0 : scale[v];
}

static uint16_t half_of(float value)
{
    uint32_t bits, sign;
    float small = fabsf(value);
    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7FFFFFFF;
    if (bits >= 0x47800000)
        return sign | (bits > 0x7F800000 ? 0x7E00 : 0x7C00);
    if (bits < 0x38800000) {
        small += 0.5f; /* rounds where the last bit of such a small number is */
        memcpy(&bits, &small, sizeof bits);
        return sign | (bits - 0x3F000000);
    }
    return sign | (bits + 0xC8000FFF + (bits >> 13 & 1)) >> 13;
}

static float float_of(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7FFF) << 13;
    const uint32_t exponent = bits & 0x0F800000;
    float value;
    bits += exponent == 0x0F800000 ? 224u << 23 : exponent ? 112u << 23 : 113u << 23;
    memcpy(&value, &bits, sizeof value);
    if (!exponent)
        value -= 6.103515625e-05f;
    return half & 0x8000 ? -value : value;
}

/* The nearest of six bits. */
static int in_six_bits(float value)
{
    value = rounded(value);
    return value < 63 ? (int)value : 63;
}

/* The scales of a group in six bits, by ggml's search for weighed blocks. Returns the step. */
static float in_steps(const float *x, const float *w, uint8_t *steps)
{
    float most = 0, best = 0, sum_xl = 0, sum_l2 = 0;
    for (int i = 0; i < GROUP; i++)
        most = most > x[i] ? most : x[i];
    memset(steps, 0, GROUP);
    if (most < NOTHING)
        return 0;
    float inverse = 63 / most;
    for (int i = 0; i < GROUP; i++) {
        const float apart = x[i] - 1 / inverse * (float)in_six_bits(inverse * x[i]);
        best += w[i] * apart * apart;
    }
    for (int step = -4; step <= 4; step++) {
        if (step == 0)
            continue;
        const float other = (0.1f * (float)step + 63) / most, scale = 1 / other;
        float error = 0;
        for (int i = 0; i < GROUP; i++) {
            const float apart = x[i] - scale * (float)in_six_bits(other * x[i]);
            error += w[i] * apart * apart;
        }
        if (error < best) {
            best = error;
            inverse = other;
        }
    }
    for (int i = 0; i < GROUP; i++) {
        steps[i] = (uint8_t)in_six_bits(inverse * x[i]);
        sum_xl += w[i] * x[i] * (float)steps[i];
        sum_l2 += w[i] * (float)steps[i] * (float)steps[i];
    }
    for (int again = 0, changed = 1; again < 5 && changed; again++) {
        changed = 0;
        for (int i = 0; i < GROUP; i++) {
            float xl = sum_xl - w[i] * x[i] * (float)steps[i], l2 = sum_l2 - w[i] * (float)steps[i] * (float)steps[i];
            if (!(xl > 0 && l2 > 0))
                continue;
            const float wanted = x[i] * l2 / xl;
            if (!(wanted <= MOST_ROUNDED))
                return NAN; /* where ggml rounds to anything */
            const int level = in_six_bits(wanted);
            if (level == steps[i])
                continue;
            xl += w[i] * x[i] * (float)level;
            l2 += w[i] * (float)level * (float)level;
            if (xl * xl * sum_l2 > sum_xl * sum_xl * l2) {
                steps[i] = (uint8_t)level;
                sum_xl = xl;
                sum_l2 = l2;
                changed = 1;
            }
        }
    }
    return sum_l2 > 0 ? sum_xl / sum_l2 : 0;
}

/* The same where blocks are not weighed. */
static float in_plain_steps(const float *x, uint8_t *steps)
{
    float most = 0;
    for (int i = 0; i < GROUP; i++)
        most = x[i] > most ? x[i] : most;
    const float inverse = most > 0 ? 63 / most : 0;
    for (int i = 0; i < GROUP; i++)
        steps[i] = (uint8_t)in_six_bits(inverse * x[i]);
    return most / 63;
}

static void put_half(uint8_t *at, uint16_t half)
{
    at[0] = half & 0xFF;
    at[1] = half >> 8;
}

/* A row of 256 as Q4_K or Q5_K (largest 15 or 31) by what was found of its blocks; `sums` is NULL where they are not weighed.
   Returns 0 where ggml has its own ways: with what is rounded to nothing, is negative, or no number. */
static inline __attribute__((always_inline)) int put_with_minima(const float *x, const float *scales, const float *minima,
                                                                 const float *sums, int largest, uint8_t *out)
{
    uint8_t steps[GROUP], floors[GROUP], levels[GROUP][WIDE];
    for (int j = 0; j < GROUP; j++)
        if (!(scales[j] >= 0 && minima[j] >= 0 && scales[j] + minima[j] < INFINITY))
            return 0;
    const uint16_t scale = half_of(sums ? in_steps(scales, sums, steps) : in_plain_steps(scales, steps));
    const uint16_t minimum = half_of(sums ? in_steps(minima, sums, floors) : in_plain_steps(minima, floors));
    put_half(out, scale);
    put_half(out + 2, minimum);
    for (int j = 0; j < 4; j++) {
        out[4 + j] = steps[j] | (steps[j + 4] >> 4) << 6;
        out[8 + j] = floors[j] | (floors[j + 4] >> 4) << 6;
        out[12 + j] = (steps[j + 4] & 15) | (floors[j + 4] & 15) << 4;
    }
    for (int j = 0; j < GROUP; j++) {
        const float width = float_of(scale) * steps[j], below = float_of(minimum) * floors[j];
        if (!(width > 0 && width + below < INFINITY))
            return 0;
        for (int i = 0; i < WIDE; i++)
            levels[j][i] = (uint8_t)(int)clamped(rounded((x[WIDE * j + i] + below) / width), 0, (float)largest);
    }
    uint8_t *fifth = out + 16, *low = fifth + (largest > 15 ? WIDE : 0);
    for (int i = 0; largest > 15 && i < WIDE; i++) {
        fifth[i] = 0;
        for (int j = 0; j < GROUP; j++)
            fifth[i] |= (levels[j][i] >> 4) << j;
    }
    for (int j = 0; j < GROUP / 2; j++)
        for (int i = 0; i < WIDE; i++)
            low[WIDE * j + i] = (levels[2 * j][i] & 15) | (levels[2 * j + 1][i] & 15) << 4;
    return 1;
}

/* The same as Q6_K. */
static inline __attribute__((always_inline)) int put_with_scales(const float *x, const float *scales, uint8_t *out)
{
    float most = 0, extreme = 0;
    uint8_t levels[256];
    for (int j = 0; j < 2 * GROUP; j++) {
        if (!(fabsf(scales[j]) < INFINITY))
            return 0;
        extreme = fabsf(scales[j]) > most ? scales[j] : extreme;
        most = fabsf(scales[j]) > most ? fabsf(scales[j]) : most;
    }
    const float inverse = -128 / extreme;
    if (most < NOTHING || !(fabsf(inverse) < INFINITY))
        return 0;
    const uint16_t scale = half_of(1 / inverse);
    put_half(out + 208, scale);
    for (int j = 0; j < 2 * GROUP; j++) {
        const int step = (int)rounded(inverse * scales[j]);
        const int8_t held = (int8_t)(step < 127 ? step : 127);
        const float width = float_of(scale) * held;
        if (!(width != 0 && fabsf(width) < INFINITY))
            return 0;
        out[192 + j] = (uint8_t)held;
        for (int i = 0; i < NARROW; i++)
            levels[NARROW * j + i] = (uint8_t)(32 + (int)clamped(rounded(x[NARROW * j + i] / width), -32, 31));
    }
    for (int half = 0; half < 2; half++) {
        const uint8_t *from = levels + 128 * half;
        for (int i = 0; i < 32; i++) {
            out[64 * half + i] = (from[i] & 15) | (from[i + 64] & 15) << 4;
            out[64 * half + 32 + i] = (from[i + 32] & 15) | (from[i + 96] & 15) << 4;
            out[128 + 32 * half + i] =
                from[i] >> 4 | (from[i + 32] >> 4) << 2 | (from[i + 64] >> 4) << 4 | (from[i + 96] >> 4) << 6;
        }
    }
    return 1;
}

/* ggml's numbers of types, and the bytes of a row of 256. */
enum { Q4_K = 12, Q5_K = 13, Q6_K = 14 };

static size_t size_of(int kind)
{
    return kind == Q4_K ? 144 : kind == Q5_K ? 176 : 210;
}

static inline __attribute__((always_inline)) void encode(int kind, const float *x, const float *importance, uint8_t *out,
                                                         uint8_t *unusual, size_t rows, size_t in_line)
{
    static _Thread_local lanes numbers[WIDE], weights[WIDE], scales, minima, sums;
    const int width = kind == Q6_K ? NARROW : WIDE, group = 256 / width;
    const struct search plain = {kind == Q4_K ? 15 : 31, kind == Q4_K ? -1.f : -0.5f, 0.1f, kind == Q4_K ? 20 : 15};
    const struct search weighed = {kind == Q4_K ? 15 : 31, -0.9f, 0.05f, 36};
    for (size_t begin = 0; begin < rows; begin += LANES / group) {
        float spread = 0;
        for (int v = 0; v < LANES; v++) {
            const size_t row = begin + v / group < rows ? begin + v / group : rows - 1;
            const float *from = x + 256 * row, *weighs = importance ? importance + 256 * (row % in_line) : NULL;
            const int first = v % group * width;
            if (weighs && !first) {
                spread = 0;
                for (int i = 0; i < 256; i++)
                    spread += from[i] * from[i];
                spread = 2 * spread / 256;
            }
            for (int i = 0; i < width; i++)
                numbers[i][v] = from[first + i];
            for (int i = 0; weighs && i < width; i++)
                weights[i][v] = weighs[first + i];
            if (weighs)
                sums[v] = spread;
        }
        if (kind == Q6_K) {
            for (int i = 0; !importance && i < NARROW; i++)
                FOR_LANES weights[i][v] = numbers[i][v] * numbers[i][v];
            with_scales(numbers, weights, scales);
        } else if (importance) {
            for (int i = 0; i < WIDE; i++)
                FOR_LANES weights[i][v] *= sqrtf(sums[v] + numbers[i][v] * numbers[i][v]);
            with_minima(numbers, weights, &weighed, scales, minima, sums);
        } else {
            FOR_LANES sums[v] = 0;
            for (int i = 0; i < WIDE; i++)
                FOR_LANES sums[v] += numbers[i][v] * numbers[i][v];
            FOR_LANES sums[v] = sqrtf(sums[v] / WIDE);
            for (int i = 0; i < WIDE; i++)
                FOR_LANES weights[i][v] = sums[v] + fabsf(numbers[i][v]);
            with_minima(numbers, weights, &plain, scales, minima, sums);
        }
        for (size_t row = begin; row < rows && row < begin + LANES / group; row++) {
            const size_t at = (row - begin) * group;
            uint8_t *to = out + size_of(kind) * row;
            unusual[row] = kind == Q6_K ? !put_with_scales(x + 256 * row, scales + at, to)
                                        : !put_with_minima(x + 256 * row, scales + at, minima + at,
                                                           importance ? sums + at : NULL, kind == Q4_K ? 15 : 31, to);
        }
    }
}

#if defined(__x86_64__) && defined(__GNUC__)

__attribute__((target("avx2"))) static void encode_avx2(int kind, const float *x, const float *importance, uint8_t *out,
                                                         uint8_t *unusual, size_t rows, size_t in_line)
{
    if (kind == Q4_K)
        encode(Q4_K, x, importance, out, unusual, rows, in_line);
    else if (kind == Q5_K)
        encode(Q5_K, x, importance, out, unusual, rows, in_line);
    else
        encode(Q6_K, x, importance, out, unusual, rows, in_line);
}

#endif

/* Encodes rows of 256 numbers, of which a line of the matrix has `in_line`, by the importance of its columns, or NULL. Sets in
   `unusual` which of them have to be encoded by ggml. */
void tagship_k_quants_encode(int kind, const float *x, const float *importance, uint8_t *out, uint8_t *unusual, size_t rows,
                             size_t in_line)
{
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2")) {
        encode_avx2(kind, x, importance, out, unusual, rows, in_line);
        return;
    }
#endif
    encode(kind, x, importance, out, unusual, rows, in_line);
}
