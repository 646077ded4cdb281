/* Products of float32 with bfloat16 by fused multiplications of vectors, for weights/vectors.py, which has the contract. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Rows of weights that lie together as [column][row], and tokens that are summed up side by side: two vectors for each
   fill the registers. */
#define ROWS 16
#define TOKENS 6
/* Columns of which such a block stays in the nearest cache, and blocks that are arranged at a time; tokens whose values
   stay in the second one. */
#define DEPTH 256
#define BLOCKS 16
#define NEAR 120

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define WITH_AVX2 __attribute__((target("avx2,fma")))

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* Whether this processor can do it, and is not better served: Intel's with AVX-512 have vectors twice as wide. */
int tagship_vectors_begin(void)
{
    const int wider = __builtin_cpu_supports("avx512f") && !__builtin_cpu_is("amd");
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !wider;
}

/* Eight columns of eight rows, bfloat16, as float32 by columns. */
WITH_AVX2
static void turn(const uint16_t *const *rows, size_t column, float *to)
{
    __m128i a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(rows[i] + column));
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            a[4 * i + 2 * j] = _mm_unpacklo_epi32(b[4 * i + j], b[4 * i + j + 2]);
            a[4 * i + 2 * j + 1] = _mm_unpackhi_epi32(b[4 * i + j], b[4 * i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi64(a[i], a[i + 4]);
        b[2 * i + 1] = _mm_unpackhi_epi64(a[i], a[i + 4]);
    }
    for (int i = 0; i < 8; i++)
        _mm256_store_si256((__m256i *)(to + i * ROWS), _mm256_slli_epi32(_mm256_cvtepu16_epi32(b[i]), 16));
}

/* Columns [from, to) of ROWS rows as [column][row]. */
WITH_AVX2
static void arrange(const uint16_t *const *rows, size_t from, size_t to, float *block)
{
    for (size_t half = 0; half < ROWS; half += 8) {
        size_t column = from;
        for (; column + 8 <= to; column += 8)
            turn(rows + half, column, block + (column - from) * ROWS + half);
        for (; column < to; column++)
            for (size_t row = half; row < half + 8; row++) {
                const uint32_t bits = (uint32_t)rows[row][column] << 16;
                memcpy(block + (column - from) * ROWS + row, &bits, sizeof bits);
            }
    }
}

/* The products of TOKENS tokens, [column][token], with a block; they are added to what is there, unless they are the
   first. The tokens' places are `next` from each other. */
WITH_AVX2
static void multiply(const float *values, const float *block, size_t depth, float *made, size_t next, int first)
{
    __m256 sum[TOKENS][2];
    for (int token = 0; token < TOKENS; token++)
        sum[token][0] = sum[token][1] = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (size_t column = 0; column < depth; column++) {
        const __m256 one = _mm256_load_ps(block + column * ROWS), other = _mm256_load_ps(block + column * ROWS + 8);
#pragma GCC unroll 6
        for (int token = 0; token < TOKENS; token++) {
            const __m256 value = _mm256_broadcast_ss(values + column * TOKENS + token);
            sum[token][0] = _mm256_fmadd_ps(value, one, sum[token][0]);
            sum[token][1] = _mm256_fmadd_ps(value, other, sum[token][1]);
        }
    }
    for (int token = 0; token < TOKENS; token++)
        for (int half = 0; half < 2; half++) {
            float *to = made + token * next + 8 * half;
            _mm256_storeu_ps(to, first ? sum[token][half] : _mm256_add_ps(_mm256_loadu_ps(to), sum[token][half]));
        }
}

/* The same at an edge, where there are only so many tokens and rows. */
WITH_AVX2
static void multiply_some(const float *values, const float *block, size_t depth, float *made, size_t next, int first,
                          size_t tokens, size_t rows)
{
    float aside[TOKENS * ROWS];
    memset(aside, 0, sizeof aside);
    for (size_t token = 0; !first && token < tokens; token++)
        memcpy(aside + token * ROWS, made + token * next, rows * sizeof *made);
    multiply(values, block, depth, aside, ROWS, first);
    for (size_t token = 0; token < tokens; token++)
        memcpy(made + token * next, aside + token * ROWS, rows * sizeof *made);
}

/* Values as [columns / DEPTH][tokens / TOKENS][column][token]; the last token stands for those that are not there. */
void tagship_vectors_arrange(const float *values, float *arranged, size_t tokens, size_t width)
{
    for (size_t from = 0; from < width; from += DEPTH) {
        const size_t depth = least(DEPTH, width - from);
        for (size_t token = 0; token < tokens; token += TOKENS, arranged += depth * TOKENS)
            for (size_t i = 0; i < TOKENS; i++) {
                const float *given = values + least(token + i, tokens - 1) * width + from;
                for (size_t column = 0; column < depth; column++)
                    arranged[column * TOKENS + i] = given[column];
            }
    }
}

/* Rows [start, stop) of weights: made[token][row] for all tokens, of which there are values as above. `blocks` has room
   for DEPTH columns of BLOCKS blocks, on a boundary of 32 bytes. A row is read from its beginning to its end before
   the ones after these are begun, so that reading it from a disk goes along with the products of others. */
WITH_AVX2
void tagship_vectors_multiply(const float *arranged, const uint16_t *weights, float *made, float *blocks, size_t tokens,
                              size_t width, size_t count, size_t start, size_t stop)
{
    const size_t padded = (tokens + TOKENS - 1) / TOKENS * TOKENS;
    for (size_t first = start; first < stop; first += BLOCKS * ROWS) {
        const size_t last = least(first + BLOCKS * ROWS, stop);
        for (size_t from = 0; from < width; from += DEPTH) {
            const size_t depth = least(DEPTH, width - from);
            for (size_t row = first; row < last; row += ROWS) {
                const uint16_t *rows[ROWS];
                for (size_t i = 0; i < ROWS; i++)
                    rows[i] = weights + least(row + i, last - 1) * width;
                arrange(rows, from, from + depth, blocks + (row - first) * depth);
            }
            for (size_t some = 0; some < tokens; some += NEAR)
                for (size_t row = first; row < last; row += ROWS)
                    for (size_t token = some; token < least(some + NEAR, tokens); token += TOKENS) {
                        const float *values = arranged + from * padded + token * depth;
                        const float *block = blocks + (row - first) * depth;
                        float *to = made + token * count + row;
                        if (token + TOKENS <= tokens && row + ROWS <= last)
                            multiply(values, block, depth, to, count, from == 0);
                        else
                            multiply_some(values, block, depth, to, count, from == 0, least(TOKENS, tokens - token),
                                          least(ROWS, last - row));
                    }
        }
    }
}

#else

int tagship_vectors_begin(void)
{
    return 0;
}

void tagship_vectors_arrange(const float *values, float *arranged, size_t tokens, size_t width)
{
    (void)values, (void)arranged, (void)tokens, (void)width;
}

void tagship_vectors_multiply(const float *arranged, const uint16_t *weights, float *made, float *blocks, size_t tokens,
                              size_t width, size_t count, size_t start, size_t stop)
{
    (void)arranged, (void)weights, (void)made, (void)blocks, (void)tokens, (void)width, (void)count, (void)start;
    (void)stop;
}

#endif
