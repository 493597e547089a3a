// What this machine can do: the 2DGS rasterizer of fmgs_core/raster by hand in C++, the bound that package is measured against.
//
// Same inputs, same maths, same constants, same outputs: splats in the world -> screen-space rows -> depth order -> 16 x 16
// tiles -> blended pictures with the last contributor per pixel, and back to means, quats, scales, opacities, colours and
// logits. All float32. One Row is sixteen lanes: sixteen splats while projecting, a block of 4 x 4 pixels while compositing.
// A splat a few pixels wide touches few such blocks, so that most lanes do work that counts.
//
// fmgs_core/benchmark/peer.py compiles it and knows the flags.
//
// Every (tile, splat) pair has a place of its own for its gradient sums: no thread waits for another, nothing is zeroed
// beforehand, and the sum per splat is taken in one fixed order.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#include <immintrin.h>
#include <omp.h>

namespace {

constexpr float NEAR_M = 0.05f, ALPHA_MIN = 1.f / 255, ALPHA_MAX = 0.999f, TRANSMITTANCE_MIN = 1e-4f, LOW_PASS = 2.f;
constexpr float RATIO_MIN = 1e-3f, PARAMETER_MAX = 1e6f, SCALE_MIN_M = 1e-7f, QUATERNION_NORM_MIN = 1e-12f, SLOPE_MAX = 1e6f;
constexpr float SUPPORT_SIGMA = 3.3290430f, SUPPORT_SLACK = 1e-3f, MARGIN_PX = 0.02f, NO_HIT = 1e30f;
constexpr int LANES = 16, TILE = 16, BLOCK = 4, BLOCKS = 16, PIXELS = TILE * TILE;

// ---------------------------------------------------------------------------------------------------------- sixteen lanes

typedef float Row __attribute__((vector_size(64)));
typedef float RowAnywhere __attribute__((vector_size(64), aligned(4), may_alias));

inline Row row(float x) { return Row{} + x; }
inline Row load(const float* p) { return *reinterpret_cast<const RowAnywhere*>(p); }
inline void store(float* p, Row x) { *reinterpret_cast<RowAnywhere*>(p) = x; }

#ifdef __AVX512F__
typedef __mmask16 Mask;
inline Mask less(Row a, Row b) { return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_LT_OQ); }
inline Mask at_most(Row a, Row b) { return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_LE_OQ); }
inline Mask equal(Row a, Row b) { return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_EQ_OQ); }
inline Row where(Mask m, Row a, Row b) { return Row(_mm512_mask_blend_ps(m, __m512(b), __m512(a))); }
inline bool any(Mask m) { return m != 0; }
inline bool lane(Mask m, int l) { return m >> l & 1; }
inline Row smaller(Row a, Row b) { return Row(_mm512_min_ps(__m512(a), __m512(b))); }
inline Row larger(Row a, Row b) { return Row(_mm512_max_ps(__m512(a), __m512(b))); }
inline Row root(Row a) { return Row(_mm512_sqrt_ps(__m512(a))); }
inline Row floor_of(Row a) { return Row(_mm512_roundscale_ps(__m512(a), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)); }
#else
typedef int Mask __attribute__((vector_size(64)));
inline Mask less(Row a, Row b) { return a < b; }
inline Mask at_most(Row a, Row b) { return a <= b; }
inline Mask equal(Row a, Row b) { return a == b; }
inline Row where(Mask m, Row a, Row b) { return m ? a : b; }
inline bool any(Mask m) { int bits = 0; for (int l = 0; l < LANES; l++) bits |= m[l]; return bits != 0; }
inline bool lane(Mask m, int l) { return m[l] != 0; }
inline Row smaller(Row a, Row b) { return a < b ? a : b; }
inline Row larger(Row a, Row b) { return a > b ? a : b; }
inline Row root(Row a) { for (int l = 0; l < LANES; l++) a[l] = std::sqrt(a[l]); return a; }
inline Row floor_of(Row a) { for (int l = 0; l < LANES; l++) a[l] = std::floor(a[l]); return a; }
#endif
inline Row magnitude(Row a) { return larger(a, -a); }

inline Row gather(const float* p, const int* index, int stride) {
  Row r;
  for (int l = 0; l < LANES; l++) r[l] = p[(long)index[l] * stride];
  return r;
}

// exp(-s) for s in [0, 8]: the eighth power of a polynomial interpolated at Chebyshev nodes on [0, 1].
inline Row exp_minus(Row s) {
  const Row t = s * 0.125f;
  Row p = t * 0.000849007873f + -0.0076543251f;
  p = t * p + 0.0412233177f;
  p = t * p + -0.166515167f;
  p = t * p + 0.499975091f;
  p = t * p + -0.999998454f;
  p = t * p + 0.999999984f;
  p *= p;
  p *= p;
  return p * p;
}

// ln(x) on [1, 256] as 8 ln(x^(1/8)), rounded upwards: it only has to bound a box.
inline Row log_above(Row x) {
  const Row t = root(root(root(x))) - 1.5f;  // series about 1.5
  Row p = t * (1.f / 7 / 17.0859375f) + -1.f / 6 / 11.390625f;
  p = t * p + 1.f / 5 / 7.59375f;
  p = t * p + -1.f / 4 / 5.0625f;
  p = t * p + 1.f / 3 / 3.375f;
  p = t * p + -1.f / 2 / 2.25f;
  p = t * p + 1.f / 1.5f;
  p = t * p + 0.40546511f;
  return p * 8.f + 2e-3f;
}

// The lane sums of four rows, in the four lanes of one small vector.
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
inline Row pairwise(Row x, Row y) {  // sums of neighbouring lanes; in every four lanes two of x, then two of y
  return __builtin_shufflevector(x, y, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
         __builtin_shufflevector(x, y, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
}
inline void store_sums(float* to, Row a, Row b, Row c, Row d) {
  typedef float Eight __attribute__((vector_size(32)));
  const Row s = pairwise(pairwise(a, b), pairwise(c, d));
  const Eight e = __builtin_shufflevector(s, s, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(s, s, 8, 9, 10, 11, 12, 13, 14, 15);
  *reinterpret_cast<Four*>(to) = __builtin_shufflevector(e, e, 0, 1, 2, 3) + __builtin_shufflevector(e, e, 4, 5, 6, 7);
}

// Between channels (one row each, a block of pixels) and pixels (row p: pixel p of every line of the block, four channels).
// Each group of four lanes is a 4 x 4 matrix that is transposed, so this is its own inverse.
inline void transpose(Row& a, Row& b, Row& c, Row& d) {
#define LOW(x, y) __builtin_shufflevector(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH(x, y) __builtin_shufflevector(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LEFT(x, y) __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define RIGHT(x, y) __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
  const Row ab = LOW(a, b), AB = HIGH(a, b), cd = LOW(c, d), CD = HIGH(c, d);
  a = LEFT(ab, cd), b = RIGHT(ab, cd), c = LEFT(AB, CD), d = RIGHT(AB, CD);
#undef LOW
#undef HIGH
#undef LEFT
#undef RIGHT
}

// A block's place in a picture: its first pixel, the picture's width, and how much of the block lies inside.
struct Place {
  long first, width;
  int pixels, lines;
};

template <int Count>
inline void copy_few(float* to, const float* from) {
  for (int c = 0; c < Count; c++) to[c] = from[c];
}

// Writes the first Count <= 4 of four channels, from channel `c` of a picture with `channels`; read_block is the inverse.
template <int Count>
inline void write_block(float* picture, int channels, int c, const Place& at, Row a, Row b, Row d, Row e) {
  transpose(a, b, d, e);
  alignas(64) float pixels[4][LANES];
  store(pixels[0], a), store(pixels[1], b), store(pixels[2], d), store(pixels[3], e);
  if (at.pixels == BLOCK && at.lines == BLOCK) {
    for (int l = 0; l < BLOCK; l++)
      for (int p = 0; p < BLOCK; p++) copy_few<Count>(picture + (at.first + l * at.width + p) * channels + c, pixels[p] + 4 * l);
  } else {
    for (int l = 0; l < at.lines; l++)
      for (int p = 0; p < at.pixels; p++) copy_few<Count>(picture + (at.first + l * at.width + p) * channels + c, pixels[p] + 4 * l);
  }
}
template <int Count>
inline void read_block(const float* picture, int channels, int c, const Place& at, Row* to) {
  alignas(64) float pixels[4][LANES];
  if (at.pixels < BLOCK || at.lines < BLOCK || Count < 4) std::memset(pixels, 0, sizeof pixels);
  for (int l = 0; l < at.lines; l++)
    for (int p = 0; p < at.pixels; p++) copy_few<Count>(pixels[p] + 4 * l, picture + (at.first + l * at.width + p) * channels + c);
  Row a = load(pixels[0]), b = load(pixels[1]), d = load(pixels[2]), e = load(pixels[3]);
  transpose(a, b, d, e);
  to[0] = a;
  if (Count > 1) to[1] = b;
  if (Count > 2) to[2] = d;
  if (Count > 3) to[3] = e;
}
// Pictures of one channel.
inline void write_plane(float* picture, const Place& at, Row a) {
  alignas(64) float pixels[LANES];
  store(pixels, a);
  for (int l = 0; l < at.lines; l++)
    if (at.pixels == BLOCK) copy_few<4>(picture + at.first + l * at.width, pixels + 4 * l);
    else for (int p = 0; p < at.pixels; p++) picture[at.first + l * at.width + p] = pixels[4 * l + p];
}
inline Row read_plane(const float* picture, const Place& at) {
  alignas(64) float pixels[LANES] = {};
  for (int l = 0; l < at.lines; l++)
    if (at.pixels == BLOCK) copy_few<4>(pixels + 4 * l, picture + at.first + l * at.width);
    else for (int p = 0; p < at.pixels; p++) pixels[4 * l + p] = picture[at.first + l * at.width + p];
  return load(pixels);
}

// ------------------------------------------------------------------------------------------------------------- the state

// Columns of a splat's screen-space row (one cache line), of its pixel sums, and the channel counts this file is built for.
enum { CX, CY, Q00, Q01, Q10, Q11, GX, GY, Z, OPACITY, RATIO_MAX, DEPTH_LOW, DEPTH_HIGH, NX, NY, NZ, COLUMNS };
enum { U_1, V_1, W_1, U_X, U_Y, V_X, V_Y, W_X, W_Y, L_X, L_Y, OPACITY_1, Z_1, FEATURES };

template <int Normals, int Logits, int Depth>
struct Channels {
  static constexpr int normals = Normals, logits = Logits, depth = Depth;
  static constexpr int features = 3 + Normals + Logits;            // blended: colours, normals, logits
  static constexpr int quantities = features + Depth;              // and depth
  static constexpr int stride = (FEATURES + features + 3) / 4 * 4;  // of a pair's sums
};
using Channels3 = Channels<0, 0, 0>;
using Channels7 = Channels<3, 0, 1>;
using Channels35 = Channels<3, 28, 1>;

struct Inputs {
  int n, width, height, cull_backfaces, threads;
  const float *means, *quats, *scales, *opacities, *colors, *logits;
  float R[9], t[3], K[4], c[2];
};
// Zero on entry, depth NaN; channels last. Those a channel set lacks are never touched.
struct Pictures {
  float *alpha, *rgb, *normal, *depth, *logits;
};
struct Gradients {
  float *means, *quats, *scales, *opacities, *colors, *logits;
};

struct Twin {
  Inputs in;
  int columns, tiles;
  // Per splat; only what is seen is written.
  std::vector<float> rows, features, depths;
  std::vector<int> bounds, facing;
  // What is seen, as the caller has it; `order`: front to back, in one of the two buffers after it.
  std::vector<int> seen, sorted_a, sorted_b;
  const int* order;
  std::vector<uint32_t> keys_a, keys_b;
  // Per tile: members front to back; per splat: its pairs, as positions in `members`.
  std::vector<int> starts, ends, members, pair_starts, pairs;
  // Left by the forward pass for the backward pass.
  std::vector<int> needed;
  std::vector<float> transmittance, last, normal_length, sums;
};

template <class T>
void grow(std::vector<T>& v, size_t n) {
  if (v.size() < n) v.resize(n);
}

// -------------------------------------------------------------------------------------------------------- splats to rows

struct Vec {
  Row x, y, z;
};
inline Row dot(const Vec& a, const Vec& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec rotate(const float* R, const Vec& v) {
  return {R[0] * v.x + R[1] * v.y + R[2] * v.z, R[3] * v.x + R[4] * v.y + R[5] * v.z, R[6] * v.x + R[7] * v.y + R[8] * v.z};
}
inline Vec rotate_back(const float* R, const Vec& v) {
  return {R[0] * v.x + R[3] * v.y + R[6] * v.z, R[1] * v.x + R[4] * v.y + R[7] * v.z, R[2] * v.x + R[5] * v.y + R[8] * v.z};
}
inline Vec operator*(const Vec& a, Row s) { return {a.x * s, a.y * s, a.z * s}; }

// Sixteen splats in the camera frame: centre, unit quaternion, columns of the rotation.
struct InCamera {
  Vec mu, a, b, n;
  Row w, x, y, z, norm;
};
inline InCamera in_camera(const Inputs& in, const int* index) {
  InCamera s;
  s.mu = rotate(in.R, {gather(in.means, index, 3), gather(in.means + 1, index, 3), gather(in.means + 2, index, 3)});
  s.mu.x += in.t[0], s.mu.y += in.t[1], s.mu.z += in.t[2];
  Row w = gather(in.quats, index, 4), x = gather(in.quats + 1, index, 4), y = gather(in.quats + 2, index, 4), z = gather(in.quats + 3, index, 4);
  s.norm = root(w * w + x * x + y * y + z * z);
  const Row inverse = 1.f / larger(s.norm, row(QUATERNION_NORM_MIN));
  s.w = w *= inverse, s.x = x *= inverse, s.y = y *= inverse, s.z = z *= inverse;
  s.a = rotate(in.R, {1.f - 2.f * (y * y + z * z), 2.f * (x * y + w * z), 2.f * (x * z - w * y)});
  s.b = rotate(in.R, {2.f * (x * y - w * z), 1.f - 2.f * (x * x + z * z), 2.f * (y * z + w * x)});
  s.n = rotate(in.R, {2.f * (x * z + w * y), 2.f * (y * z - w * x), 1.f - 2.f * (x * x + y * y)});
  return s;
}

inline void tangent_image(const float* K, const Vec& mu, Row inverse_z, const Vec& a, Row& x, Row& y) {
  const Row p = a.x - mu.x * inverse_z * a.z, q = a.y - mu.y * inverse_z * a.z;
  x = K[0] * p + K[1] * q, y = K[2] * p + K[3] * q;
}

struct Jacobian {
  Row ax, ay, bx, by, q00, q01, q10, q11;
  Mask edge_on;
};
inline Jacobian jacobian(const float* K, const Vec& mu, Row inverse_z, const Vec& a, const Vec& b) {
  Jacobian j;
  tangent_image(K, mu, inverse_z, a, j.ax, j.ay);
  tangent_image(K, mu, inverse_z, b, j.bx, j.by);
  const Row det = j.ax * j.by - j.bx * j.ay;
  const Row most = larger(larger(magnitude(j.ax), magnitude(j.ay)), larger(magnitude(j.bx), magnitude(j.by)));
  j.edge_on = at_most(SLOPE_MAX * magnitude(det), most * mu.z);
  const Row s = where(j.edge_on, row(0.f), mu.z / where(j.edge_on, row(1.f), det));
  j.q00 = j.by * s, j.q01 = -j.bx * s, j.q10 = -j.ay * s, j.q11 = j.ax * s;
  return j;
}

// Interval of (a U + b V) / (z + az U + bz V) over the disk of `radius`, widened against rounding; all, if it crosses z = 0.
inline void extent(Row a, Row b, Row az, Row bz, Row z, Row radius, Row& low, Row& high) {
  const Row r2 = radius * radius, d = z * z - r2 * (az * az + bz * bz);
  const Mask crosses = less(d, 1e-5f * z * z);
  const Row inverse = 1.f / where(crosses, row(1.f), d);
  const Row cross = a * bz - b * az, length = (a * a + b * b) * z * z;
  const Row centre = -r2 * (a * az + b * bz) * inverse;
  const Row half = radius * inverse * (root(larger(length - r2 * cross * cross, row(0.f))) + 1e-3f * root(length));
  low = where(crosses, row(-NO_HIT), centre - half), high = where(crosses, row(NO_HIT), centre + half);
}
inline void pixel_range(Row c, Row low, Row high, Row reach, float size, Row& first, Row& end) {
  const Row from = larger(c + smaller(low, -reach) - (MARGIN_PX + 0.5f), row(0.f));
  const Row to = smaller(c + larger(high, reach) + (MARGIN_PX - 0.5f), row(size - 1));
  first = -floor_of(-from), end = floor_of(to) + 1.f;
}

inline Mask bounded(const float* p, const int* index, int width) {
  Row most = row(0.f);
  Mask ok = at_most(most, most);
  for (int k = 0; k < width; k++) ok &= at_most(magnitude(gather(p + k, index, width)), row(PARAMETER_MAX));
  return ok;
}

// Splats [begin, end), at most sixteen: writes rows, bounds and features of those seen, and `facing` (0: not seen) of all.
template <class C>
void project_sixteen(Twin& twin, int begin, int end) {
  const Inputs& in = twin.in;
  alignas(64) int index[LANES];
  for (int l = 0; l < LANES; l++) index[l] = std::min(begin + l, end - 1);
  const InCamera s = in_camera(in, index);
  const Mask away = less(row(0.f), dot(s.n, s.mu));
  Mask seen = at_most(row(NEAR_M), s.mu.z) & at_most(row(QUATERNION_NORM_MIN), s.norm);
  if (in.cull_backfaces) seen &= ~away;
  for (int l = 0; l < end - begin; l++) twin.facing[begin + l] = 0;
  if (!any(seen)) return;
  const Row su = gather(in.scales, index, 2), sv = gather(in.scales + 1, index, 2), o = gather(in.opacities, index, 1);
  seen &= bounded(in.means, index, 3) & bounded(in.quats, index, 4) & at_most(su, row(PARAMETER_MAX)) & at_most(sv, row(PARAMETER_MAX));
  seen &= at_most(row(SCALE_MIN_M), su) & at_most(row(SCALE_MIN_M), sv) & at_most(row(ALPHA_MIN), o) & at_most(o, row(PARAMETER_MAX));
  seen &= bounded(in.colors, index, 3);
  if (C::logits) seen &= bounded(in.logits, index, C::logits);

  const Vec a = s.a * su, b = s.b * sv;
  const Row z = s.mu.z, inverse_z = 1.f / z;
  const Jacobian j = jacobian(in.K, s.mu, inverse_z, a, b);
  const Row cx = (in.K[0] * s.mu.x + in.K[1] * s.mu.y) * inverse_z + in.c[0], cy = (in.K[2] * s.mu.x + in.K[3] * s.mu.y) * inverse_z + in.c[1];
  const Row opacity = smaller(o, row(1.f)), reach2 = log_above(larger(opacity * 255.f, row(1.f)));
  const Row reach = root(reach2), radius = root(2.f * reach2);
  Row low, high, x0, x1, y0, y1;
  extent(j.ax, j.bx, a.z, b.z, z, radius, low, high);
  pixel_range(cx, low, high, reach, in.width, x0, x1);
  extent(j.ay, j.by, a.z, b.z, z, radius, low, high);
  pixel_range(cy, low, high, reach, in.height, y0, y1);
  seen &= less(x0, x1) & less(y0, y1);
  if (!any(seen)) return;

  const Row support = SUPPORT_SIGMA * root(a.z * a.z + b.z * b.z) * inverse_z + SUPPORT_SLACK;
  const Row side = where(away, row(-1.f), row(1.f));
  alignas(64) float t[COLUMNS][LANES], box[4][LANES];
  store(t[CX], cx), store(t[CY], cy), store(t[Z], z), store(t[OPACITY], opacity);
  store(t[Q00], j.q00), store(t[Q01], j.q01), store(t[Q10], j.q10), store(t[Q11], j.q11);
  store(t[GX], -(j.q00 * a.z + j.q10 * b.z) * inverse_z), store(t[GY], -(j.q01 * a.z + j.q11 * b.z) * inverse_z);
  store(t[RATIO_MAX], where(j.edge_on, row(0.f), z * (1 / NEAR_M)));
  store(t[DEPTH_LOW], larger(1.f - support, NEAR_M * inverse_z)), store(t[DEPTH_HIGH], smaller(1.f + support, row(0.999f / RATIO_MIN)));
  store(t[NX], s.n.x * side), store(t[NY], s.n.y * side), store(t[NZ], s.n.z * side);
  store(box[0], x0), store(box[1], x1), store(box[2], y0), store(box[3], y1);
  for (int l = 0; l < end - begin; l++) {
    if (!lane(seen, l)) continue;
    const int i = begin + l;
    float* r = &twin.rows[(long)i * COLUMNS];
    for (int k = 0; k < COLUMNS; k++) r[k] = t[k][l];
    for (int k = 0; k < 4; k++) twin.bounds[i * 4 + k] = int(box[k][l]);
    twin.facing[i] = lane(away, l) ? -1 : 1;
    twin.depths[i] = t[Z][l];
    float* f = &twin.features[(long)i * C::features];
    for (int k = 0; k < 3; k++) f[k] = in.colors[i * 3 + k];
    for (int k = 0; k < C::normals; k++) f[3 + k] = t[NX + k][l];
    for (int k = 0; k < C::logits; k++) f[3 + C::normals + k] = in.logits[(long)i * C::logits + k];
  }
}

template <class C>
void project(Twin& twin) {
  const int n = twin.in.n;
  grow(twin.rows, (size_t)n * COLUMNS), grow(twin.bounds, (size_t)n * 4), grow(twin.facing, n), grow(twin.depths, n);
  grow(twin.features, (size_t)n * C::features);
#pragma omp parallel for schedule(dynamic, 16) num_threads(twin.in.threads)
  for (int g = 0; g < (n + LANES - 1) / LANES; g++) project_sixteen<C>(twin, g * LANES, std::min(n, (g + 1) * LANES));
}

// --------------------------------------------------------------------------------------------------------------- tiling

// Stable radix sort by depth, eleven bits at a time, of the bits that differ: positive floats sort like their bits.
void sort_seen(Twin& twin) {
  const int n = twin.in.n;
  twin.seen.resize(n), grow(twin.sorted_a, n), grow(twin.sorted_b, n), grow(twin.keys_a, n), grow(twin.keys_b, n);
  int count = 0;
  uint32_t least = ~0u, most = 0;
  for (int i = 0; i < n; i++) {
    if (!twin.facing[i]) continue;
    uint32_t key;
    std::memcpy(&key, &twin.depths[i], 4);
    twin.seen[count] = i, twin.keys_a[count++] = key;
    least = std::min(least, key), most = std::max(most, key);
  }
  twin.seen.resize(count);
  const int* from = twin.seen.data();
  int *to = twin.sorted_a.data(), *spare = twin.sorted_b.data();
  uint32_t *keys = twin.keys_a.data(), *keys_to = twin.keys_b.data();
  for (int shift = 0; shift < 32 && count && (most - least) >> shift; shift += 11) {
    int places[2048] = {};
    for (int k = 0; k < count; k++) places[(keys[k] - least) >> shift & 2047]++;
    int sum = 0;
    for (int& p : places) { const int here = p; p = sum; sum += here; }
    for (int k = 0; k < count; k++) {
      const int place = places[(keys[k] - least) >> shift & 2047]++;
      to[place] = from[k], keys_to[place] = keys[k];
    }
    from = to, std::swap(to, spare), std::swap(keys, keys_to);
  }
  twin.order = from;
}

template <class Each>
inline void all_tiles(const int* b, int columns, Each each) {
  for (int y = b[2] / TILE; y <= (b[3] - 1) / TILE; y++)
    for (int x = b[0] / TILE; x <= (b[1] - 1) / TILE; x++) each(y * columns + x);
}

void tile(Twin& twin) {
  sort_seen(twin);
  const int columns = (twin.in.width + TILE - 1) / TILE, tiles = columns * ((twin.in.height + TILE - 1) / TILE);
  twin.columns = columns, twin.tiles = tiles;
  twin.ends.assign(tiles + 1, 0);
  grow(twin.pair_starts, twin.in.n);
  int total = 0;
  for (int i : twin.seen) {
    const int* b = &twin.bounds[i * 4];
    twin.pair_starts[i] = total;
    all_tiles(b, columns, [&](int t) { twin.ends[t]++, total++; });
  }
  twin.starts.resize(tiles + 1);
  int sum = 0;
  for (int t = 0; t <= tiles; t++) twin.starts[t] = sum, sum += twin.ends[t], twin.ends[t] = twin.starts[t];
  grow(twin.members, total + 1), grow(twin.pairs, total + 4);
  for (size_t k = 0; k < twin.seen.size(); k++) {
    const int i = twin.order[k], *b = &twin.bounds[i * 4];
    int* pair = &twin.pairs[twin.pair_starts[i]];
    all_tiles(b, columns, [&](int t) {
      const int position = twin.ends[t]++;
      twin.members[position] = i, *pair++ = position;
    });
  }
}

// ---------------------------------------------------------------------------------------------------------- compositing

const Row LANE_X = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}, LANE_Y = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};

// Blocks of the tile at (x0, y0) that a splat's bounds reach.
struct Span {
  int x0, x1, y0, y1;
};
inline Span span_of(const int* b, int x0, int y0) {
  return {std::max(b[0] - x0, 0) / BLOCK, (std::min(b[1] - x0, TILE) + BLOCK - 1) / BLOCK,
          std::max(b[2] - y0, 0) / BLOCK, (std::min(b[3] - y0, TILE) + BLOCK - 1) / BLOCK};
}

// What a splat is at the pixels of a block: 1 / w, u, v and the two squared distances of which the smaller counts.
struct Hit {
  Row dx, dy, r, u, v, on_plane, on_screen;
};
inline Hit hit_of(const float* s, Row x, Row y) {
  Hit h;
  h.dx = x - s[CX], h.dy = y - s[CY];
  const Row w = 1.f + s[GX] * h.dx + s[GY] * h.dy;
  h.r = 1.f / larger(w, row(RATIO_MIN));
  h.u = (s[Q00] * h.dx + s[Q01] * h.dy) * h.r, h.v = (s[Q10] * h.dx + s[Q11] * h.dy) * h.r;
  h.on_plane = where(at_most(row(RATIO_MIN), w) & at_most(w, row(s[RATIO_MAX])), h.u * h.u + h.v * h.v, row(NO_HIT));
  h.on_screen = LOW_PASS * (h.dx * h.dx + h.dy * h.dy);
  return h;
}
inline Row gaussian(const Hit& h) { return exp_minus(smaller(smaller(h.on_plane, h.on_screen) * 0.5f, row(8.f))); }
inline Row clamped_depth(const float* s, Row r) { return smaller(larger(r, row(s[DEPTH_LOW])), row(s[DEPTH_HIGH])); }

template <class C>
int forward_tile(const Twin& twin, int t, int x0, int y0, float* transmittance, float* last, Row (*blended)[C::quantities]) {
  for (int b = 0; b < BLOCKS; b++) {
    store(transmittance + b * LANES, row(1.f)), store(last + b * LANES, row(-1.f));
    for (int c = 0; c < C::quantities; c++) blended[b][c] = row(0.f);
  }
  uint32_t transparent = 0xffff;  // one bit per block
  const Row x = LANE_X + (x0 + 0.5f), y = LANE_Y + (y0 + 0.5f);
  const int begin = twin.starts[t], end = twin.starts[t + 1];
  for (int k = begin; k < end; k++) {
    const int i = twin.members[k];
    const float *s = &twin.rows[(long)i * COLUMNS], *f = &twin.features[(long)i * C::features];
    const Span span = span_of(&twin.bounds[i * 4], x0, y0);
    for (int by = span.y0; by < span.y1; by++)
      for (int bx = span.x0; bx < span.x1; bx++) {
        const int b = by * BLOCK + bx;
        if (!(transparent >> b & 1)) continue;
        const Hit h = hit_of(s, x + float(BLOCK * bx), y + float(BLOCK * by));
        Row alpha = smaller(gaussian(h) * s[OPACITY], row(ALPHA_MAX));
        const Row before = load(transmittance + b * LANES);
        const Mask live = at_most(row(ALPHA_MIN), alpha) & at_most(row(TRANSMITTANCE_MIN), before);
        if (!any(live)) continue;
        alpha = where(live, alpha, row(0.f));
        const Row weight = alpha * before, behind = before * (1.f - alpha);  // as the backward pass divides by
        store(transmittance + b * LANES, behind);
        store(last + b * LANES, where(live, row(float(k - begin)), load(last + b * LANES)));
        for (int c = 0; c < C::features; c++) blended[b][c] += weight * f[c];
        if (C::depth) blended[b][C::features] += weight * (clamped_depth(s, h.r) * s[Z]);
        if (!any(at_most(row(TRANSMITTANCE_MIN), behind))) transparent &= ~(1u << b);
      }
    if (!transparent) return k + 1;
  }
  return end;
}

inline Place place_of(const Twin& twin, int x0, int y0, int b) {
  const int x = x0 + b % BLOCK * BLOCK, y = y0 + b / BLOCK * BLOCK, W = twin.in.width, H = twin.in.height;
  return {(long)y * W + x, W, std::max(std::min(W - x, BLOCK), 0), std::max(std::min(H - y, BLOCK), 0)};
}

template <class C>
void write_tile(const Twin& twin, const Pictures& out, int x0, int y0, const float* T, const Row (*blended)[C::quantities], float* inverse_length) {
  for (int b = 0; b < BLOCKS; b++) {
    const Place at = place_of(twin, x0, y0, b);
    const Row opaque = 1.f - load(T + b * LANES), *q = blended[b], none = row(0.f);
    const Mask visible = at_most(row(ALPHA_MIN), opaque);
    write_plane(out.alpha, at, opaque);
    write_block<3>(out.rgb, 3, 0, at, q[0], q[1], q[2], none);
    if constexpr (C::normals) {
      const Row length = larger(root(q[3] * q[3] + q[4] * q[4] + q[5] * q[5]), row(1e-12f));
      const Row inverse = where(visible, 1.f / length, none);
      write_block<3>(out.normal, 3, 0, at, q[3] * inverse, q[4] * inverse, q[5] * inverse, none);
      store(inverse_length + b * LANES, inverse);
    }
    for (int c = 0; c < C::logits; c += 4) {
      const Row* l = q + 3 + C::normals + c;
      write_block<4>(out.logits, C::logits, c, at, l[0], l[1], l[2], l[3]);
    }
    if constexpr (C::depth) write_plane(out.depth, at, where(visible, q[C::features] / opaque, row(NAN)));
  }
}

template <class C>
void composite(Twin& twin, const Pictures& out) {
  grow(twin.transmittance, (size_t)twin.tiles * PIXELS), grow(twin.last, (size_t)twin.tiles * PIXELS);
  grow(twin.needed, twin.tiles);
  if (C::normals) grow(twin.normal_length, (size_t)twin.tiles * PIXELS);
#pragma omp parallel for schedule(dynamic, 1) num_threads(twin.in.threads)
  for (int t = 0; t < twin.tiles; t++) {
    if (twin.starts[t] == twin.starts[t + 1]) continue;
    Row blended[BLOCKS][C::quantities];
    const int x0 = t % twin.columns * TILE, y0 = t / twin.columns * TILE;
    float* T = &twin.transmittance[(size_t)t * PIXELS];
    twin.needed[t] = forward_tile<C>(twin, t, x0, y0, T, &twin.last[(size_t)t * PIXELS], blended);
    write_tile<C>(twin, out, x0, y0, T, blended, C::normals ? &twin.normal_length[(size_t)t * PIXELS] : nullptr);
  }
}

// ------------------------------------------------------------------------------------------------------------- backward

// Gradients of the pictures to those of the blended sums; `behind` becomes T dL/dT of the final transmittance.
template <class C>
void read_tile(const Twin& twin, const Pictures& out, const Pictures& grad, int x0, int y0, const float* T, const float* inverse_length,
               Row (*blended)[C::quantities], float* behind) {
  for (int b = 0; b < BLOCKS; b++) {
    const Place at = place_of(twin, x0, y0, b);
    Row* q = blended[b];
    read_block<3>(grad.rgb, 3, 0, at, q);
    for (int c = 0; c < C::logits; c += 4) read_block<4>(grad.logits, C::logits, c, at, q + 3 + C::normals + c);
    const Row remaining = load(T + b * LANES), opaque = 1.f - remaining;
    const Mask visible = at_most(row(ALPHA_MIN), opaque);
    Row total = read_plane(grad.alpha, at);
    if constexpr (C::normals) {
      Row g[3], n[3];
      read_block<3>(grad.normal, 3, 0, at, g), read_block<3>(out.normal, 3, 0, at, n);
      const Row along = n[0] * g[0] + n[1] * g[1] + n[2] * g[2], inverse = load(inverse_length + b * LANES);
      for (int c = 0; c < 3; c++) q[3 + c] = where(visible, (g[c] - along * n[c]) * inverse, row(0.f));
    }
    if constexpr (C::depth) {
      const Row per_weight = where(visible, read_plane(grad.depth, at) / opaque, row(0.f));
      q[C::features] = per_weight;
      total -= where(visible, per_weight * read_plane(out.depth, at), row(0.f));
    }
    store(behind + b * LANES, -total * remaining);
  }
}

template <class C>
void backward_tile(const Twin& twin, int t, int x0, int y0, float* transmittance, const float* last, const Row (*grad)[C::quantities],
                   float* behind, float* sums) {
  int last_of_block[BLOCKS];
  for (int b = 0; b < BLOCKS; b++) {
    float most = -1;
    for (int l = 0; l < LANES; l++) most = std::max(most, last[b * LANES + l]);
    last_of_block[b] = int(most);
  }
  const Row x = LANE_X + (x0 + 0.5f), y = LANE_Y + (y0 + 0.5f), zero = row(0.f);
  const int begin = twin.starts[t];
  for (int k = twin.starts[t + 1] - 1; k >= begin; k--) {
    float* to = sums + (long)k * C::stride;
    const int i = twin.members[k], place = k - begin;
    const float *s = &twin.rows[(long)i * COLUMNS], *f = &twin.features[(long)i * C::features];
    const Span span = span_of(&twin.bounds[i * 4], x0, y0);
    Row u_1 = zero, v_1 = zero, w_1 = zero, u_x = zero, u_y = zero, v_x = zero, v_y = zero, w_x = zero, w_y = zero;
    Row l_x = zero, l_y = zero, opacity_1 = zero, z_1 = zero, f_0 = zero, f_1 = zero, f_2 = zero;
    alignas(64) float weights[BLOCKS * LANES];
    int touched[BLOCKS], touches = 0;
    for (int by = span.y0; by < span.y1; by++)
      for (int bx = span.x0; bx < span.x1; bx++) {
        const int b = by * BLOCK + bx;
        if (place > last_of_block[b]) continue;
        const Hit h = hit_of(s, x + float(BLOCK * bx), y + float(BLOCK * by));
        const Row weightless = gaussian(h), unclamped = weightless * s[OPACITY];
        Row alpha = smaller(unclamped, row(ALPHA_MAX));
        const Mask live = at_most(row(ALPHA_MIN), alpha) & at_most(row(float(place)), load(last + b * LANES));
        if (!any(live)) continue;
        alpha = where(live, alpha, zero);
        const Row inverse = 1.f / (1.f - alpha), before = load(transmittance + b * LANES) * inverse, weight = alpha * before;
        store(transmittance + b * LANES, before);

        // dL/dweight = grad . (features, depth); the depth also moves with w and with the centre.
        Row along = zero, grad_w = zero;
        for (int c = 0; c < C::features; c++) along += grad[b][c] * f[c];
        f_0 += weight * grad[b][0], f_1 += weight * grad[b][1], f_2 += weight * grad[b][2];
        if (C::depth) {
          const Row relative = clamped_depth(s, h.r), grad_relative = grad[b][C::features] * relative;
          along += grad_relative * s[Z];
          z_1 += grad_relative * weight;
          grad_w = where(equal(relative, h.r), grad_relative * weight * h.r * -s[Z], zero);
        }
        if (C::features > 3) store(weights + touches * LANES, weight), touched[touches++] = b;
        else touches++;

        // dL/dalpha = before (grad . feature) - (what lies behind) / (1 - alpha)
        const Row remainder = load(behind + b * LANES);
        store(behind + b * LANES, remainder + weight * along);
        const Row grad_alpha = where(live & less(unclamped, row(ALPHA_MAX)), before * along - remainder * inverse, zero);
        opacity_1 += grad_alpha * weightless;
        const Row grad_exponent = grad_alpha * -unclamped, grad_plane = where(less(h.on_plane, h.on_screen), grad_exponent, zero);
        const Row grad_screen = grad_exponent - grad_plane;
        Row grad_u = grad_plane * h.u, grad_v = grad_plane * h.v;
        grad_w -= (grad_u * h.u + grad_v * h.v) * h.r;
        grad_u *= h.r, grad_v *= h.r;
        u_1 += grad_u, v_1 += grad_v, w_1 += grad_w;
        u_x += grad_u * h.dx, v_x += grad_v * h.dx, w_x += grad_w * h.dx, l_x += grad_screen * h.dx;
        u_y += grad_u * h.dy, v_y += grad_v * h.dy, w_y += grad_w * h.dy, l_y += grad_screen * h.dy;
      }
    if (!touches) {
      for (int c = 0; c < C::stride; c++) to[c] = 0;
      continue;
    }
    store_sums(to + U_1, u_1, v_1, w_1, u_x), store_sums(to + U_Y, u_y, v_x, v_y, w_x);
    store_sums(to + W_Y, w_y, l_x, l_y, opacity_1), store_sums(to + Z_1, z_1, f_0, f_1, f_2);
    for (int c = 3; c < C::features; c += 4) {
      Row g_0 = zero, g_1 = zero, g_2 = zero, g_3 = zero;
      for (int j = 0; j < touches; j++) {
        const Row weight = load(weights + j * LANES), *g = grad[touched[j]];
        g_0 += weight * g[c];
        if (c + 1 < C::features) g_1 += weight * g[c + 1];
        if (c + 2 < C::features) g_2 += weight * g[c + 2];
        if (c + 3 < C::features) g_3 += weight * g[c + 3];
      }
      store_sums(to + FEATURES + c, g_0, g_1, g_2, g_3);
    }
  }
}

template <class C>
void composite_backward(Twin& twin, const Pictures& out, const Pictures& grad) {
  grow(twin.sums, (size_t)twin.starts[twin.tiles] * C::stride);
#pragma omp parallel for schedule(dynamic, 1) num_threads(twin.in.threads)
  for (int t = 0; t < twin.tiles; t++) {
    if (twin.starts[t] == twin.starts[t + 1]) continue;
    Row grad_blended[BLOCKS][C::quantities];
    alignas(64) float behind[PIXELS], remaining[PIXELS];
    const int x0 = t % twin.columns * TILE, y0 = t / twin.columns * TILE;
    std::memcpy(remaining, &twin.transmittance[(size_t)t * PIXELS], sizeof remaining);
    read_tile<C>(twin, out, grad, x0, y0, remaining, C::normals ? &twin.normal_length[(size_t)t * PIXELS] : nullptr, grad_blended, behind);
    backward_tile<C>(twin, t, x0, y0, remaining, &twin.last[(size_t)t * PIXELS], grad_blended, behind, twin.sums.data());
  }
}

// Of tangent_image: adds to the gradients of a, and of mu.x / mu.z and mu.y / mu.z.
inline void tangent_backward(const float* K, const Vec& mu, Row inverse_z, const Vec& a, Row grad_x, Row grad_y, Vec& grad, Row& gx, Row& gy) {
  const Row p = K[0] * grad_x + K[2] * grad_y, q = K[1] * grad_x + K[3] * grad_y;
  grad.x += p, grad.y += q, grad.z -= (mu.x * p + mu.y * q) * inverse_z;
  gx -= a.z * p, gy -= a.z * q;
}

// Places [begin, end) of `seen`, at most sixteen: sums their pairs and carries the result back to the splats.
template <class C>
void splats_backward(const Twin& twin, const Gradients& grads, int begin, int end) {
  const Inputs& in = twin.in;
  alignas(64) int index[LANES];
  alignas(64) float S[C::stride][LANES], columns[COLUMNS][LANES], side_of[LANES];
  for (int l = 0; l < LANES; l++) {
    const int k = std::min(begin + l, end - 1), i = index[l] = twin.seen[k];
    const int pairs = k + 1 < (int)twin.seen.size() ? twin.pair_starts[twin.seen[k + 1]] : twin.starts[twin.tiles];
    alignas(64) float total[C::stride] = {};
    for (int p = twin.pair_starts[i]; p < pairs; p++)
      for (int c = 0; c < C::stride; c++) total[c] += twin.sums[(long)twin.pairs[p] * C::stride + c];
    for (int c = 0; c < 3; c++) grads.colors[i * 3 + c] = total[FEATURES + c];
    for (int c = 0; c < C::logits; c++) grads.logits[(long)i * C::logits + c] = total[FEATURES + 3 + C::normals + c];
    for (int c = 0; c < FEATURES + 3 + C::normals; c++) S[c][l] = total[c];
    for (int c = 0; c < COLUMNS; c++) columns[c][l] = twin.rows[(long)i * COLUMNS + c];
    side_of[l] = twin.facing[i];
  }
  const InCamera s = in_camera(in, index);
  const Row su = gather(in.scales, index, 2), sv = gather(in.scales + 1, index, 2), o = gather(in.opacities, index, 1);
  const Vec a = s.a * su, b = s.b * sv;
  const Row z = s.mu.z, inverse_z = 1.f / z;
  Row ax, ay, bx, by;
  tangent_image(in.K, s.mu, inverse_z, a, ax, ay), tangent_image(in.K, s.mu, inverse_z, b, bx, by);
#define SUM(name) load(S[name])
#define COLUMN(name) load(columns[name])
  // d = p - c makes the centre's gradient from the plain sums.
  const Row q00 = COLUMN(Q00), q01 = COLUMN(Q01), q10 = COLUMN(Q10), q11 = COLUMN(Q11);
  const Row cx = -(q00 * SUM(U_1) + q10 * SUM(V_1) + COLUMN(GX) * SUM(W_1) + LOW_PASS * SUM(L_X));
  const Row cy = -(q01 * SUM(U_1) + q11 * SUM(V_1) + COLUMN(GY) * SUM(W_1) + LOW_PASS * SUM(L_Y));
  Row gx = in.K[0] * cx + in.K[2] * cy, gy = in.K[1] * cx + in.K[3] * cy, gz = SUM(Z_1);

  // g = -Q^T h, and Q = J^-1 gives grad J = -Q^T P Q^T. Edge-on splats have Q = 0: all of this vanishes.
  const Row h0 = a.z * inverse_z, h1 = b.z * inverse_z, g0 = SUM(W_X), g1 = SUM(W_Y);
  const Row p00 = SUM(U_X) - h0 * g0, p01 = SUM(U_Y) - h0 * g1, p10 = SUM(V_X) - h1 * g0, p11 = SUM(V_Y) - h1 * g1;
  const Row gh0 = -(q00 * g0 + q01 * g1) * inverse_z, gh1 = -(q10 * g0 + q11 * g1) * inverse_z;
  const Row l00 = p00 * q00 + p01 * q01, l01 = p00 * q10 + p01 * q11, l10 = p10 * q00 + p11 * q01, l11 = p10 * q10 + p11 * q11;
  const Row j00 = -(q00 * l00 + q10 * l10) * inverse_z, j01 = -(q00 * l01 + q10 * l11) * inverse_z;
  const Row j10 = -(q01 * l00 + q11 * l10) * inverse_z, j11 = -(q01 * l01 + q11 * l11) * inverse_z;
  Vec ga = {row(0.f), row(0.f), gh0}, gb = {row(0.f), row(0.f), gh1};
  tangent_backward(in.K, s.mu, inverse_z, a, j00, j10, ga, gx, gy);
  tangent_backward(in.K, s.mu, inverse_z, b, j01, j11, gb, gx, gy);
  gz -= (ax * j00 + ay * j10 + bx * j01 + by * j11) * inverse_z + h0 * gh0 + h1 * gh1;
  const Vec mean = rotate_back(in.R, {gx * inverse_z, gy * inverse_z, gz - (s.mu.x * gx + s.mu.y * gy) * inverse_z * inverse_z});

  const Vec A = rotate_back(in.R, ga * su), B = rotate_back(in.R, gb * sv);
  Vec N = {row(0.f), row(0.f), row(0.f)};
  if (C::normals) N = rotate_back(in.R, Vec{SUM(FEATURES + 3), SUM(FEATURES + 4), SUM(FEATURES + 5)} * load(side_of));
  const Row gw = 2.f * (s.z * (A.y - B.x) + s.y * (N.x - A.z) + s.x * (B.z - N.y));
  const Row gqx = 2.f * (s.y * (A.y + B.x) + s.z * (A.z + N.x) + s.w * (B.z - N.y) - 2.f * s.x * (B.y + N.z));
  const Row gqy = 2.f * (s.x * (A.y + B.x) + s.z * (B.z + N.y) + s.w * (N.x - A.z) - 2.f * s.y * (A.x + N.z));
  const Row gqz = 2.f * (s.x * (A.z + N.x) + s.y * (B.z + N.y) + s.w * (A.y - B.x) - 2.f * s.z * (A.x + B.y));
  const Row length = gw * s.w + gqx * s.x + gqy * s.y + gqz * s.z, inverse_norm = 1.f / s.norm;
  alignas(64) float out[10][LANES];
  store(out[0], mean.x), store(out[1], mean.y), store(out[2], mean.z);
  store(out[3], (gw - s.w * length) * inverse_norm), store(out[4], (gqx - s.x * length) * inverse_norm);
  store(out[5], (gqy - s.y * length) * inverse_norm), store(out[6], (gqz - s.z * length) * inverse_norm);
  store(out[7], dot(s.a, ga)), store(out[8], dot(s.b, gb)), store(out[9], where(at_most(o, row(1.f)), SUM(OPACITY_1), row(0.f)));
#undef SUM
#undef COLUMN
  for (int l = 0; l < end - begin; l++) {
    const long i = index[l];
    for (int c = 0; c < 3; c++) grads.means[i * 3 + c] = out[c][l];
    for (int c = 0; c < 4; c++) grads.quats[i * 4 + c] = out[3 + c][l];
    for (int c = 0; c < 2; c++) grads.scales[i * 2 + c] = out[7 + c][l];
    grads.opacities[i] = out[9][l];
  }
}

template <class C>
void all_splats_backward(const Twin& twin, const Gradients& grads) {
  const int count = twin.seen.size();
#pragma omp parallel for schedule(dynamic, 16) num_threads(twin.in.threads)
  for (int g = 0; g < (count + LANES - 1) / LANES; g++)
    splats_backward<C>(twin, grads, g * LANES, std::min(count, (g + 1) * LANES));
}

}  // namespace

// ------------------------------------------------------------------------------------------- what the benchmark calls

// A twin keeps its buffers and the state of its last forward pass. Stages run on what the stage before has left.
extern "C" {
void* twin_new() { return new Twin(); }
void twin_delete(void* twin) { delete static_cast<Twin*>(twin); }
void twin_inputs(void* twin, const Inputs* in) { static_cast<Twin*>(twin)->in = *in; }
void twin_tile(void* twin) { tile(*static_cast<Twin*>(twin)); }

#define STAGES(COUNT)                                                                                                            \
  void twin_project_##COUNT(void* twin) { project<Channels##COUNT>(*static_cast<Twin*>(twin)); }                                 \
  void twin_composite_##COUNT(void* twin, const Pictures* out) { composite<Channels##COUNT>(*static_cast<Twin*>(twin), *out); }  \
  void twin_composite_backward_##COUNT(void* twin, const Pictures* out, const Pictures* grad) {                                  \
    composite_backward<Channels##COUNT>(*static_cast<Twin*>(twin), *out, *grad);                                                 \
  }                                                                                                                              \
  void twin_forward_##COUNT(void* twin, const Pictures* out) {                                                                   \
    twin_project_##COUNT(twin), twin_tile(twin), twin_composite_##COUNT(twin, out);                                              \
  }                                                                                                                              \
  void twin_backward_##COUNT(void* twin, const Pictures* out, const Pictures* grad, const Gradients* grads) {                    \
    twin_composite_backward_##COUNT(twin, out, grad);                                                                            \
    all_splats_backward<Channels##COUNT>(*static_cast<Twin*>(twin), *grads);                                                     \
  }
STAGES(3)
STAGES(7)
STAGES(35)
}
