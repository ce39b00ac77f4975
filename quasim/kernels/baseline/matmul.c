/* c = a b; dims: m, n, k; tensors: a (m, k), b (k, n), c (m, n). */
#include <stdint.h>

int quasim_run(const int64_t *dims, void *const *tensors) {
    const int64_t m = dims[0], n = dims[1], k = dims[2];
    const float *a = tensors[0], *b = tensors[1];
    float *c = tensors[2];

#pragma omp parallel for
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (int64_t p = 0; p < k; p++)
                sum += a[i * k + p] * b[p * n + j];
            c[i * n + j] = sum;
        }
    return 0;
}
