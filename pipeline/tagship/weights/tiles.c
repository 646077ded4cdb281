/* Products of float32 with bfloat16 by the tiles of Intel's AMX, for weights/tiles.py, which has the contract.

A tile is 16 rows of 64 bytes. One instruction multiplies a tile of 16 x 32 bfloat16 with one of 32 x 16, whose numbers
lie in pairs, and adds the products to 16 x 16 float32. */

#define _GNU_SOURCE

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SIDE 16
#define DEPTH 32
#define TILE (SIDE * DEPTH)
/* bfloat16 has 8 bits of the 24 of a float32: three hold all of it. */
#define TERMS 3
/* Rows of weights and columns that are in the processor's second cache, beside two blocks of values. */
#define PANEL 256
#define CHUNK 1024

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WITH_TILES __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl")))
/* From the kernel's asm/prctl.h: what tiles hold is large, so that a process has to ask for it. */
#define ASK_FOR_STATE 0x1023
#define STATE_OF_TILES 18

static size_t tiles_of(size_t count, size_t each)
{
    return (count + each - 1) / each;
}

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

static int has_tiles(void)
{
    /* __builtin_cpu_supports knows AMX since GCC 13 alone. Of AVX-512 there are the foundation, bytes and lengths. */
    const unsigned int amx = 1u << 24 | 1u << 22, avx512 = 1u << 16 | 1u << 30 | 1u << 31;
    unsigned int a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & amx) == amx && (b & avx512) == avx512;
}

/* Whether this process may use tiles: to be asked before threads are started that are to. */
int tagship_tiles_begin(void)
{
    return has_tiles() && syscall(SYS_arch_prctl, ASK_FOR_STATE, STATE_OF_TILES) == 0;
}

/* Values of blocks [first, last) of 16 tokens as [block][tile of columns][term][token][column]; what is not there is 0. */
WITH_TILES
void tagship_tiles_split(const float *values, uint16_t *split, size_t tokens, size_t width, size_t first, size_t last)
{
    const size_t deep = tiles_of(width, DEPTH);
    const __m512i leading = _mm512_set1_epi32((int)0xFFFF0000);
    for (size_t block = first; block < last; block++)
        for (size_t token = 0; token < SIDE; token++)
            for (size_t half = 0; half < 2 * deep; half++) {
                const size_t row = block * SIDE + token, column = half * SIDE;
                const size_t left = row < tokens && column < width ? least(width - column, SIDE) : 0;
                const float *at = left ? values + row * width + column : values;
                uint16_t *to = split + (block * deep + half / 2) * TERMS * TILE + token * DEPTH + half % 2 * SIDE;
                __m512 rest = _mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), at);
                for (size_t term = 0; term < TERMS; term++) {
                    /* Cut off, not rounded: so the rest is exact, and the last one nothing. */
                    const __m512i bits = _mm512_and_si512(_mm512_castps_si512(rest), leading);
                    _mm256_storeu_si256((__m256i *)(to + term * TILE), _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
                    rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(bits));
                }
            }
}

/* Columns [from, to) of rows of weights as [block of 16 rows][tile of columns][pair of columns][row][column]. */
WITH_TILES
static void arrange(const uint16_t *weights, uint16_t *panel, size_t rows, size_t width, size_t from, size_t to)
{
    const size_t deep = tiles_of(to - from, DEPTH), blocks = 2 * tiles_of(rows, 2 * SIDE);
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32((int)(width / 2)));
    for (size_t block = 0; block < blocks; block++)
        for (size_t k = 0; k < deep; k++) {
            const size_t row = block * SIDE, column = from + k * DEPTH;
            const size_t pairs = least((to - column) / 2, SIDE), left = row < rows ? least(rows - row, SIDE) : 0;
            const __mmask16 there = (__mmask16)((1u << left) - 1);
            uint16_t *tile = panel + (block * deep + k) * TILE;
            for (size_t pair = 0; pair < SIDE; pair++) {
                const uint16_t *at = left && pair < pairs ? weights + row * width + column + 2 * pair : weights;
                const __mmask16 some = pair < pairs ? there : 0;
                const __m512i none = _mm512_setzero_si512();
                _mm512_storeu_si512(tile + pair * DEPTH, _mm512_mask_i32gather_epi32(none, some, places, at, 4));
            }
        }
}

/* Two blocks of 16 tokens times two of 16 rows, added to what is there already where it goes on. */
WITH_TILES
static void multiply(const uint16_t *values, size_t next_values, const uint16_t *panel, size_t next_panel, size_t deep,
                     float *made, size_t columns, int goes_on)
{
    const size_t bytes = columns * sizeof *made;
    float *below = made + SIDE * columns;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (goes_on) {
        _tile_loadd(0, made, bytes);
        _tile_loadd(1, made + SIDE, bytes);
        _tile_loadd(2, below, bytes);
        _tile_loadd(3, below + SIDE, bytes);
    }
    for (size_t k = 0; k < deep; k++) {
        _tile_loadd(6, panel + k * TILE, 2 * DEPTH);
        _tile_loadd(7, panel + next_panel + k * TILE, 2 * DEPTH);
        for (size_t term = 0; term < TERMS; term++) {
            _tile_loadd(4, values + (k * TERMS + term) * TILE, 2 * DEPTH);
            _tile_loadd(5, values + next_values + (k * TERMS + term) * TILE, 2 * DEPTH);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, made, bytes);
    _tile_stored(1, made + SIDE, bytes);
    _tile_stored(2, below, bytes);
    _tile_stored(3, below + SIDE, bytes);
}

/* As multiply, of so many tokens and rows alone. */
WITH_TILES
static void multiply_edge(const uint16_t *values, size_t next_values, const uint16_t *panel, size_t next_panel,
                          size_t deep, float *made, size_t columns, int goes_on, size_t tokens, size_t rows)
{
    float whole[4 * SIDE * SIDE] = {0};
    for (size_t token = 0; token < tokens; token++)
        memcpy(whole + 2 * SIDE * token, made + token * columns, rows * sizeof *made);
    multiply(values, next_values, panel, next_panel, deep, whole, 2 * SIDE, goes_on);
    for (size_t token = 0; token < tokens; token++)
        memcpy(made + token * columns, whole + 2 * SIDE * token, rows * sizeof *made);
}

/* Columns [first, last) of what is made of split values and the rows of weights; `panel` is room for PANEL x CHUNK. */
WITH_TILES
void tagship_tiles_multiply(const uint16_t *split, const uint16_t *weights, float *made, uint16_t *panel,
                            size_t tokens, size_t width, size_t rows, size_t first, size_t last)
{
    struct {
        uint8_t palette, start, kept[14];
        uint16_t bytes[SIDE];
        uint8_t rows[SIDE];
    } shapes = {.palette = 1};
    for (size_t tile = 0; tile < 8; tile++) {
        shapes.bytes[tile] = 2 * DEPTH;
        shapes.rows[tile] = SIDE;
    }
    _tile_loadconfig(&shapes);
    const size_t next_values = tiles_of(width, DEPTH) * TERMS * TILE, both = 2 * SIDE;
    for (size_t row = first; row < last; row += PANEL) {
        const size_t here = least(last - row, PANEL);
        for (size_t from = 0; from < width; from += CHUNK) {
            const size_t to = least(from + CHUNK, width), deep = tiles_of(to - from, DEPTH), next_panel = deep * TILE;
            arrange(weights + row * width, panel, here, width, from, to);
            for (size_t token = 0; token < tokens; token += both)
                for (size_t some = 0; some < here; some += both) {
                    const uint16_t *left = split + token / SIDE * next_values + from / DEPTH * TERMS * TILE;
                    const uint16_t *right = panel + some / SIDE * next_panel;
                    float *at = made + token * rows + row + some;
                    if (tokens - token >= both && here - some >= both)
                        multiply(left, next_values, right, next_panel, deep, at, rows, from > 0);
                    else
                        multiply_edge(left, next_values, right, next_panel, deep, at, rows, from > 0,
                                      least(tokens - token, both), least(here - some, both));
                }
        }
    }
    _tile_release();
}

#else

int tagship_tiles_begin(void)
{
    return 0;
}

void tagship_tiles_split(const float *values, uint16_t *split, size_t tokens, size_t width, size_t first, size_t last)
{
    (void)values, (void)split, (void)tokens, (void)width, (void)first, (void)last;
}

void tagship_tiles_multiply(const uint16_t *split, const uint16_t *weights, float *made, uint16_t *panel,
                            size_t tokens, size_t width, size_t rows, size_t first, size_t last)
{
    (void)split, (void)weights, (void)made, (void)panel, (void)tokens, (void)width, (void)rows, (void)first, (void)last;
}

#endif
