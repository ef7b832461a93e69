// All kernels in one text.
#pragma once
#include "colour.cu"
#include "fields.cu"
#include "guidance.cu"
#include "noise.cu"
#include "packing.cu"
#include "pictures.cu"
#include "splat.cu"
#include "step.cu"
