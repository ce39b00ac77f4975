/* c = a b; dims: m, n, k; tensors: a (m, k), b (k, n), c (m, n).
 * A_TRANSPOSED: a is (k, m). B_TRANSPOSED: b is (n, k). BATCHED: all have a first dimension, and so have the dims.
 * FLOAT16, BFLOAT16: the format of all three. TF32: products of a and b as tensor cores take them, 10 bits of mantissa. */
#include <stdint.h>
#include <string.h>

#if defined(FLOAT16)
typedef _Float16 element;
static inline float number(element x) { return (float)x; }
static inline element rounded(float x) { return (element)x; }
#elif defined(BFLOAT16)
typedef uint16_t element;
static inline float number(element x) {
    const uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}
static inline element rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fc0 : (element)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#elif defined(TF32)
typedef float element;
static inline float number(element x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000;
    float y;
    memcpy(&y, &bits, sizeof y);
    return x != x ? x : y;
}
static inline element rounded(float x) { return x; }
#else
typedef float element;
static inline float number(element x) { return x; }
static inline element rounded(float x) { return x; }
#endif

#ifdef A_TRANSPOSED
#define A(i, p) a[(p) * m + (i)]
#else
#define A(i, p) a[(i) * k + (p)]
#endif
#ifdef B_TRANSPOSED
#define B(p, j) b[(j) * k + (p)]
#else
#define B(p, j) b[(p) * n + (j)]
#endif

static void multiply(int64_t m, int64_t n, int64_t k, const element *a, const element *b, element *c) {
#pragma omp parallel for
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (int64_t p = 0; p < k; p++)
                sum += number(A(i, p)) * number(B(p, j));
            c[i * n + j] = rounded(sum);
        }
}

int quasim_run(const int64_t *dims, void *const *tensors) {
    const element *a = tensors[0], *b = tensors[1];
    element *c = tensors[2];
#ifdef BATCHED
    const int64_t count = *dims++;
#else
    const int64_t count = 1;
#endif
    const int64_t m = dims[0], n = dims[1], k = dims[2];

    for (int64_t i = 0; i < count; i++)
        multiply(m, n, k, a + i * m * k, b + i * k * n, c + i * m * n);
    return 0;
}
