/* Adds products of narrow matrices to bfloat16, for weights/low_rank.py, which has the contract. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Columns of the right factor that lie together, as [panel][rank][column]. */
#define PANEL 32
/* Rows that are summed up side by side: with two vectors of columns each, they fill the registers. */
#define ROWS 6
/* Rows for which a panel is used while it is in the nearest cache. */
#define BAND 48

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define WITH_AVX2 __attribute__((target("avx2,fma")))
#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))

struct rows {
    const float *left[ROWS];
    const uint16_t *stored[ROWS];
    uint16_t *rounded[ROWS];
};

/* Adds ROWS rows of a product to a panel's columns, which begin at `first`; `largest` are the largest magnitudes so far. A
   number's products are summed up one after the other, and rounded together with it: so all processors make the same. */
typedef void Add(const struct rows *at, size_t first, const float *panel, size_t rank, uint32_t *largest);

/* The bits of the nearest bfloat16, of two that are equally near the even one. */
WITH_AVX2
static inline __m256i rounded_avx2(const uint16_t *stored, __m256 sum, __m256i *largest)
{
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)stored));
    const __m256i bits = _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)), sum));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    *largest = _mm256_max_epu32(*largest, _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF)));
    return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd), 16);
}

WITH_AVX2
static void add_avx2(const struct rows *at, size_t first, const float *panel, size_t rank, uint32_t *largest)
{
    __m256i most = _mm256_loadu_si256((const __m256i *)largest);
    for (size_t column = 0; column < PANEL; column += PANEL / 2) {
        __m256 sum[ROWS][2];
        for (int row = 0; row < ROWS; row++)
            sum[row][0] = sum[row][1] = _mm256_setzero_ps();
        for (size_t k = 0; k < rank; k++) {
            const __m256 one = _mm256_loadu_ps(panel + k * PANEL + column);
            const __m256 other = _mm256_loadu_ps(panel + k * PANEL + column + 8);
            for (int row = 0; row < ROWS; row++) {
                const __m256 factor = _mm256_broadcast_ss(at->left[row] + k);
                sum[row][0] = _mm256_fmadd_ps(factor, one, sum[row][0]);
                sum[row][1] = _mm256_fmadd_ps(factor, other, sum[row][1]);
            }
        }
        for (int row = 0; row < ROWS; row++) {
            const __m256i one = rounded_avx2(at->stored[row] + first + column, sum[row][0], &most);
            const __m256i other = rounded_avx2(at->stored[row] + first + column + 8, sum[row][1], &most);
            const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(one, other), 0xD8);
            _mm256_storeu_si256((__m256i *)(at->rounded[row] + first + column), packed);
        }
    }
    _mm256_storeu_si256((__m256i *)largest, most);
}

WITH_AVX512
static inline __m256i rounded_avx512(const uint16_t *stored, __m512 sum, __m512i *largest)
{
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)stored));
    const __m512i bits = _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)), sum));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    *largest = _mm512_max_epu32(*largest, _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)));
    return _mm512_cvtepi32_epi16(
        _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd), 16));
}

WITH_AVX512
static void add_avx512(const struct rows *at, size_t first, const float *panel, size_t rank, uint32_t *largest)
{
    __m512i most = _mm512_loadu_si512(largest);
    __m512 sum[ROWS][2];
    for (int row = 0; row < ROWS; row++)
        sum[row][0] = sum[row][1] = _mm512_setzero_ps();
    for (size_t k = 0; k < rank; k++) {
        const __m512 one = _mm512_loadu_ps(panel + k * PANEL), other = _mm512_loadu_ps(panel + k * PANEL + 16);
        for (int row = 0; row < ROWS; row++) {
            const __m512 factor = _mm512_set1_ps(at->left[row][k]);
            sum[row][0] = _mm512_fmadd_ps(factor, one, sum[row][0]);
            sum[row][1] = _mm512_fmadd_ps(factor, other, sum[row][1]);
        }
    }
    for (int row = 0; row < ROWS; row++)
        for (int half = 0; half < 2; half++)
            _mm256_storeu_si256((__m256i *)(at->rounded[row] + first + 16 * half),
                                rounded_avx512(at->stored[row] + first + 16 * half, sum[row][half], &most));
    _mm512_storeu_si512(largest, most);
}

static Add *fastest(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return add_avx512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? add_avx2 : NULL;
}

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* A panel of fewer columns is copied to `edge`, and from there, so that nothing beside it is touched. */
static void add_edge(Add *adds, const struct rows *at, size_t column, size_t wide, const float *panel, size_t rank,
                     uint32_t *largest)
{
    uint16_t edge[ROWS][PANEL] = {0};
    struct rows copied = *at;
    for (int row = 0; row < ROWS; row++) {
        memcpy(edge[row], at->stored[row] + column, wide * sizeof **edge);
        copied.stored[row] = copied.rounded[row] = edge[row];
    }
    adds(&copied, 0, panel, rank, largest);
    for (int row = 0; row < ROWS; row++)
        memcpy(at->rounded[row] + column, edge[row], wide * sizeof **edge);
}

/* The largest magnitude among a row's columns of a panel, as it is stored. */
WITH_AVX2
static float largest_stored(const uint16_t *stored, size_t wide)
{
    uint16_t most = 0;
    uint32_t bits;
    float largest;
    if (wide == PANEL)
        for (int column = 0; column < PANEL; column++)
            most = (stored[column] & 0x7FFF) > most ? stored[column] & 0x7FFF : most;
    else
        for (size_t column = 0; column < wide; column++)
            most = (stored[column] & 0x7FFF) > most ? stored[column] & 0x7FFF : most;
    bits = (uint32_t)most << 16;
    memcpy(&largest, &bits, sizeof largest);
    return largest;
}

static uint32_t most_of(const uint32_t *largest)
{
    uint32_t most = 0;
    for (int i = 0; i < 16; i++)
        most = largest[i] > most ? largest[i] : most;
    return most;
}

/* Whether this processor can do it. */
int tagship_low_rank_begin(void)
{
    return fastest() != NULL;
}

/* Returns whether everything is finite. */
int tagship_low_rank_add(const uint16_t *stored, const float *left, const float *panels, uint16_t *rounded, size_t rows,
                         size_t rank, size_t columns)
{
    Add *const adds = fastest();
    uint32_t largest[16] = {0};
    for (size_t band = 0; band < rows; band += BAND) {
        struct rows at[BAND / ROWS];
        const size_t groups = (least(rows - band, BAND) + ROWS - 1) / ROWS;
        for (size_t row = 0; row < groups * ROWS; row++) {
            const size_t real = least(band + row, rows - 1);
            at[row / ROWS].left[row % ROWS] = left + real * rank;
            at[row / ROWS].stored[row % ROWS] = stored + real * columns;
            at[row / ROWS].rounded[row % ROWS] = rounded + real * columns;
        }
        for (size_t column = 0; column < columns; column += PANEL)
            for (size_t group = 0; group < groups; group++)
                if (columns - column < PANEL)
                    add_edge(adds, &at[group], column, columns - column, panels + column * rank, rank, largest);
                else
                    adds(&at[group], column, panels + column * rank, rank, largest);
    }
    /* From half a step above the largest bfloat16 on, numbers are rounded to infinity; NaN is above that, too. */
    return most_of(largest) < 0x7F7F8000;
}

/* Returns the bits of the largest magnitude of the sums before they are rounded, or `known` where none is larger. The
   product is made only where what is stored and the most that the product can be reach above the largest so far:
   `left_sizes` are the norms of rows, `right_sizes` the largest of a panel's columns. */
uint32_t tagship_low_rank_largest(const uint16_t *stored, const float *left, const float *panels,
                                  const float *left_sizes, const float *right_sizes, uint32_t known, size_t rows,
                                  size_t rank, size_t columns)
{
    Add *const adds = fastest();
    uint16_t unused[PANEL];
    uint32_t largest[16] = {0};
    float most;
    largest[0] = known;
    memcpy(&most, &known, sizeof most);
    for (size_t band = 0; band < rows; band += BAND)
        for (size_t column = 0; column < columns; column += PANEL) {
            const size_t wide = least(columns - column, PANEL), end = least(band + BAND, rows);
            struct rows at;
            size_t found = 0;
            for (int row = 0; row < ROWS; row++)
                at.rounded[row] = unused;
            for (size_t row = band; row < end; row++) {
                const uint16_t *const here = stored + row * columns + column;
                const float size = largest_stored(here, wide) + left_sizes[row] * right_sizes[column / PANEL];
                if (!(size <= most)) { /* also where it is no number */
                    at.left[found] = left + row * rank;
                    at.stored[found++] = here;
                }
                if (found == ROWS || (found && row + 1 == end)) {
                    for (; found < ROWS; found++) {
                        at.left[found] = at.left[0];
                        at.stored[found] = at.stored[0];
                    }
                    if (wide < PANEL)
                        add_edge(adds, &at, 0, wide, panels + column * rank, rank, largest);
                    else
                        adds(&at, 0, panels + column * rank, rank, largest);
                    found = 0;
                    known = most_of(largest);
                    memcpy(&most, &known, sizeof most);
                }
            }
        }
    return known;
}

#else

int tagship_low_rank_begin(void)
{
    return 0;
}

int tagship_low_rank_add(const uint16_t *stored, const float *left, const float *panels, uint16_t *rounded, size_t rows,
                         size_t rank, size_t columns)
{
    (void)stored, (void)left, (void)panels, (void)rounded, (void)rows, (void)rank, (void)columns;
    return 0;
}

uint32_t tagship_low_rank_largest(const uint16_t *stored, const float *left, const float *panels,
                                  const float *left_sizes, const float *right_sizes, uint32_t known, size_t rows,
                                  size_t rank, size_t columns)
{
    (void)stored, (void)left, (void)panels, (void)left_sizes, (void)right_sizes, (void)rows, (void)rank, (void)columns;
    return known;
}

#endif
