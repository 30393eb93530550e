/* y = scale * (W x) + bias for few rows x, with W stored (d_out, d_in) as float, half or int8 numbers.

   For one row this is as fast as W can be read from memory, which is what decoding waits for. A block of rows of W meets
   up to 8 rows of x: each weight is read and converted once for all of them, each x once for all rows of W, and there are
   enough sums (outputs * rows) that none waits for another. Vectors are those of GCC and Clang, of 16 numbers. */

#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
#define LANES 16
#define FROM_HALF(w) (floats) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(w)))
#define FROM_INT8(w) (floats) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(w))))
#elif defined(__AVX2__) && defined(__F16C__)
#define LANES 8
#define FROM_HALF(w) (floats) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(w)))
#define FROM_INT8(w) (floats) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(w))))
#else
#define LANES 8
#define FROM_HALF(w) converted(w)
#define FROM_INT8(w) converted(w)
#endif
#define converted(w) ({ floats f; for (int lane = 0; lane < LANES; lane++) f[lane] = (float)(w)[lane]; f; })
#define FROM_FLOAT(w) ({ floats f; memcpy(&f, w, sizeof f); f; })

#define ALWAYS static inline __attribute__((always_inline))
typedef float floats __attribute__((vector_size(LANES * sizeof(float))));

#define DEFINE(NAME, NUMBER, READ)                                                                                     \
    ALWAYS void NAME##_block(const NUMBER *w, const float *scale, const float *bias, const float *x, float *y,         \
                             long d_out, long d_in, const int outputs, const int rows) {                               \
        floats sums[4][8] = {{{0}}};                                                                                   \
        long i = 0;                                                                                                    \
        for (; i + LANES <= d_in; i += LANES)                                                                          \
            _Pragma("GCC unroll 4") for (int o = 0; o < outputs; o++) {                                                \
                const floats weights = READ(w + o * d_in + i);                                                         \
                __builtin_prefetch(w + (outputs + o) * d_in + i, 0, 2);                                                \
                _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) {                                               \
                    sums[o][r] += weights * FROM_FLOAT(x + r * d_in + i);                                              \
                }                                                                                                      \
            }                                                                                                          \
        _Pragma("GCC unroll 4") for (int o = 0; o < outputs; o++)                                                      \
            _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) {                                                   \
                float sum = 0;                                                                                         \
                for (int lane = 0; lane < LANES; lane++) sum += sums[o][r][lane];                                      \
                for (long j = i; j < d_in; j++) sum += (float)w[o * d_in + j] * x[r * d_in + j];                       \
                y[r * d_out + o] = sum * (scale ? scale[o] : 1.0f) + (bias ? bias[o] : 0.0f);                          \
            }                                                                                                          \
    }                                                                                                                  \
                                                                                                                       \
    ALWAYS void NAME##_rows(const NUMBER *w, const float *scale, const float *bias, const float *x, float *y,          \
                            long d_out, long d_in, long rows, const int outputs) {                                     \
        for (; rows >= 8; rows -= 8, x += 8 * d_in, y += 8 * d_out)                                                    \
            for (int o = 0; o < outputs; o += 2)                                                                       \
                NAME##_block(w + o * d_in, scale ? scale + o : 0, bias ? bias + o : 0, x, y + o, d_out, d_in,          \
                             outputs > 1 ? 2 : 1, 8);                                                                  \
        for (; rows >= 4; rows -= 4, x += 4 * d_in, y += 4 * d_out)                                                    \
            NAME##_block(w, scale, bias, x, y, d_out, d_in, outputs, 4);                                               \
        for (; rows > 0; rows--, x += d_in, y += d_out)                                                                \
            NAME##_block(w, scale, bias, x, y, d_out, d_in, outputs, 1);                                               \
    }                                                                                                                  \
                                                                                                                       \
    void NAME(const void *weight, const float *scale, const float *bias, const float *x, float *y, long d_out,         \
              long d_in, long rows, int threads) {                                                                     \
        const NUMBER *w = weight;                                                                                      \
        _Pragma("omp parallel for num_threads(threads) if (threads > 1)")                                              \
        for (long o = 0; o < d_out / 4 * 4; o += 4)                                                                    \
            NAME##_rows(w + o * d_in, scale ? scale + o : 0, bias ? bias + o : 0, x, y + o, d_out, d_in, rows, 4);     \
        for (long o = d_out / 4 * 4; o < d_out; o++)                                                                   \
            NAME##_rows(w + o * d_in, scale ? scale + o : 0, bias ? bias + o : 0, x, y + o, d_out, d_in, rows, 1);     \
    }

DEFINE(product_float, float, FROM_FLOAT)
DEFINE(product_half, _Float16, FROM_HALF)
DEFINE(product_int8, signed char, FROM_INT8)
