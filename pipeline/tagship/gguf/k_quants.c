/* Searches for the scales of many blocks of K-quants side by side, for gguf/k_quants.py, which has the contract. What is
   done to each block, and in which order, is ggml's, whose sums may not be reordered. A row is `unusual`, and ggml's to
   encode, where its scales are rounded to nothing, are negative or no numbers, and where something is as many as millions of
   steps: ggml rounds that to anything, and to another thing in each of its versions. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __clang__ /* else -std=c11 says so */
#pragma STDC FP_CONTRACT OFF
#endif

/* Blocks side by side: what one instruction works on, so that all that is summed up of them stays in registers. */
#if defined(__x86_64__)
#include <immintrin.h>
#define LANES 8
#define WITH_LANES __attribute__((target("avx2")))
#else
#define LANES 4
#define WITH_LANES
#endif
#define INLINE WITH_LANES static inline __attribute__((always_inline))
/* Numbers of a row that share a scale of scales; the most in a block, and the most blocks of a row. */
#define ROW 256
#define WIDE 32
#define GROUP 16
/* Adding and taking it rounds to whole numbers, as far as that one. */
#define MAGIC 12582912.f
#define MOST_ROUNDED 4194303.f
/* Below it, ggml takes a block for zeros. */
#define NOTHING 1e-15f

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t masks __attribute__((vector_size(4 * LANES)));

/* ggml's numbers of types. */
enum { Q2_K = 10, Q3_K, Q4_K, Q5_K, Q6_K };

/* The bytes of a row; the numbers of a block; the largest level of a number and step of a scale, or the size of the least,
   which is negative, where blocks have no minimum. */
struct type {
    size_t bytes;
    int width, level, step, minima;
};

INLINE struct type type_of(int kind)
{
    return kind == Q2_K   ? (struct type){84, 16, 3, 15, 1}
           : kind == Q3_K ? (struct type){110, 16, 4, 32, 0}
           : kind == Q4_K ? (struct type){144, 32, 15, 63, 1}
           : kind == Q5_K ? (struct type){176, 32, 31, 63, 1}
                          : (struct type){210, 16, 32, 128, 0};
}

/* How ggml searches for a scale and a minimum: at so many levels more than the largest, a `stride` apart, and whether errors
   are absolute, or squares. */
struct search {
    float first, stride;
    int tries, absolute;
};

INLINE struct search search_of(int kind, int weighed)
{
    return weighed        ? (struct search){-0.9f, 0.05f, 37, 0}
           : kind == Q2_K ? (struct search){-0.5f, 0.1f, 16, 1}
           : kind == Q4_K ? (struct search){-1.f, 0.1f, 21, 0}
                          : (struct search){-0.5f, 0.1f, 16, 0};
}

INLINE int nearest(float value, int least, int most)
{
    value = (value + MAGIC) - MAGIC;
    value = value > (float)least ? value : (float)least; /* and what is no number, as ggml has it */
    return (int)(value < (float)most ? value : (float)most);
}

/* One instruction each; of what is no number, the second. */
INLINE lanes lower(lanes one, lanes other)
{
#if defined(__x86_64__)
    return _mm256_min_ps(one, other); /* which GCC does not find where the other is the same in all lanes */
#endif
    lanes found;
    for (int v = 0; v < LANES; v++)
        found[v] = one[v] < other[v] ? one[v] : other[v];
    return found;
}

INLINE lanes higher(lanes one, lanes other)
{
#if defined(__x86_64__)
    return _mm256_max_ps(one, other);
#endif
    lanes found;
    for (int v = 0; v < LANES; v++)
        found[v] = one[v] > other[v] ? one[v] : other[v];
    return found;
}

INLINE lanes roots(lanes x)
{
    for (int v = 0; v < LANES; v++)
        x[v] = sqrtf(x[v]);
    return x;
}

INLINE lanes sizes(lanes x)
{
    return (lanes)((masks)x & 0x7FFFFFFF);
}

INLINE lanes chosen(masks which, lanes one, lanes other)
{
    return (lanes)((which & (masks)one) | (~which & (masks)other));
}

/* `nearest` of each. */
INLINE lanes in_levels(lanes x, float least, float most)
{
    const lanes zero = {0};
    return lower(higher((x + MAGIC) - MAGIC, zero + least), zero + most);
}

/* Weighed blocks: their scales (none where one is unusual) and minima (below zero, without the sign), and the sums of their
   weights. make_qkx2_quants and make_qkx3_quants. */
INLINE void with_minima(const lanes *x, const lanes *w, struct type type, struct search how, lanes *scales, lanes *minima,
                        lanes *sums)
{
    const float largest = (float)type.level;
    const lanes zero = {0};
    lanes levels[WIDE], low = x[0], high = x[0], sum_w = w[0], sum_x = w[0] * x[0], best = zero;
    for (int i = 1; i < type.width; i++) {
        low = lower(x[i], low);
        high = higher(x[i], high);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    low = chosen(low > 0, zero, low);
    const lanes least = low;
    lanes inverse = largest / (high - low), scale = 1 / inverse;
    masks usual = ~(masks){0};
    for (int i = 0; i < type.width; i++) {
        const lanes apart = scale * in_levels(inverse * (x[i] - low), 0, largest) + low - x[i];
        best += w[i] * (how.absolute ? sizes(apart) : apart * apart);
    }
    for (int at = 0; at < how.tries; at++) {
        lanes sum_l = zero, sum_l2 = zero, sum_xl = zero, error = zero;
        inverse = (how.first + how.stride * (float)at + largest) / (high - low);
        /* Where all that weighs is one number, what is found for it may be far from the others, or the largest itself. */
        usual &= (sizes(inverse * (least - low)) <= MOST_ROUNDED) & (sizes(inverse * (high - low)) <= MOST_ROUNDED);
        for (int i = 0; i < type.width; i++) {
            const lanes level = in_levels(inverse * (x[i] - low), 0, largest), part = w[i] * level;
            levels[i] = level;
            sum_l += part;
            sum_l2 += part * level;
            sum_xl += part * x[i];
        }
        const lanes apart = sum_w * sum_l2 - sum_l * sum_l;
        lanes new_scale = (sum_w * sum_xl - sum_x * sum_l) / apart, new_low = (sum_l2 * sum_x - sum_l * sum_xl) / apart;
        new_scale = chosen(new_low > 0, sum_xl / sum_l2, new_scale);
        new_low = chosen(new_low > 0, zero, new_low);
        for (int i = 0; i < type.width; i++) {
            const lanes off = new_scale * levels[i] + new_low - x[i];
            error += w[i] * (how.absolute ? sizes(off) : off * off);
        }
        const masks better = (apart > 0) & (error < best);
        scale = chosen(better, new_scale, scale);
        low = chosen(better, new_low, low);
        best = chosen(better, error, best);
    }
    *scales = chosen(usual, scale, zero + NAN);
    *minima = -low;
    *sums = sum_w;
}

/* Weighed blocks without minima: their scales, what levels were found by, and the sums of their weights. make_qx_quants. */
INLINE void with_scales(const lanes *x, const lanes *w, int width, int level, lanes *scales, lanes *found, lanes *sums)
{
    const float largest = (float)level;
    const lanes zero = {0};
    lanes most = zero, extreme = zero, sum_w = zero, scale = zero, best = zero;
    for (int i = 0; i < width; i++) {
        extreme = chosen(sizes(x[i]) > most, x[i], extreme);
        most = higher(sizes(x[i]), most);
        sum_w += w[i];
    }
    for (int step = -10; step <= 9; step++) {
        if (step == 0)
            continue;
        /* The first one is ggml's own start, without a step. */
        const lanes inverse = -(step == -10 ? largest : largest + 0.1f * (float)step) / extreme;
        lanes sum_xl = zero, sum_l2 = zero;
        for (int i = 0; i < width; i++) {
            const lanes nearby = in_levels(inverse * x[i], -largest, largest - 1);
            sum_xl += w[i] * x[i] * nearby;
            sum_l2 += w[i] * nearby * nearby;
        }
        const masks better = step == -10 ? sum_l2 != 0 : (sum_l2 > 0) & (sum_xl * sum_xl > best * sum_l2);
        scale = chosen(better, sum_xl / sum_l2, scale);
        best = chosen(better, scale * sum_xl, best);
        *found = step == -10 ? inverse : chosen(better, inverse, *found);
    }
    *scales = chosen(most < NOTHING, zero, scale);
    *sums = sum_w;
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

/* The scales of a row, none of them negative, in whole steps, where blocks are weighed. Returns the step. make_qp_quants. */
INLINE float in_steps(const float *x, const float *w, struct type type, int *steps)
{
    const int number = ROW / type.width, largest = type.step;
    float most = 0, best = 0, sum_xl = 0, sum_l2 = 0;
    for (int i = 0; i < number; i++) {
        most = most > x[i] ? most : x[i];
        steps[i] = 0;
    }
    if (most < NOTHING)
        return 0;
    float inverse = (float)largest / most;
    for (int i = 0; i < number; i++) {
        const float apart = x[i] - 1 / inverse * (float)nearest(inverse * x[i], 0, largest);
        best += w[i] * apart * apart;
    }
    for (int step = -4; step <= 4; step++) {
        if (step == 0)
            continue;
        const float other = (0.1f * (float)step + (float)largest) / most, scale = 1 / other;
        float error = 0;
        for (int i = 0; i < number; i++) {
            const float apart = x[i] - scale * (float)nearest(other * x[i], 0, largest);
            error += w[i] * apart * apart;
        }
        if (error < best) {
            best = error;
            inverse = other;
        }
    }
    for (int i = 0; i < number; i++) {
        steps[i] = nearest(inverse * x[i], 0, largest);
        sum_xl += w[i] * x[i] * (float)steps[i];
        sum_l2 += w[i] * (float)steps[i] * (float)steps[i];
    }
    for (int again = 0, changed = 1; again < 5 && changed; again++) {
        changed = 0;
        for (int i = 0; i < number; i++) {
            float xl = sum_xl - w[i] * x[i] * (float)steps[i], l2 = sum_l2 - w[i] * (float)steps[i] * (float)steps[i];
            if (!(xl > 0 && l2 > 0))
                continue;
            const float wanted = x[i] * l2 / xl;
            if (!(wanted <= MOST_ROUNDED))
                return NAN;
            const int level = nearest(wanted, 0, largest);
            if (level == steps[i])
                continue;
            xl += w[i] * x[i] * (float)level;
            l2 += w[i] * (float)level * (float)level;
            if (xl * xl * sum_l2 > sum_xl * sum_xl * l2) {
                steps[i] = level;
                sum_xl = xl;
                sum_l2 = l2;
                changed = 1;
            }
        }
    }
    return sum_l2 > 0 ? sum_xl / sum_l2 : 0;
}

/* The same where blocks are not weighed. */
INLINE float in_plain_steps(const float *x, struct type type, int *steps)
{
    const int number = ROW / type.width;
    float most = 0;
    for (int i = 0; i < number; i++)
        most = x[i] > most ? x[i] : most;
    const float inverse = most > 0 ? (float)type.step / most : 0;
    for (int i = 0; i < number; i++)
        steps[i] = nearest(inverse * x[i], 0, type.step);
    return inverse < INFINITY ? most / (float)type.step : NAN; /* ggml rounds what is no number */
}

/* The scales of a row, of either sign, in whole steps. Returns the step. make_qx_quants, where blocks are weighed by `w`. */
INLINE float in_signed_steps(const float *x, const float *w, struct type type, int *steps)
{
    const int number = ROW / type.width;
    float inverse, scale, extreme = 0;
    if (w) { /* of the lanes, one is looked at */
        const lanes zero = {0};
        lanes numbers[GROUP], weights[GROUP], scales, inverses, sums;
        for (int i = 0; i < number; i++) {
            numbers[i] = zero + x[i];
            weights[i] = zero + w[i];
        }
        with_scales(numbers, weights, number, type.step, &scales, &inverses, &sums);
        inverse = inverses[0];
        scale = scales[0];
    } else {
        for (int i = 0; i < number; i++)
            extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
        inverse = (float)-type.step / extreme;
        scale = fabsf(extreme) < NOTHING ? 0 : 1 / inverse;
    }
    for (int i = 0; i < number; i++)
        steps[i] = nearest(inverse * x[i], -type.step, type.step - 1);
    return scale;
}

static void put_half(uint8_t *at, uint16_t half)
{
    at[0] = half & 0xFF;
    at[1] = half >> 8;
}

/* The two lowest bits of levels, four to a byte. */
static void put_two_bits(uint8_t *at, const uint8_t *levels, int shift)
{
    for (int i = 0; i < 64; i++) {
        const uint8_t *from = levels + 128 * (i / 32) + i % 32;
        at[i] = (from[0] >> shift & 3) | (from[32] >> shift & 3) << 2 | (from[64] >> shift & 3) << 4 |
                (from[96] >> shift & 3) << 6;
    }
}

/* Writes a row by what was found of its blocks; `sums` is NULL where they are not weighed. Returns whether it is unusual. */
INLINE int put_with_minima(int kind, const float *x, const float *scales, const float *minima, const float *sums,
                           uint8_t *out)
{
    const struct type type = type_of(kind);
    const int number = ROW / type.width;
    int steps[GROUP], floors[GROUP], odd = 0;
    uint8_t levels[ROW];
    for (int j = 0; j < number; j++)
        if (!(scales[j] >= 0 && minima[j] >= 0 && scales[j] + minima[j] < INFINITY))
            return 1;
    const uint16_t scale = half_of(sums ? in_steps(scales, sums, type, steps) : in_plain_steps(scales, type, steps));
    const uint16_t minimum = half_of(sums ? in_steps(minima, sums, type, floors) : in_plain_steps(minima, type, floors));
    for (int j = 0; j < number; j++) {
        const float width = float_of(scale) * (float)steps[j], below = float_of(minimum) * (float)floors[j];
        if (!(width > 0 && width + below < INFINITY))
            return 1;
        for (int i = type.width * j; i < type.width * (j + 1); i++) {
            const float level = (x[i] + below) / width;
            odd |= !(fabsf(level) <= MOST_ROUNDED);
            levels[i] = (uint8_t)nearest(level, 0, type.level);
        }
    }
    if (odd)
        return 1;
    if (kind == Q2_K) {
        for (int j = 0; j < number; j++)
            out[j] = (uint8_t)(steps[j] | floors[j] << 4);
        put_two_bits(out + 16, levels, 0);
        put_half(out + 80, scale);
        put_half(out + 82, minimum);
        return 0;
    }
    put_half(out, scale);
    put_half(out + 2, minimum);
    for (int j = 0; j < 4; j++) {
        out[4 + j] = (uint8_t)(steps[j] | (steps[j + 4] >> 4) << 6);
        out[8 + j] = (uint8_t)(floors[j] | (floors[j + 4] >> 4) << 6);
        out[12 + j] = (uint8_t)((steps[j + 4] & 15) | (floors[j + 4] & 15) << 4);
    }
    uint8_t *fifth = out + 16, *low = fifth + (kind == Q5_K ? WIDE : 0);
    for (int i = 0; kind == Q5_K && i < WIDE; i++) {
        fifth[i] = 0;
        for (int j = 0; j < number; j++)
            fifth[i] |= (levels[WIDE * j + i] >> 4) << j;
    }
    for (int i = 0; i < ROW / 2; i++) {
        const uint8_t *from = levels + 2 * WIDE * (i / WIDE) + i % WIDE;
        low[i] = (from[0] & 15) | (from[WIDE] & 15) << 4;
    }
    return 0;
}

/* The same of blocks without minima. */
INLINE int put_with_scales(int kind, const float *x, const float *scales, const float *sums, uint8_t *out)
{
    const struct type type = type_of(kind);
    const int number = ROW / type.width;
    int steps[GROUP], odd = 0;
    uint8_t levels[ROW];
    for (int j = 0; j < number; j++)
        if (!(fabsf(scales[j]) < INFINITY))
            return 1;
    const uint16_t scale = half_of(in_signed_steps(scales, sums, type, steps));
    for (int j = 0; j < number; j++) {
        const float width = float_of(scale) * (float)steps[j];
        if (!(width != 0 && fabsf(width) < INFINITY))
            return 1;
        for (int i = type.width * j; i < type.width * (j + 1); i++) {
            const float level = x[i] / width;
            odd |= !(fabsf(level) <= MOST_ROUNDED);
            levels[i] = (uint8_t)(type.level + nearest(level, -type.level, type.level - 1));
        }
    }
    if (odd)
        return 1;
    if (kind == Q3_K) {
        for (int i = 0; i < 32; i++) {
            out[i] = 0;
            for (int j = 0; j < 8; j++)
                out[i] |= (levels[32 * j + i] >> 2) << j;
        }
        put_two_bits(out + 32, levels, 0);
        for (int j = 0; j < 8; j++)
            out[96 + j] = (uint8_t)(((steps[j] + 32) & 15) | ((steps[j + 8] + 32) & 15) << 4);
        for (int j = 0; j < 4; j++)
            out[104 + j] = (uint8_t)((steps[j] + 32) >> 4 | (steps[j + 4] + 32) >> 4 << 2 | (steps[j + 8] + 32) >> 4 << 4 |
                                     (steps[j + 12] + 32) >> 4 << 6);
        put_half(out + 108, scale);
        return 0;
    }
    for (int i = 0; i < ROW / 2; i++) {
        const uint8_t *from = levels + 128 * (i / 64) + i % 64;
        out[i] = (from[0] & 15) | (from[64] & 15) << 4;
    }
    put_two_bits(out + 128, levels, 4);
    for (int j = 0; j < number; j++)
        out[192 + j] = (uint8_t)steps[j];
    put_half(out + 208, scale);
    return 0;
}

/* The numbers of blocks side by side. */
INLINE void gather(const float *from, int width, lanes *to)
{
    for (int i = 0; i < width; i++)
        for (int v = 0; v < LANES; v++)
            to[i][v] = from[width * v + i];
}

/* The sums of the squares of rows, of which there may be fewer than lanes. */
INLINE lanes squares(const float *x, size_t rows)
{
    const float *from[LANES];
    lanes sum = {0}, number = {0};
    for (size_t v = 0; v < LANES; v++)
        from[v] = x + ROW * (v < rows ? v : rows - 1);
    for (int i = 0; i < ROW; i++) {
        for (int v = 0; v < LANES; v++)
            number[v] = from[v][i];
        sum += number * number;
    }
    return sum;
}

/* What numbers weigh in ggml without the importance of their columns: their squares in Q6_K, else their sizes, with their
   block's root mean square but in Q2_K. */
INLINE void weigh_plainly(int kind, int width, const lanes *x, lanes *w)
{
    lanes sum = {0};
    for (int i = 0; kind != Q2_K && kind != Q6_K && i < width; i++)
        sum += x[i] * x[i];
    sum = roots(sum / WIDE);
    for (int i = 0; i < width; i++)
        w[i] = kind == Q6_K ? x[i] * x[i] : sum + sizes(x[i]);
}

/* Of a row's blocks: what they are encoded by, and what they weigh together. */
struct found {
    float scales[GROUP], minima[GROUP], sums[GROUP];
};

/* By the importance of columns, a number weighs that much times the root of its square and the row's `spread`; in Q6_K, the
   importance alone. */
INLINE void search_row(int kind, const float *x, const float *importance, float spread, struct found *found)
{
    const struct type type = type_of(kind);
    for (int first = 0; first < ROW / type.width; first += LANES) {
        lanes numbers[WIDE], weights[WIDE], scales, minima = {0}, sums, inverse;
        gather(x + first * type.width, type.width, numbers);
        if (importance)
            gather(importance + first * type.width, type.width, weights);
        else
            weigh_plainly(kind, type.width, numbers, weights);
        for (int i = 0; importance && kind != Q6_K && i < type.width; i++)
            weights[i] *= roots(spread + numbers[i] * numbers[i]);
        if (type.minima)
            with_minima(numbers, weights, type, search_of(kind, importance != NULL), &scales, &minima, &sums);
        else
            with_scales(numbers, weights, type.width, type.level, &scales, &inverse, &sums);
        memcpy(found->scales + first, &scales, sizeof scales);
        memcpy(found->minima + first, &minima, sizeof minima);
        memcpy(found->sums + first, &sums, sizeof sums);
    }
}

INLINE void encode_as(int kind, const float *x, const float *importance, uint8_t *out, uint8_t *unusual, size_t rows,
                      size_t in_line)
{
    const struct type type = type_of(kind);
    const int weighed = importance && kind != Q6_K;
    lanes spreads = {0};
    for (size_t row = 0; row < rows; row++) {
        const float *from = x + ROW * row;
        uint8_t *to = out + type.bytes * row;
        struct found found;
        if (weighed && row % LANES == 0) /* twice the mean square, but in Q2_K */
            spreads = (kind == Q2_K ? 1.f : 2.f) * squares(from, rows - row) / ROW;
        search_row(kind, from, importance ? importance + ROW * (row % in_line) : NULL, spreads[row % LANES], &found);
        const float *sums = weighed ? found.sums : NULL;
        unusual[row] = type.minima ? put_with_minima(kind, from, found.scales, found.minima, sums, to)
                                   : put_with_scales(kind, from, found.scales, sums, to);
    }
}

/* The same of a type that is known only now, each in a loop of its own. */
WITH_LANES static void encode(int kind, const float *x, const float *importance, uint8_t *out, uint8_t *unusual, size_t rows,
                              size_t in_line)
{
    if (kind == Q2_K)
        encode_as(Q2_K, x, importance, out, unusual, rows, in_line);
    else if (kind == Q3_K)
        encode_as(Q3_K, x, importance, out, unusual, rows, in_line);
    else if (kind == Q4_K)
        encode_as(Q4_K, x, importance, out, unusual, rows, in_line);
    else if (kind == Q5_K)
        encode_as(Q5_K, x, importance, out, unusual, rows, in_line);
    else
        encode_as(Q6_K, x, importance, out, unusual, rows, in_line);
}

/* Encodes rows of 256 numbers, of which a line of the matrix has `in_line`, by the importance of its columns, or NULL, which
   Q3_K has to have. Sets in `unusual` which of them have to be encoded by ggml: all of them where a processor is too old. */
void tagship_k_quants_encode(int kind, const float *x, const float *importance, uint8_t *out, uint8_t *unusual, size_t rows,
                             size_t in_line)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2")) {
        memset(unusual, 1, rows);
        return;
    }
#endif
    encode(kind, x, importance, out, unusual, rows, in_line);
}
