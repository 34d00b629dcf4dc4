"""What a covariance type may be called, how its covariances are laid out, and how many numbers they have.

S_k = lambda_k D_k A_k D_k^T: volume lambda_k = |S_k|^(1/d), shape A_k diagonal with |A_k| = 1, orientation
D_k. mclust's name has a letter for each of the three, in this order: E equal for all components, V free in
each, I the identity (for shape: a sphere; for orientation: the axes of the coordinates).

    mclust  ours            scikit-learn  numbers in the covariances
    EII     tied_spherical                1
    VII     spherical       spherical     K
    EEI                                   d
    VEI                                   K + d - 1
    EVI                                   1 + K (d - 1)
    VVI     diagonal        diag          K d
    EEE     tied            tied          t            t = d (d + 1) / 2
    VEE                                   K + t - 1
    EVV                                   1 + K (t - 1)
    EEV                                   d + K (t - d)
    VEV                                   K + d - 1 + K (t - d)
    VVV     full            full          K t

"unit" (S_k = I, nothing estimated) is ours alone. mclust has EVE and VVE beside these.
Source: Celeux and Govaert 1995; Scrucca, Fop, Murphy and Raftery 2016 (mclust 5), table 3.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A covariance type.

    name        ours where there is one, else mclust's; what fitted estimators are asked for by.
    mclust      mclust's name, None for "unit".
    layout      one of gaussian.COVARIANCE_TYPES: the shape of `covariances`.
    restricted  whether the layout holds more than the family: an M step then ends with `restrict`.
    """

    name: str
    mclust: str | None
    layout: str

    @property
    def restricted(self) -> bool:
        return self.name != self.layout

    @property
    def label(self) -> str:
        """Both names: "EEE (tied)", "VEI", "unit"."""
        return self.name if self.mclust in (None, self.name) else f"{self.mclust} ({self.name})"


FAMILIES = (
    Family("unit", None, "unit"),
    Family("tied_spherical", "EII", "tied_spherical"),
    Family("spherical", "VII", "spherical"),
    Family("EEI", "EEI", "diagonal"),
    Family("VEI", "VEI", "diagonal"),
    Family("EVI", "EVI", "diagonal"),
    Family("diagonal", "VVI", "diagonal"),
    Family("tied", "EEE", "tied"),
    Family("VEE", "VEE", "full"),
    Family("EVV", "EVV", "full"),
    Family("EEV", "EEV", "full"),
    Family("VEV", "VEV", "full"),
    Family("full", "VVV", "full"),
)
_BY_NAME = (
    {family.name: family for family in FAMILIES}
    | {family.mclust: family for family in FAMILIES if family.mclust}
    | {"diag": next(family for family in FAMILIES if family.name == "diagonal")}
)


def family_of(covariance_type: str) -> Family:
    """The family of this name, ours, mclust's or scikit-learn's; ValueError for an unknown one."""
    if not isinstance(covariance_type, str) or covariance_type not in _BY_NAME:
        accepted = ", ".join(family.name for family in FAMILIES)
        mclust = ", ".join(f.mclust for f in FAMILIES if f.mclust and f.mclust != f.name)
        raise ValueError(
            f"covariance_type is {covariance_type!r}, needs one of {accepted}, or of mclust's {mclust}"
        )
    return _BY_NAME[covariance_type]


def n_free_variances(covariance_type: str, n_components: int, n_features: int) -> int:
    """Free numbers in the covariances of K components in d dimensions: the table at the head of this file."""
    K, d = n_components, n_features
    triangle = d * (d + 1) // 2
    return {
        "unit": 0,
        "tied_spherical": 1,
        "spherical": K,
        "EEI": d,
        "VEI": K + d - 1,
        "EVI": 1 + K * (d - 1),
        "diagonal": K * d,
        "tied": triangle,
        "VEE": K + triangle - 1,
        "EVV": 1 + K * (triangle - 1),
        "EEV": d + K * (triangle - d),
        "VEV": K + d - 1 + K * (triangle - d),
        "full": K * triangle,
    }[family_of(covariance_type).name]
