/* One new token of each text through one block (gpt2.model.Block): LayerNorm, attention over the cache, LayerNorm and
   feed-forward. Except for the matmuls of matmul.c this is little work, but as two dozen calls of PyTorch it would take a
   third as long as they do. Texts of a batch are rows; arrays are PyTorch's, contiguous, in float. */

#include <math.h>
#include <stdint.h>
#include <string.h>

struct linear { /* y = scale * (weight x) + bias, by one of the functions of matmul.c */
    int (*matmul)(const void *weight, const float *scale, const float *bias, const float *x, float *y, long d_out,
                  long d_in, long rows, int threads);
    const void *weight;
    const float *scale, *bias;
    long d_out, d_in;
};

struct block {
    const float *gamma_1, *beta_1, *gamma_2, *beta_2;
    struct linear c_attn, attn_proj, c_fc, mlp_proj;
    long heads;
    float eps;
    int tanh_gelu;
};

struct cache { /* keys and values of this layer, (rows, heads, length, d_k) */
    float *keys, *values;
    const int64_t *padding; /* of each row: the column where its text starts, unused ones before it */
    long oldest, now, length; /* columns oldest ... now are attended to; the new token's is `now` */
};

static int apply(const struct linear *f, const float *x, float *y, long rows, int threads) {
    return f->matmul(f->weight, f->scale, f->bias, x, y, f->d_out, f->d_in, rows, threads);
}

static void layer_norm(const float *x, const float *gamma, const float *beta, float eps, long n, float *y) {
    float mean = 0, variance = 0;
    for (long i = 0; i < n; i++) mean += x[i];
    mean /= n;
    for (long i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
    const float factor = 1 / sqrtf(variance / n + eps);
    for (long i = 0; i < n; i++) y[i] = (x[i] - mean) * factor * gamma[i] + beta[i];
}

/* softmax(q K^T / sqrt(d_k)) V of one query over columns from ... to; `weights` has space for as many numbers */
static void attend(const float *q, const float *keys, const float *values, long from, long to, long d_k, float *weights,
                   float *y) {
    const float scale = 1 / sqrtf(d_k);
    float largest = -3.4e38f, sum = 0;
    for (long j = from; j <= to; j++) {
        float score = 0;
        for (long i = 0; i < d_k; i++) score += q[i] * keys[j * d_k + i];
        weights[j - from] = score * scale;
        largest = fmaxf(largest, score * scale);
    }
    for (long j = 0; j <= to - from; j++) sum += weights[j] = expf(weights[j] - largest);
    memset(y, 0, d_k * sizeof *y);
    for (long j = from; j <= to; j++) {
        const float weight = weights[j - from] / sum;
        for (long i = 0; i < d_k; i++) y[i] += weight * values[j * d_k + i];
    }
}

static void gelu(float *x, long n, int tanh_form) {
    if (tanh_form) /* x (1 + tanh(u)) / 2 = x / (1 + exp(-2u)); exp(80) fits a float, and x / exp(80) is close to 0 */
        for (long i = 0; i < n; i++)
            x[i] /= 1 + expf(fminf(80, -1.5957691216f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
    else
        for (long i = 0; i < n; i++) x[i] *= 0.5f * (1 + erff(0.70710678119f * x[i]));
}

/* x (rows, d_model) becomes the block's output; `scratch` holds rows * (5 d_model + d_ff) + heads * length numbers.
   Returns 0, or 1 where memory ran out. */
int block_step(const struct block *b, const struct cache *c, float *x, float *scratch, long rows, int threads) {
    const long d = b->attn_proj.d_out, d_ff = b->c_fc.d_out, d_k = d / b->heads;
    float *normed = scratch, *qkv = normed + rows * d, *mixed = qkv + rows * 3 * d, *inner = mixed + rows * d;
    float *weights = inner + rows * d_ff;
    for (long r = 0; r < rows; r++) layer_norm(x + r * d, b->gamma_1, b->beta_1, b->eps, d, normed + r * d);
    if (apply(&b->c_attn, normed, qkv, rows, threads)) return 1;
    for (long r = 0; r < rows; r++) {
        const long from = c->padding[r] > c->oldest ? c->padding[r] : c->oldest;
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (long h = 0; h < b->heads; h++) {
            const float *q = qkv + r * 3 * d + h * d_k;
            float *keys = c->keys + (r * b->heads + h) * c->length * d_k;
            float *values = c->values + (r * b->heads + h) * c->length * d_k;
            memcpy(keys + c->now * d_k, q + d, d_k * sizeof *q);
            memcpy(values + c->now * d_k, q + 2 * d, d_k * sizeof *q);
            attend(q, keys, values, from, c->now, d_k, weights + h * c->length, mixed + r * d + h * d_k);
        }
    }
    if (apply(&b->attn_proj, mixed, normed, rows, threads)) return 1;
    for (long i = 0; i < rows * d; i++) x[i] += normed[i];
    for (long r = 0; r < rows; r++) layer_norm(x + r * d, b->gamma_2, b->beta_2, b->eps, d, normed + r * d);
    if (apply(&b->c_fc, normed, inner, rows, threads)) return 1;
    gelu(inner, rows * d_ff, b->tanh_gelu);
    if (apply(&b->mlp_proj, inner, normed, rows, threads)) return 1;
    for (long i = 0; i < rows * d; i++) x[i] += normed[i];
    return 0;
}
