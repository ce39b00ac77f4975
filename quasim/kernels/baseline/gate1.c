/* A one-qubit gate; dims: outer, inner; tensors: re, im (outer, 2, inner), gate (2, 2, 2), out_re, out_im. */
#include <stdint.h>

int quasim_run(const int64_t *dims, void *const *tensors) {
    const int64_t outer = dims[0], inner = dims[1];
    const float *re = tensors[0], *im = tensors[1], *gate = tensors[2];
    float *out_re = tensors[3], *out_im = tensors[4];

#pragma omp parallel for collapse(2)
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++)
            for (int row = 0; row < 2; row++) {
                float sum_re = 0.0f, sum_im = 0.0f;
                for (int col = 0; col < 2; col++) {
                    const float g_re = gate[2 * row + col], g_im = gate[4 + 2 * row + col];
                    const int64_t at = (2 * o + col) * inner + i;
                    sum_re += g_re * re[at] - g_im * im[at];
                    sum_im += g_re * im[at] + g_im * re[at];
                }
                out_re[(2 * o + row) * inner + i] = sum_re;
                out_im[(2 * o + row) * inner + i] = sum_im;
            }
    return 0;
}
