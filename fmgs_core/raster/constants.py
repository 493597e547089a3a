"""Numbers that every backend shares, so that their pictures can be compared. Those of gsplat 1.5.3 where gsplat has one."""

import math

NEAR_M = 0.05
"""Camera z [m] below which a splat's centre or a ray-splat intersection counts as behind the camera."""

ALPHA_MIN = 1 / 255
"""A splat whose alpha at a pixel is smaller does not contribute there (gsplat ALPHA_THRESHOLD)."""

ALPHA_MAX = 0.999
"""Alpha is clamped here, without gradient, so that transmittance never reaches zero (gsplat)."""

TRANSMITTANCE_MIN = 1e-4
"""A splat contributes to a pixel if the transmittance in front of it is at least this. (gsplat tests the transmittance
behind it, and so leaves out one more splat, of weight under 1e-4 / (1 - alpha).)"""

LOW_PASS = 2.0
"""Screen-space low-pass: the exponent is at most LOW_PASS / 2 * distance_px^2 (gsplat FILTER_INV_SQUARE_2DGS)."""

SUPPORT_SIGMA = math.sqrt(2 * math.log(255))
"""Radius in standard deviations at which a splat of opacity 1 falls to ALPHA_MIN."""

SUPPORT_SLACK = 1e-3
"""Relative slack on the depth range of a splat's support, so that rounding cannot clamp a ray that hits the support."""

RATIO_MIN = 1e-3
"""Smallest z_centre / z_intersection that counts as a hit: farther intersections are numerically at infinity."""

PARAMETER_MAX = 1e6
"""Splats with a larger magnitude in any parameter are dropped, as are those with NaN or infinity."""

SCALE_MIN_M = 1e-7
"""Splats thinner than this [m] are dropped: the inverse of their projection leaves float32."""

QUATERNION_NORM_MIN = 1e-12
"""Splats whose quaternion is shorter have no orientation and are dropped."""

SLOPE_MAX = 1e6
"""Splats seen so edge-on that u or v changes by more than this per pixel are drawn by their low-pass dot alone."""
