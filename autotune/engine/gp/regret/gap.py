"""What is left to gain, in per cent, and when that is little enough to stop.

References:
    [Makarova2022] A. Makarova et al., "Automatic termination for hyperparameter optimization", AutoML 2022:
        stop once the bound of the simple regret is below the noise of a measurement.
    [Nguyen2017] V. Nguyen et al., "Regret for expected improvement over the best-observed value and stopping
        condition", ACML 2017: stop once the expected improvement is small.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autotune.core.assessment import Assessment
from autotune.engine.gp.choices import StoppingConfig
from autotune.engine.gp.config import DEFAULT

CONFIDENCE = 0.9


@dataclass(frozen=True)
class Gap:
    """Distribution of the simple regret, in per cent.

    Args:
        gaps: Gaps of each joint sample.
        improvement: Expected gain of one more trial.
        noise: Standard deviation of one measurement.
        of: Quantity that the per cent are of, where that is not the goal: ``of the hypervolume``.
        choices: Bounds below which the gap is small.
    """

    gaps: Tensor
    improvement: float
    noise: float
    of: str = ""
    choices: StoppingConfig = DEFAULT.stopping

    @property
    def bound(self) -> float:
        """Bound on the simple regret, with :data:`CONFIDENCE`."""
        return float(self.gaps.quantile(CONFIDENCE))

    @property
    def small(self) -> bool:
        """Whether the bound and the expected improvement of one more trial are below their thresholds."""
        enough = max(self.choices.close, self.choices.close_by_noise * self.noise)
        worth = max(self.choices.worth, self.choices.worth_by_noise * self.noise)
        return self.bound <= enough and self.improvement <= worth

    def assessment(self, *, converged: bool) -> Assessment:
        """Return the same with its words."""
        of = f" {self.of}" if self.of else ""
        reason = (
            f"remaining gain at most {_percent(self.bound)} %{of} ({100 * CONFIDENCE:.0f} % confidence), "
            f"expected gain of one more trial {_percent(self.improvement)} %, "
            f"noise of a measurement {_percent(self.noise)} %"
        )
        return Assessment(
            self.bound, float(self.gaps.median()), self.improvement, self.noise, converged, reason
        )


def _percent(value: float) -> str:
    value = max(value, 0.01)  # nobody can tell the rest, and "at most 0 %" would be a promise
    return f"{value:.1g}" if value < 1 else f"{value:.2g}" if value < 100 else f"{value:.3g}"
