/* y = softmax of each row of x; dims: rows, cols; tensors: x (rows, cols), y (rows, cols). */
#include <math.h>
#include <stdint.h>

int quasim_run(const int64_t *dims, void *const *tensors) {
    const int64_t rows = dims[0], cols = dims[1];

#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)tensors[0] + r * cols;
        float *y = (float *)tensors[1] + r * cols;
        float top = x[0];
        for (int64_t i = 1; i < cols; i++)
            if (x[i] > top)
                top = x[i];
        float sum = 0.0f;
        for (int64_t i = 0; i < cols; i++) {
            y[i] = expf(x[i] - top); /* NaN anywhere in the row makes the sum NaN, and with it the row */
            sum += y[i];
        }
        for (int64_t i = 0; i < cols; i++)
            y[i] /= sum;
    }
    return 0;
}
