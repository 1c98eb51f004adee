// One block a row, which lies in global memory.
#include <gtest/gtest.h>

#define VOCAB 2120
#define SPLITS 1
#define SEGMENT 2560
#define IN_SHARED 0
#define THREADS 64
#define TEST_NAME BlockAgreesWithTheReference
#define sample_rows sample_rows_of_a_block
#include "kernels/cuda/sample_device_test.inc"
