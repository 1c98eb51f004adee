// Four blocks a row, which comes by asynchronous copies.
#include <gtest/gtest.h>

#define VOCAB 6100
#define SPLITS 4
#define SEGMENT 1536
#define IN_SHARED 1
#define THREADS 64
#define TEST_NAME CopiesAgreeWithTheReference
#define sample_rows sample_rows_of_copies
#include "kernels/cuda/sample_device_test.inc"
