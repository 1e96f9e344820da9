"""The section `training.augmentation`: the random changes to a training patch."""

from __future__ import annotations

from medseg.plans.sections.section import Fraction, PositiveRange, Range, Section


class Augmentation(Section):
    """Probabilities and ranges of the random changes to a training patch.

    The changes are nnU-Net v2's (`nnUNetTrainer.get_training_transforms`); `medseg.training.data.augment` draws them.
    Ranges are [smallest, largest].

    Attributes:
        rotation_probability: probability of a rotation, within the configuration's `rotation_degrees`.
        scaling_probability: probability of a change of size.
        scaling_range: factors of the change of size.
        noise_probability: probability of added Gaussian noise.
        noise_std: standard deviation of the noise, in units of the normalized image.
        blur_probability: probability of a Gaussian blur.
        blur_sigma_voxels: standard deviation of the blur, in voxels.
        brightness_probability: probability that intensities are multiplied by a factor.
        brightness_factor: the factor that intensities are then multiplied by.
        contrast_probability: probability that deviations from the mean intensity are multiplied by a factor.
        contrast_factor: the factor that these deviations are then multiplied by.
        low_resolution_probability: probability that the patch is made as coarse as an image of lower resolution.
        low_resolution_zoom: the lower resolution, as a share of that of the patch.
        gamma_probability: probability of a gamma correction.
        gamma_inverted_probability: probability of a gamma correction of the inverted image.
        gamma_range: exponents of both gamma corrections.
        previous_operator_probability: in a cascade, probability that structures of the previous stage grow, shrink, are
            opened or closed.
        previous_removal_probability: in a cascade, probability that parts of such structures are removed.
    """

    rotation_probability: Fraction
    scaling_probability: Fraction
    scaling_range: PositiveRange
    noise_probability: Fraction
    noise_std: Range
    blur_probability: Fraction
    blur_sigma_voxels: Range
    brightness_probability: Fraction
    brightness_factor: PositiveRange
    contrast_probability: Fraction
    contrast_factor: PositiveRange
    low_resolution_probability: Fraction
    low_resolution_zoom: PositiveRange
    gamma_probability: Fraction
    gamma_inverted_probability: Fraction
    gamma_range: PositiveRange
    previous_operator_probability: Fraction = 0.4
    previous_removal_probability: Fraction = 0.2
