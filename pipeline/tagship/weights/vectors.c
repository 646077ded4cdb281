/* Products of float32 with bfloat16 by fused multiplications of vectors, for weights/vectors.py, which has the contract. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Rows of weights that lie together as [column][row], and tokens that are summed up side by side: two vectors for each
   fill the registers. */
#define ROWS 16
#define TOKENS 6
/* Columns of which such a block stays in the nearest cache, and of all tokens in the second one. */
#define DEPTH 384

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

/* The products of TOKENS tokens with a block; they are added to what is there, unless it is the first one. */
WITH_AVX2
static void multiply(const float *const *values, const float *block, size_t depth, float *const *made, int first)
{
    __m256 sum[TOKENS][2];
    for (int token = 0; token < TOKENS; token++)
        sum[token][0] = sum[token][1] = _mm256_setzero_ps();
    for (size_t column = 0; column < depth; column++) {
        const __m256 one = _mm256_load_ps(block + column * ROWS), other = _mm256_load_ps(block + column * ROWS + 8);
        for (int token = 0; token < TOKENS; token++) {
            const __m256 value = _mm256_broadcast_ss(values[token] + column);
            sum[token][0] = _mm256_fmadd_ps(value, one, sum[token][0]);
            sum[token][1] = _mm256_fmadd_ps(value, other, sum[token][1]);
        }
    }
    for (int token = 0; token < TOKENS; token++)
        for (int half = 0; half < 2; half++) {
            float *to = made[token] + 8 * half;
            _mm256_storeu_ps(to, first ? sum[token][half] : _mm256_add_ps(_mm256_loadu_ps(to), sum[token][half]));
        }
}

/* Rows [start, stop) of weights: made[token][row] for all tokens. `near` has room for DEPTH columns of all of them. */
WITH_AVX2
void tagship_vectors_multiply(const float *values, const uint16_t *weights, float *made, float *near, size_t tokens,
                              size_t width, size_t count, size_t start, size_t stop)
{
    float block[DEPTH * ROWS] __attribute__((aligned(32)));
    for (size_t from = 0; from < width; from += DEPTH) {
        const size_t depth = least(DEPTH, width - from);
        for (size_t token = 0; token < tokens; token++)
            memcpy(near + token * DEPTH, values + token * width + from, depth * sizeof *values);
        for (size_t row = start; row < stop; row += ROWS) {
            const size_t there = least(ROWS, stop - row);
            const uint16_t *rows[ROWS];
            for (size_t i = 0; i < ROWS; i++)
                rows[i] = weights + (row + least(i, there - 1)) * width;
            arrange(rows, from, from + depth, block);
            for (size_t token = 0; token < tokens; token += TOKENS) {
                /* What is not there has a place of its own: tokens and rows after the last. */
                float aside[TOKENS][ROWS];
                const float *given[TOKENS];
                float *at[TOKENS];
                for (size_t i = 0; i < TOKENS; i++) {
                    const size_t real = least(token + i, tokens - 1);
                    float *own = made + real * count + row;
                    given[i] = near + real * DEPTH;
                    at[i] = token + i < tokens && there == ROWS ? own : aside[i];
                    if (from && at[i] == aside[i])
                        memcpy(aside[i], own, there * sizeof *own);
                }
                multiply(given, block, depth, at, from == 0);
                for (size_t i = 0; there < ROWS && i < least(TOKENS, tokens - token); i++)
                    memcpy(made + (token + i) * count + row, aside[i], there * sizeof **aside);
            }
        }
    }
}

#else

int tagship_vectors_begin(void)
{
    return 0;
}

void tagship_vectors_multiply(const float *values, const uint16_t *weights, float *made, float *near, size_t tokens,
                              size_t width, size_t count, size_t start, size_t stop)
{
    (void)values, (void)weights, (void)made, (void)near, (void)tokens, (void)width, (void)count, (void)start, (void)stop;
}

#endif
