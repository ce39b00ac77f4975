/* A two-qubit gate; dims: outer, middle, inner; tensors: re, im (outer, 2, middle, 2, inner), gate (2, 4, 4), out_re,
 * out_im. */
#include <stdint.h>

int quasim_run(const int64_t *dims, void *const *tensors) {
    const int64_t outer = dims[0], middle = dims[1], inner = dims[2];
    const float *re = tensors[0], *im = tensors[1], *gate = tensors[2];
    float *out_re = tensors[3], *out_im = tensors[4];

#pragma omp parallel for collapse(3)
    for (int64_t o = 0; o < outer; o++)
        for (int64_t m = 0; m < middle; m++)
            for (int64_t i = 0; i < inner; i++) {
                int64_t at[4];
                for (int bits = 0; bits < 4; bits++)
                    at[bits] = (((2 * o + bits / 2) * middle + m) * 2 + bits % 2) * inner + i;
                for (int row = 0; row < 4; row++) {
                    float sum_re = 0.0f, sum_im = 0.0f;
                    for (int col = 0; col < 4; col++) {
                        const float g_re = gate[4 * row + col], g_im = gate[16 + 4 * row + col];
                        sum_re += g_re * re[at[col]] - g_im * im[at[col]];
                        sum_im += g_re * im[at[col]] + g_im * re[at[col]];
                    }
                    out_re[at[row]] = sum_re;
                    out_im[at[row]] = sum_im;
                }
            }
    return 0;
}
