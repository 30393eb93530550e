/* y = scale * (W x) + bias for few rows x, with W stored (d_out, d_in) in float, half, or int8.

   With one row this is nearly as fast as W can be read from memory, which bounds decoding. A block of rows of W is
   multiplied with up to 8 rows of x: each weight is read and converted once for all of them, each x once for all rows of
   W, and there are enough sums (outputs * rows) to hide the latency of an addition. Vectors are those of GCC and Clang.

   int8 weights are not converted to float, which takes longer than reading them. Instead x is rounded to 16-bit integers,
   a few hundred times finer than the weights, and the sums of each lane are integers. */

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define ALWAYS static inline __attribute__((always_inline))
#define VECTOR(NUMBER, COUNT) __attribute__((vector_size((COUNT) * sizeof(NUMBER)))) NUMBER
#ifdef __AVX512BW__
#define LANES 16
#else
#define LANES 8
#endif
typedef VECTOR(float, LANES) floats;
typedef VECTOR(int, LANES) ints;

/* LANES floats from memory */
ALWAYS floats from_float(const float *w) {
    floats f;
    memcpy(&f, w, sizeof f);
    return f;
}

ALWAYS floats from_half(const _Float16 *w) {
#ifdef __AVX512BW__
    return (floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)w));
#elif defined(__AVX2__) && defined(__F16C__)
    return (floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
#else
    floats f;
    for (int lane = 0; lane < LANES; lane++) f[lane] = (float)w[lane];
    return f;
#endif
}

/* sum + w x for LANES numbers, or for 2 LANES of them, neighbors added */
ALWAYS floats add_float(floats sum, floats w, const float *x) { return sum + w * from_float(x); }

#ifdef __AVX512BW__
typedef __m512i shorts;
ALWAYS shorts from_int8(const signed char *w) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)w)); }
ALWAYS ints add_int8(ints sum, shorts w, const short *x) {
#ifdef __AVX512VNNI__
    return (ints)_mm512_dpwssd_epi32((__m512i)sum, w, _mm512_loadu_si512(x));
#else
    return sum + (ints)_mm512_madd_epi16(w, _mm512_loadu_si512(x));
#endif
}
#elif defined(__AVX2__)
typedef __m256i shorts;
ALWAYS shorts from_int8(const signed char *w) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w)); }
ALWAYS ints add_int8(ints sum, shorts w, const short *x) {
    return sum + (ints)_mm256_madd_epi16(w, _mm256_loadu_si256((const __m256i *)x));
}
#else
typedef struct { ints even, odd; } shorts;
ALWAYS shorts from_int8(const signed char *w) {
    shorts s;
    for (int lane = 0; lane < LANES; lane++) s.even[lane] = w[2 * lane], s.odd[lane] = w[2 * lane + 1];
    return s;
}
ALWAYS ints add_int8(ints sum, shorts w, const short *x) {
    for (int lane = 0; lane < LANES; lane++) sum[lane] += w.even[lane] * x[2 * lane] + w.odd[lane] * x[2 * lane + 1];
    return sum;
}
#endif

/* NAME(w, scale, bias, x, step, ...): y = scale * step * (W x) + bias; COUNT elements of W and x make one vector of sums */
#define DEFINE(NAME, NUMBER, INPUT, SUMS, COUNT, WEIGHTS, READ, ADD)                                                   \
    ALWAYS void NAME##_block(const NUMBER *w, const float *scale, const float *bias, const INPUT *x, const float *step,\
                             float *y, long d_out, long d_in, const int outputs, const int rows) {                     \
        SUMS sums[4][8] = {{{0}}};                                                                                     \
        long i = 0;                                                                                                    \
        for (; i + COUNT <= d_in; i += COUNT)                                                                          \
            _Pragma("GCC unroll 4") for (int o = 0; o < outputs; o++) {                                                \
                const WEIGHTS weights = READ(w + o * d_in + i);                                                        \
                __builtin_prefetch(w + (4 + o) * d_in + i, 0, 3); /* of the next four rows of W */                     \
                _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)                                                 \
                    sums[o][r] = ADD(sums[o][r], weights, x + r * d_in + i);                                           \
            }                                                                                                          \
        _Pragma("GCC unroll 4") for (int o = 0; o < outputs; o++)                                                      \
            _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) {                                                   \
                float sum = 0;                                                                                         \
                for (int lane = 0; lane < LANES; lane++) sum += sums[o][r][lane];                                      \
                for (long j = i; j < d_in; j++) sum += (float)w[o * d_in + j] * x[r * d_in + j];                       \
                y[r * d_out + o] = sum * (step ? step[r] : 1.0f) * (scale ? scale[o] : 1.0f) + (bias ? bias[o] : 0.0f);\
            }                                                                                                          \
    }                                                                                                                  \
                                                                                                                       \
    ALWAYS void NAME##_rows(const NUMBER *w, const float *scale, const float *bias, const INPUT *x, const float *step, \
                            float *y, long d_out, long d_in, long rows, const int outputs) {                           \
        for (; rows >= 8; rows -= 8, x += 8 * d_in, y += 8 * d_out, step += step ? 8 : 0)                              \
            for (int o = 0; o < outputs; o += 2)                                                                       \
                NAME##_block(w + o * d_in, scale ? scale + o : 0, bias ? bias + o : 0, x, step, y + o, d_out, d_in,    \
                             outputs > 1 ? 2 : 1, 8);                                                                  \
        for (; rows >= 4; rows -= 4, x += 4 * d_in, y += 4 * d_out, step += step ? 4 : 0)                              \
            NAME##_block(w, scale, bias, x, step, y, d_out, d_in, outputs, 4);                                         \
        for (; rows > 0; rows--, x += d_in, y += d_out, step += step ? 1 : 0)                                          \
            NAME##_block(w, scale, bias, x, step, y, d_out, d_in, outputs, 1);                                         \
    }                                                                                                                  \
                                                                                                                       \
    ALWAYS void NAME(const NUMBER *w, const float *scale, const float *bias, const INPUT *x, const float *step,        \
                     float *y, long d_out, long d_in, long rows, int threads) {                                        \
        _Pragma("omp parallel for num_threads(threads) if (threads > 1)")                                              \
        for (long o = 0; o < d_out / 4 * 4; o += 4)                                                                    \
            NAME##_rows(w + o * d_in, scale ? scale + o : 0, bias ? bias + o : 0, x, step, y + o, d_out, d_in, rows, 4);\
        for (long o = d_out / 4 * 4; o < d_out; o++)                                                                   \
            NAME##_rows(w + o * d_in, scale ? scale + o : 0, bias ? bias + o : 0, x, step, y + o, d_out, d_in, rows, 1);\
    }

DEFINE(floats_times, float, float, floats, LANES, floats, from_float, add_float)
DEFINE(halves_times, _Float16, float, floats, LANES, floats, from_half, add_float)
DEFINE(int8_times, signed char, short, ints, 2 * LANES, shorts, from_int8, add_int8)

/* All return 0, or 1 where memory ran out. */
int matmul_float(const void *weight, const float *scale, const float *bias, const float *x, float *y, long d_out,
                 long d_in, long rows, int threads) {
    floats_times(weight, scale, bias, x, 0, y, d_out, d_in, rows, threads);
    return 0;
}

int matmul_half(const void *weight, const float *scale, const float *bias, const float *x, float *y, long d_out,
                long d_in, long rows, int threads) {
    halves_times(weight, scale, bias, x, 0, y, d_out, d_in, rows, threads);
    return 0;
}

int matmul_int8(const void *weight, const float *scale, const float *bias, const float *x, float *y, long d_out,
                long d_in, long rows, int threads) {
    /* on the heap: 32 rows of 6,400 numbers would not fit the stack of a small thread */
    short *rounded = malloc(rows * d_in * sizeof *rounded);
    float *step = malloc(rows * sizeof *step);
    if (!rounded || !step) {
        free(rounded);
        free(step);
        return 1;
    }
    /* as large as possible while a sum of d_in / LANES products with weights of up to 127 fits 31 bits */
    const float levels = fminf(32767.0f, 2147483647.0f / (127.0f * (d_in / LANES + 1)));
    for (long r = 0; r < rows; r++) {
        float largest = 0;
        for (long i = 0; i < d_in; i++) largest = fmaxf(largest, fabsf(x[r * d_in + i]));
        step[r] = largest > 0 ? largest / levels : 1;
        for (long i = 0; i < d_in; i++) rounded[r * d_in + i] = (short)lrintf(x[r * d_in + i] / step[r]);
    }
    int8_times(weight, scale, bias, rounded, step, y, d_out, d_in, rows, threads);
    free(rounded);
    free(step);
    return 0;
}
