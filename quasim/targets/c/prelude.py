"""The C helpers that emitted code calls: what vector extensions have no operator for.

They compile under gcc and clang for any instruction set; only streamed stores ask which one it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import Template

from quasim.kernels.ir import Dtype

C_TYPES: dict[Dtype, str] = {"float32": "float", "float64": "double", "float16": "_Float16", "bfloat16": "uint16_t"}
"""What an element of a tensor is in C, which has no bfloat16: its bits stand for it."""

_COMMON = """\
#include <stdint.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

static inline int64_t thread_number(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* Memory of `count` floats for each of `copies` threads, each on lines of its own. */
static inline int64_t padded(int64_t count, int64_t alignment) {
    const int64_t step = alignment / (int64_t)sizeof(float);
    return (count + step - 1) / step * step;
}

static inline void *scratch(int64_t count, int64_t copies, int64_t alignment) {
    return aligned_alloc((size_t)alignment, (size_t)(padded(count, alignment) * copies) * sizeof(float));
}

/* b where the two are unordered. */
static inline float larger1(float a, float b) { return a > b ? a : b; }

/* NaN if either is. */
static inline float max1(float a, float b) { return a > b || a != a ? a : b; }

static inline float sqrt1(float x) { return __builtin_sqrtf(x); }

/* Elements from p to the next address that is a multiple of so many elements. */
static inline int64_t to_aligned(const float *p, int64_t count) {
    return (int64_t)(-(uintptr_t)p / sizeof(float) % (uintptr_t)count);
}

static inline void touch(const void *p) { (void)*(const volatile char *)p; }

static inline void fence(void) {
#if defined(__SSE2__)
    __builtin_ia32_sfence();
#endif
}
"""

_VECTOR = Template("""\

typedef float v$n __attribute__((vector_size($bytes)));
typedef float loose$n __attribute__((vector_size($bytes), aligned(4), may_alias));
typedef int32_t i$n __attribute__((vector_size($bytes)));
typedef uint32_t u$n __attribute__((vector_size($bytes)));

static inline v$n spread$n(float x) { return (v$n){$spread}; }
static inline v$n load$n(const float *p) { return *(const loose$n *)p; }
static inline void store$n(float *p, v$n x) { *(loose$n *)p = x; }

/* x, in a register: gcc would rather read memory again at each use, and make a loop wait for its loads. */
static inline v$n pin$n(v$n x) {
#if $one_register && defined(__GNUC__)
    __asm__("" : "+x"(x));
#endif
    return x;
}

static inline v$n choose$n(i$n mask, v$n a, v$n b) { return (v$n)((mask & (i$n)a) | (~mask & (i$n)b)); }

/* All bits of the first `live` lanes, none of the others. */
static inline i$n first$n(int64_t live) {
    const i$n lane = {$iota};
    return lane < (int32_t)max_of(0, min_of(live, $n));
}

static inline v$n keep$n(v$n x, int64_t live, float fill) { return choose$n(first$n(live), x, spread$n(fill)); }

/* The first `live` elements, and 0 in the other lanes; touches no others. The address sanitizer does not look into the
   masked instructions, so it is given the plain loop. */
static inline v$n load_part$n(const float *p, int64_t live) {
#if $masked && !defined(__SANITIZE_ADDRESS__)
    return __builtin_ia32_maskloadps$suffix((const v$n *)p, first$n(live));
#else
    v$n x = {0};
    for (int64_t i = 0; i < min_of(live, $n); ++i) x[i] = p[i];
    return x;
#endif
}

static inline void store_part$n(float *p, v$n x, int64_t live) {
#if $masked && !defined(__SANITIZE_ADDRESS__)
    __builtin_ia32_maskstoreps$suffix((v$n *)p, first$n(live), x);
#else
    for (int64_t i = 0; i < min_of(live, $n); ++i) p[i] = x[i];
#endif
}

/* As the x86 instructions: b where the two are unordered. */
static inline v$n smaller$n(v$n a, v$n b) {
#if $one_register && !defined(__clang__)
    return __builtin_ia32_minps$suffix(a, b);
#else
    return choose$n(a < b, a, b);
#endif
}

static inline v$n larger$n(v$n a, v$n b) {
#if $one_register && !defined(__clang__)
    return __builtin_ia32_maxps$suffix(a, b);
#else
    return choose$n(a > b, a, b);
#endif
}

/* NaN where either is: all bits of a mask are a NaN. */
static inline v$n max$n(v$n a, v$n b) { return (v$n)((i$n)larger$n(b, a) | (b != b)); }

static inline v$n sqrt$n(v$n x) {
    for (int i = 0; i < $n; ++i) x[i] = sqrt1(x[i]);
    return x;
}

/* Past the caches, where the address is aligned and the instruction set can. */
static inline void stream$n(float *p, v$n x) {
#if $one_register
    if ((uintptr_t)p % $bytes == 0) {
#if defined(__clang__)
        __builtin_nontemporal_store(x, (v$n *)p);
#else
        __builtin_ia32_movntps$suffix(p, x);
#endif
        return;
    }
#endif
    store$n(p, x);
}
""")

_EXP = Template("""\

/* exp with a relative error below 2e-7, and with one word for ln 2 below 4e-7 (both measured over all floats): x =
   n ln 2 + r with |r| <= ln 2 / 2, a minimax polynomial of degree 5 for 2 e^r, and 2^(n - 1) by its exponent bits.
   Adding 1.5 * 2^23 rounds n to an integer and leaves it in the low bits, so NaN is never converted to one. Where
   n ln 2 is rounded before the difference, ln 2 needs two words. Results from 2^128 on are infinite, those below
   2^-125 are 0. */
static inline v$n exp$n(v$n x) {
    x = smaller$n(spread$n(89.0f), larger$n(spread$n(-87.3f), x));
    const v$n shifted = x * 1.44269504f + 12582912.0f;
    const v$n n = shifted - 12582912.0f;
#ifdef __FMA__
    v$n r = x - n * 0.693147182f;
#else
    v$n r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
#endif
    v$n p = spread$n(0.01658061146736145f);
    p = p * r + 0.0837959498167038f;
    p = p * r + 0.3333527445793152f;
    p = p * r + 0.999983012676239f;
    p = p * r + 1.9999994039535522f;
    p = p * r + 2.0f;
    return p * (v$n)(((u$n)shifted << 23) + (126u << 23));
}

static inline float exp1(float x) { return exp$n(spread$n(x))[0]; }
""")

_SCALAR: dict[Dtype, str] = {
    "float16": """\

static inline float load1_float16(const _Float16 *p) { return (float)*p; }
static inline void store1_float16(_Float16 *p, float x) { *p = (_Float16)x; }
""",
    "bfloat16": """\

static inline float load1_bfloat16(const uint16_t *p) {
    const uint32_t bits = (uint32_t)*p << 16;
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

/* Ties to even; the payload of a NaN is lost. */
static inline void store1_bfloat16(uint16_t *p, float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof x);
    *p = (uint16_t)(x != x ? 0x7FC0u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
""",
}

_NARROW = Template("""\

static inline v$n load${n}_$format(const $type *p) {
    v$n x;
    for (int i = 0; i < $n; ++i) x[i] = load1_$format(p + i);
    return x;
}

static inline void store${n}_$format($type *p, v$n x) {
    for (int i = 0; i < $n; ++i) store1_$format(p + i, x[i]);
}

static inline v$n load_part${n}_$format(const $type *p, int64_t live) {
    v$n x = {0};
    for (int64_t i = 0; i < min_of(live, $n); ++i) x[i] = load1_$format(p + i);
    return x;
}

static inline void store_part${n}_$format($type *p, v$n x, int64_t live) {
    for (int64_t i = 0; i < min_of(live, $n); ++i) store1_$format(p + i, x[i]);
}
""")
"""Reading and writing 16-bit formats; registers hold float32."""

_X86 = {
    4: ("defined(__SSE__)", ""),
    8: ("defined(__AVX__)", "256"),
}
"""By floats in a vector: when one register holds it, and what the names of its instructions end in."""


def prelude(lanes: int, exp: bool, narrow: Iterable[Dtype] = ()) -> str:
    """The helpers for vectors of ``lanes`` floats.

    Args:
        lanes: floats in a vector, a power of two.
        exp: whether the code needs the exponential.
        narrow: 16-bit formats of tensors.
    """
    one_register, suffix = _X86.get(lanes, ("0", ""))
    names = {
        "n": str(lanes),
        "bytes": str(4 * lanes),
        "spread": ", ".join(["x"] * lanes),
        "iota": ", ".join(str(lane) for lane in range(lanes)),
        "one_register": one_register,
        "masked": "defined(__AVX__)" if lanes in _X86 else "0",
        "suffix": suffix,
    }
    formats = (_SCALAR[f] + _NARROW.substitute(names, format=f, type=C_TYPES[f]) for f in narrow)
    return _COMMON + _VECTOR.substitute(names) + (_EXP.substitute(names) if exp else "") + "".join(formats)
