"""What is known of the person's shape, gathered over the frames: a Gaussian over the betas, updated like a Kalman filter."""

import numpy as np
from jaxtyping import Float

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.kinematics import BETAS
from fmgs_core.tracking.solver import ShapePrior, Solution

# Share of a frame's information that is believed (frames are not independent), forgetting per frame, and the most that
# the data may ever know in one direction: a standard deviation of 0.13 sigma, so that the shape never freezes.
FRAME_SHARE, FORGETTING, MAX_INFORMATION = 0.1, 0.98, 60.0

# Of the coefficients in the order of the default body, on top of the stature's. Clothes pull at the first two.
BETA_SIGMAS = (3.0, 1.5, 1.5, 3.0, 3.0, 3.0)
# Stature trades against depth, which no single camera can tell apart, so an unknown one stays near the mean person's.
UNKNOWN_HEIGHT_SIGMA_M, KNOWN_HEIGHT_SIGMA_M = 0.083, 0.0083


class ShapeBelief:
    """Mean and information (inverse covariance) of the betas: an anatomical prior plus what the frames said."""

    def __init__(self, body: BodyModel, num_betas: int, subject_height_m: float | None):
        sigmas = np.resize(BETA_SIGMAS, num_betas)
        self._mean_stature_m = body.height(np.zeros(num_betas))
        self._height_gradient = gradient = _height_gradient(body, num_betas)
        sigma_m = UNKNOWN_HEIGHT_SIGMA_M if subject_height_m is None else KNOWN_HEIGHT_SIGMA_M
        self._prior_information = np.diag(1 / sigmas**2) + np.outer(gradient, gradient) / sigma_m**2
        self._prior_mean = np.zeros(num_betas)
        if subject_height_m is not None:
            excess = subject_height_m - self._mean_stature_m
            self._prior_mean = gradient * excess / (gradient @ gradient)
        self._data = np.zeros((num_betas, num_betas))
        self.betas = self._prior_mean.copy()
        """The last estimate."""
        self._mean = self._prior_mean.copy()

    @property
    def stature_m(self) -> float:
        """To first order in the betas, which is exact as long as the same vertices stay highest and lowest."""
        return float(self._mean_stature_m + self._height_gradient @ self.betas)

    @property
    def prior(self) -> ShapePrior:
        """For the next frame."""
        return ShapePrior(self._mean.copy(), np.linalg.cholesky(self._prior_information + self._data))

    def absorb(self, solution: Solution) -> None:
        """Adds what one frame knew of the shape: the Schur complement of its Hessian, without the prior it was given."""
        H = solution.information
        rest = H[:BETAS, :BETAS] + 1e-6 * np.eye(BETAS)
        marginal = H[BETAS:, BETAS:] - H[BETAS:, :BETAS] @ np.linalg.solve(rest, H[:BETAS, BETAS:])
        frame = _clipped(marginal - self._prior_information - self._data, np.inf)
        self._data = _clipped(FORGETTING * (self._data + FRAME_SHARE * frame), MAX_INFORMATION)
        self.betas = solution.pose.betas.copy()
        # The data keep their optimum; only the anatomical prior pulls back to its own mean.
        weighted = self._data @ self.betas + self._prior_information @ self._prior_mean
        self._mean = np.linalg.solve(self._prior_information + self._data, weighted)


def _height_gradient(body: BodyModel, num_betas: int) -> Float[np.ndarray, " B"]:
    y = body.v_template[:, 1]
    return (body.shapedirs[y.argmax(), 1, :num_betas] - body.shapedirs[y.argmin(), 1, :num_betas]).astype(np.float64)


def _clipped(information: Float[np.ndarray, "B B"], largest: float) -> Float[np.ndarray, "B B"]:
    """Symmetric part with eigenvalues in [0, largest]."""
    values, vectors = np.linalg.eigh(0.5 * (information + information.T))
    return (vectors * values.clip(0.0, largest)) @ vectors.T
