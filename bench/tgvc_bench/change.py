"""How a clip changes from frame to frame: optical flow error and flicker. Weight-free."""

from __future__ import annotations

import cv2
import numpy as np

from tgvc.types import FloatArray, Plane


def estimate_flow(first: Plane, second: Plane) -> FloatArray:
    """DIS optical flow at half size, float32 (H/2, W/2, 2), px of the half-size picture, first -> second.

    OpenCV is held to one thread while it runs, because the result of DIS depends on the number of threads.
    """
    height, width = first.shape
    half = [cv2.resize(p, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for p in (first, second)]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = dis.calc(half[0], half[1], np.zeros((height // 2, width // 2, 2), np.float32))
    finally:
        cv2.setNumThreads(threads)
    return np.asarray(flow, np.float32)


def flow_error(reference: FloatArray, test: FloatArray) -> float:
    """Mean end-point distance of two flows, px (of the picture they were estimated on), smaller is better.

    Source: tOF of Chu et al. 2020 (TecoGAN), with DIS in place of Farneback and at half size.
    """
    return float(np.hypot(*np.moveaxis(reference - test, -1, 0)).mean(dtype=np.float64))


def flicker(reference: tuple[FloatArray, FloatArray], test: tuple[FloatArray, FloatArray]) -> float:
    """Mean absolute difference of the temporal differences of two pairs of planes, grey levels, smaller is better.

    Source: own; counts change that the reference does not have and change that the test lacks.
    """
    return float(np.abs((reference[1] - reference[0]) - (test[1] - test[0])).mean(dtype=np.float64))
